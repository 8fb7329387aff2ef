/** A picture with holes: RGBA bytes whose alpha says how much of each pixel stays. No DOM. */

/** How far each pixel is a hole, 0..255. @param {ArrayLike<number>} rgba */
export function holesOf(rgba) {
  return Uint8Array.from({ length: rgba.length / 4 }, (_, i) => 255 - rgba[4 * i + 3]);
}

/**
 * The colours of a picture with the holes of a mask (0..255); null: with none.
 *
 * @param {ArrayLike<number>} rgba
 * @param {ArrayLike<number> | null} mask
 */
export function withHoles(rgba, mask) {
  const bytes = new Uint8Array(rgba);
  for (let i = 0, j = 3; j < bytes.length; i++, j += 4) bytes[j] = mask ? 255 - mask[i] : 255;
  return bytes;
}
