/**
 * Adjustments of a map of colours (depth, normals): bytes in, bytes out, every one its own formula. No DOM.
 */

/** Near becomes far: every channel v becomes 255 - v. */
export function inverted(rgb) {
  return rgb.map((value) => 255 - value);
}

/** Levels: `black` becomes 0, `white` 255, what lies between is stretched evenly. Both in 0..255, black < white. */
export function levelled(rgb, black, white) {
  const table = Uint8Array.from({ length: 256 }, (_, value) =>
    Math.round(255 * Math.min(1, Math.max(0, (value - black) / (white - black)))));
  return rgb.map((value) => table[value]);
}

/** Up becomes down in a normal map: its green channel is turned round (the two habits of graphics programs). */
export function greenFlipped(rgb) {
  return rgb.map((value, i) => (i % 3 === 1 ? 255 - value : value));
}

/** How often every value occurs, over all channels: 256 counts. */
export function histogram(rgb) {
  const counts = new Uint32Array(256);
  for (const value of rgb) counts[value] += 1;
  return counts;
}

/** [black, white] that stretch a map to its whole range; a thousandth of the values at either end does not count. */
export function autoLevels(rgb) {
  const counts = histogram(rgb);
  const spare = rgb.length / 1000;
  const first = (order) => {
    let sum = 0;
    return order.find((value) => (sum += counts[value]) > spare);
  };
  const values = [...counts.keys()];
  const [black, white] = [first(values), first(values.reverse())];
  return black < white ? [black, white] : [0, 255];
}

/** RGBA bytes without their alpha, laid over black. */
export function rgbOf(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let i = 0, j = 0; i < rgba.length; i += 4, j += 3) {
    const alpha = rgba[i + 3] / 255;
    rgb[j] = Math.round(rgba[i] * alpha);
    rgb[j + 1] = Math.round(rgba[i + 1] * alpha);
    rgb[j + 2] = Math.round(rgba[i + 2] * alpha);
  }
  return rgb;
}

/** RGB bytes as opaque RGBA. */
export function rgbaOf(rgb) {
  const rgba = new Uint8ClampedArray((rgb.length / 3) * 4).fill(255);
  for (let i = 0, j = 0; i < rgb.length; i += 3, j += 4) {
    rgba[j] = rgb[i];
    rgba[j + 1] = rgb[i + 1];
    rgba[j + 2] = rgb[i + 2];
  }
  return rgba;
}
