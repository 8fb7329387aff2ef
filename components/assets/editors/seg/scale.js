/** Maps of class indices at other sizes: the nearest pixel is taken, nothing is ever mixed. No DOM. */

import { shapeSides, SIDES } from "../../canvas/size-shapes.js";

/** Stretched to fill `width` x `height`. */
export function stretch(map, width, height) {
  return sampled(map, width, height, 0, 0, width, height);
}

/** As large as fits, centred; what is left over at two sides continues the map's edge, so that no foreign class comes in. */
export function fitExtended(map, width, height) {
  const scale = Math.min(width / map.width, height / map.height);
  const [w, h] = [Math.max(1, Math.round(map.width * scale)), Math.max(1, Math.round(map.height * scale))];
  return sampled(map, width, height, Math.floor((width - w) / 2), Math.floor((height - h) / 2), w, h);
}

/** The allowed canvas size nearest to a map's own: {min, max, step} in pixels as the size control takes them. */
export function canvasFor({ width, height }, limits = {}) {
  const { min, max } = { ...SIDES, ...limits };
  return shapeSides(width, height, Math.min(max, Math.max(min, width, height)), limits);
}

function sampled(map, width, height, left, top, w, h) {
  const pixels = new Uint8Array(width * height);
  const place = (i, start, length, source) => Math.min(source - 1, Math.max(0, Math.floor(((i - start + 0.5) * source) / length)));
  const columns = Int32Array.from({ length: width }, (_, x) => place(x, left, w, map.width));
  for (let y = 0, i = 0; y < height; y++) {
    const row = place(y, top, h, map.height) * map.width;
    for (let x = 0; x < width; x++, i++) pixels[i] = map.pixels[row + columns[x]];
  }
  return { kind: "classes", width, height, pixels };
}
