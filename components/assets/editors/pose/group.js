/** Groups of points: the box around them, its handles, and moving, scaling and turning them. No DOM, no people. */

import { turned } from "./kinematics.js";

/** The handles of a box in order: corners and sides by compass, and the one that turns. */
export const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w", "turn"];
const SCALE_MIN = 0.02;

/**
 * The rectangle of any two corners.
 *
 * @param {Place} a
 * @param {Place} b
 * @returns {Rect}
 */
export function boxOf(a, b) {
  return [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)];
}

/**
 * Whether a place lies in a rectangle.
 *
 * @param {Rect} box
 * @param {Place} place
 */
export function inside([x0, y0, x1, y1], { x, y }) {
  return x >= x0 && x <= x1 && y >= y0 && y <= y1;
}

/**
 * A box with room around it, at least `least` wide and high.
 *
 * @param {Rect} box
 * @param {number} margin
 * @param {number} [least]
 * @returns {Rect}
 */
export function padded([x0, y0, x1, y1], margin, least = 0) {
  const [growX, growY] = [Math.max(0, least - (x1 - x0)) / 2, Math.max(0, least - (y1 - y0)) / 2];
  return [x0 - margin - growX, y0 - margin - growY, x1 + margin + growX, y1 + margin + growY];
}

/**
 * Where a handle lies; the one that turns stands `stalk` above the box.
 *
 * @param {Rect} box
 * @param {string} handle
 * @param {number} [stalk]
 */
export function handlePlace([x0, y0, x1, y1], handle, stalk = 0) {
  if (handle === "turn") return { x: (x0 + x1) / 2, y: y0 - stalk };
  const x = handle.includes("w") ? x0 : handle.includes("e") ? x1 : (x0 + x1) / 2;
  const y = handle.includes("n") ? y0 : handle.includes("s") ? y1 : (y0 + y1) / 2;
  return { x, y };
}

/**
 * The change that pulling a scaling handle from its place to `to` makes: a function of points. Corners keep the ratio unless
 * `free`; `centred` scales about the middle instead of the opposite handle. Boxes never turn inside out.
 */
export function scaling(box, handle, to, { free = false, centred = false } = {}) {
  const opposite = handle.replace(/[nsew]/g, (side) => ({ n: "s", s: "n", e: "w", w: "e" })[side]);
  const from = handlePlace(box, handle);
  const pivot = centred ? { x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2 } : handlePlace(box, opposite);
  const share = (start, end, fixed) => (Math.abs(start - fixed) < 1e-6 ? 1 : Math.max(SCALE_MIN, (end - fixed) / (start - fixed)));
  let sx = /[ew]/.test(handle) ? share(from.x, to.x, pivot.x) : 1;
  let sy = /[ns]/.test(handle) ? share(from.y, to.y, pivot.y) : 1;
  if (handle.length === 2 && !free) {
    // Along the diagonal: the handle follows the pointer's shadow on it.
    const [dx, dy] = [from.x - pivot.x, from.y - pivot.y];
    const size = dx * dx + dy * dy;
    sx = sy = size < 1e-9 ? 1 : Math.max(SCALE_MIN, ((to.x - pivot.x) * dx + (to.y - pivot.y) * dy) / size);
  }
  return ({ x, y }) => ({ x: pivot.x + (x - pivot.x) * sx, y: pivot.y + (y - pivot.y) * sy });
}

/** The change that pulling the turning handle from `from` to `to` makes; `even` turns in steps of 15 degrees. */
export function turning(box, from, to, { even = false } = {}) {
  const pivot = { x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2 };
  let angle = Math.atan2(to.y - pivot.y, to.x - pivot.x) - Math.atan2(from.y - pivot.y, from.x - pivot.x);
  if (even) angle = (Math.round((angle * 12) / Math.PI) * Math.PI) / 12;
  return (point) => turned(point, pivot, angle);
}

/** How far a point lies from a segment. */
export function segmentDistance(point, a, b) {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const size = dx * dx + dy * dy;
  const share = size < 1e-12 ? 0 : Math.min(1, Math.max(0, ((point.x - a.x) * dx + (point.y - a.y) * dy) / size));
  return Math.hypot(point.x - a.x - share * dx, point.y - a.y - share * dy);
}
