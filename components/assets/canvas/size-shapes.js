/** The shapes that a canvas comes in: [name, across, down]. No DOM. */

/** @type {[name: string, across: number, down: number][]} */
export const SHAPES = [["Square", 1, 1], ["Portrait 3:4", 3, 4], ["Portrait 2:3", 2, 3], ["Portrait 9:16", 9, 16],
  ["Landscape 4:3", 4, 3], ["Landscape 3:2", 3, 2], ["Landscape 16:9", 16, 9]];

/** What a side may be, in pixels, where a page says nothing else. */
export const SIDES = { min: 256, max: 1024, step: 64 };

/**
 * Sides with the ratio `across` : `down` whose longer one is `longest`, on multiples of `step` within [min, max].
 *
 * @param {number} across
 * @param {number} down
 * @param {number} longest  pixels
 * @param {{min?: number, max?: number, step?: number}} [limits]
 * @returns {[width: number, height: number]}
 */
export function shapeSides(across, down, longest, { min = SIDES.min, max = SIDES.max, step = SIDES.step } = {}) {
  const round = (/** @type {number} */ value) => Math.min(max, Math.max(min, Math.round(value / step) * step));
  const scale = longest / Math.max(across, down);
  return [round(across * scale), round(down * scale)];
}
