/**
 * Whole-raster transformations: another size, a picture as a drawing. No DOM.
 */

import { inkOnPaper } from "./paper.js";

/**
 * A one-channel raster on a canvas of another size, scaled to lie inside it as large as possible, centred on `paper`.
 * `smooth` averages (coverage), otherwise the nearest pixel is taken (class indices).
 *
 * @param {Plane} raster
 * @param {number} width  pixels
 * @param {number} height  pixels
 * @param {{smooth?: boolean, paper?: number}} [how]
 * @returns {Plane}
 */
export function fitInto(raster, width, height, { smooth = true, paper = 0 } = {}) {
  const out = new Uint8Array(width * height).fill(paper);
  const scale = Math.min(width / raster.width, height / raster.height);
  const [w, h] = [Math.round(raster.width * scale), Math.round(raster.height * scale)];
  const [left, top] = [Math.floor((width - w) / 2), Math.floor((height - h) / 2)];
  const columns = smooth ? shares(raster.width, w) : nearest(raster.width, w);
  const rows = smooth ? shares(raster.height, h) : nearest(raster.height, h);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      let [sum, weight] = [0, 0];
      for (const [sy, wy] of rows[y]) {
        for (const [sx, wx] of columns[x]) {
          sum += raster.pixels[sy * raster.width + sx] * wx * wy;
          weight += wx * wy;
        }
      }
      out[(top + y) * width + left + x] = Math.round(sum / weight);
    }
  }
  return { width, height, pixels: out };
}

/**
 * For every target pixel, the source pixels that make it up with their weights: area mean down, linear up.
 *
 * @param {number} source
 * @param {number} target
 * @returns {[source: number, weight: number][][]}
 */
function shares(source, target) {
  const scale = source / target;
  return Array.from({ length: target }, (_, i) => {
    /** @type {[source: number, weight: number][]} */
    const list = [];
    if (scale <= 1) {
      const centre = Math.min(source - 1, Math.max(0, (i + 0.5) * scale - 0.5));
      const low = Math.floor(centre);
      list.push([low, 1 - (centre - low)]);
      if (centre > low) list.push([low + 1, centre - low]);
    } else {
      const [from, to] = [i * scale, Math.min(source, (i + 1) * scale)];
      for (let s = Math.floor(from); s < to; s++) list.push([s, Math.min(to, s + 1) - Math.max(from, s)]);
    }
    return list;
  });
}

/**
 * @param {number} source
 * @param {number} target
 * @returns {[source: number, weight: number][][]}
 */
function nearest(source, target) {
  return Array.from({ length: target }, (_, i) => [[Math.min(source - 1, Math.floor(((i + 0.5) * source) / target)), 1]]);
}

const COLOURLESS = 24;
const FAINT = 32;
const PAPER_SHARE = 0.5;
const FRAME_SHARE = 0.25;

/**
 * Ink coverage of a picture of a drawing (RGBA bytes), read as `annotator.finished.ink_of` reads it: ink on a transparent ground is
 * its alpha, whatever its colour, the strongest whole; on coloured or photographed paper it is what stands out from it; else the paper
 * is told by the border, and of coloured ink the strongest channel counts.
 * Returns {pixels, found: "dark on light" | "light on dark" | "transparent"}.
 *
 * @param {Bytes | Uint8ClampedArray} rgba  four bytes a pixel
 * @param {number} width
 * @param {number} height
 * @returns {{pixels: Bytes, found: "dark on light" | "light on dark" | "transparent"}}
 */
export function maskFromRgba(rgba, width, height) {
  const border = borderIndices(width, height);
  const pixels = new Uint8Array(width * height);
  if (isGround(rgba, border)) {
    for (let i = 0; i < pixels.length; i++) pixels[i] = rgba[4 * i + 3];
    return { pixels: atFullStrength(pixels), found: "transparent" };
  }
  const rgb = overWhite(rgba);
  const [lows, highs] = [new Uint8Array(pixels.length), new Uint8Array(pixels.length)];
  let [black, white] = [0, 0];
  for (let i = 0; i < pixels.length; i++) {
    lows[i] = Math.min(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]);
    highs[i] = Math.max(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]);
    if (highs[i] <= COLOURLESS) black++;
    if (lows[i] >= 255 - COLOURLESS) white++;
  }
  const coloured = Math.max(black, white) < PAPER_SHARE * pixels.length ? inkOnPaper(rgb, width, height) : null;
  if (coloured && largest(coloured.ink)) return { pixels: coloured.ink, found: coloured.light ? "light on dark" : "dark on light" };
  const luma = pixels.map((_, i) => Math.round(0.299 * rgb[3 * i] + 0.587 * rgb[3 * i + 1] + 0.114 * rgb[3 * i + 2])); // ITU-R BT.601
  // A frame drawn along the edge must not decide: where the border is half and half, or little else is like it, the whole picture does.
  const edge = median(border.map((i) => luma[i]));
  const alike = luma.reduce((count, one) => count + Number(one < 128 === edge < 128), 0);
  const paper = alike < FRAME_SHARE * pixels.length || (edge > 96 && edge < 160) ? median(luma) : edge;
  const light = paper < 128;
  for (let i = 0; i < pixels.length; i++) pixels[i] = light ? highs[i] : 255 - lows[i];
  const strongest = largest(pixels);
  const faint = strongest >= FAINT && strongest < 128;
  return { pixels: faint ? atFullStrength(pixels) : pixels, found: light ? "light on dark" : "dark on light" };
}

/**
 * RGBA bytes over white paper.
 *
 * @param {Bytes | Uint8ClampedArray} rgba
 */
function overWhite(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let i = 0, at = 0; i < rgba.length; i += 4) {
    const alpha = rgba[i + 3];
    for (let c = 0; c < 3; c++) rgb[at++] = Math.trunc((rgba[i + c] * alpha) / 255 + 255 - alpha);
  }
  return rgb;
}

/**
 * Coverage whose strongest is 255, in place: what was painted half transparent, with a layer's opacity, is meant whole.
 *
 * @param {Bytes} pixels
 */
function atFullStrength(pixels) {
  const strongest = largest(pixels);
  if (strongest) for (let i = 0; i < pixels.length; i++) pixels[i] = Math.trunc((pixels[i] * 255) / strongest);
  return pixels;
}

/** @param {Bytes} pixels */
const largest = (pixels) => pixels.reduce((most, one) => Math.max(most, one), 0);

/**
 * A mask out of a picture of one (RGBA bytes), read as the command line reads masks: what was painted on a transparent layer, with
 * any ink; of an opaque picture its white. Returns {pixels, found: "white" | "painted"}.
 *
 * @param {Bytes | Uint8ClampedArray} rgba  four bytes a pixel
 * @returns {{pixels: Bytes, found: "white" | "painted"}}
 */
export function selectionFromRgba(rgba) {
  const pixels = new Uint8Array(rgba.length / 4);
  let opaque = true;
  for (let i = 3; opaque && i < rgba.length; i += 4) opaque = rgba[i] === 255;
  for (let i = 0; i < pixels.length; i++) pixels[i] = rgba[4 * i + (opaque ? 0 : 3)];
  return { pixels: opaque ? pixels : atFullStrength(pixels), found: opaque ? "white" : "painted" };
}

/**
 * Whether the transparent part is what was drawn on, not the cut-out edge of a whole picture: it lies along the border, or what is
 * opaque has one brightness.
 *
 * @param {Bytes | Uint8ClampedArray} rgba
 * @param {number[]} border
 */
function isGround(rgba, border) {
  if (median(border.map((i) => rgba[4 * i + 3])) < 128) return true;
  let [low, high, whole] = [256, -1, true];
  for (let i = 0; i < rgba.length; i += 4) {
    whole &&= rgba[i + 3] === 255;
    if (rgba[i + 3] < 128) continue;
    const strongest = Math.max(rgba[i], rgba[i + 1], rgba[i + 2]);
    [low, high] = [Math.min(low, strongest), Math.max(high, strongest)];
  }
  return !whole && high >= 0 && high - low <= 2 * COLOURLESS;
}

/**
 * @param {number} width
 * @param {number} height
 */
function borderIndices(width, height) {
  const indices = [];
  for (let x = 0; x < width; x++) indices.push(x, (height - 1) * width + x);
  for (let y = 1; y < height - 1; y++) indices.push(y * width, y * width + width - 1);
  return indices;
}

/** @param {ArrayLike<number> & Iterable<number>} values */
function median(values) {
  const counts = new Uint32Array(256);
  for (const value of values) counts[value]++;
  let rank = values.length / 2;
  return counts.findIndex((count) => (rank -= count) <= 0);
}
