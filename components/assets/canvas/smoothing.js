/**
 * Smooth strokes: points as the hand gives them in, a dense curve out.
 *
 * Points are {x, y, radius}. The hand's tremble is damped first (each point is pulled towards the one before, the slower
 * the hand the more), then quadratic curves run from midpoint to midpoint with the points as handles, so direction never
 * jumps. No DOM.
 */

const STEP_PX = 1.5;
const STEP_OF_RADIUS = 0.25; // a wide brush hides the corners of longer steps
const STEP_MAX_PX = 6;
const NEAR_PX = 1e-3;
const CALM_PX = 24; // points this far apart come from a hand too fast to tremble: damped half as much
/** @type {CurvePoint} */
const NOWHERE = { x: 0, y: 0, radius: 0 };

export class StrokeSmoother {
  /**
   * `damping` 0 follows the hand exactly, 0.9 drags far behind it.
   *
   * @param {{damping?: number}} [how]
   */
  constructor({ damping = 0.35 } = {}) {
    this.damping = damping;
    this.points = 0;
    /** @type {CurvePoint | null} */
    this.raw = null; // the last one as the hand gave it
    this.handle = this.end = NOWHERE; // the last one damped; where the curve has come to
  }

  /**
   * Take the next point; returns the curve points that are new and certain, the first call the point itself.
   *
   * @param {CurvePoint} point
   * @returns {CurvePoint[]}
   */
  add(point) {
    if (!isFinitePoint(point)) return [];
    if (this.points === 0) {
      this.points = 1;
      this.handle = this.end = { ...point };
      return [this.end];
    }
    this.raw = point;
    const next = mix(point, this.handle, this.damping / (1 + distance(point, this.handle) / CALM_PX));
    if (distance(next, this.handle) < NEAR_PX) return [];
    return this.#curveTo(next);
  }

  /**
   * The stroke ends: returns what is missing up to the last point as the hand gave it.
   *
   * @returns {CurvePoint[]}
   */
  finish() {
    if (this.points === 0) return [];
    const last = this.raw ?? this.handle;
    const curve = distance(last, this.handle) < NEAR_PX ? [] : this.#curveTo(last);
    return [...curve, ...straight(this.end, last, stepOf(last))];
  }

  /**
   * @param {CurvePoint} next
   * @returns {CurvePoint[]}
   */
  #curveTo(next) {
    const middle = mix(this.handle, next, 0.5);
    const curve = quadratic(this.end, this.handle, middle, stepOf(middle));
    this.end = middle;
    this.handle = next;
    this.points += 1;
    return curve;
  }
}

/**
 * Points of a quadratic Bezier curve after `from`, about `step` apart (never twice as far), `to` included.
 *
 * @param {CurvePoint} from
 * @param {CurvePoint} control
 * @param {CurvePoint} to
 * @param {number} [step]  pixels
 * @returns {CurvePoint[]}
 */
export function quadratic(from, control, to, step = STEP_PX) {
  const length = distance(from, control) + distance(control, to);
  const count = Math.max(1, Math.ceil(length / step));
  const points = [];
  for (let i = 1; i <= count; i++) {
    const t = i / count;
    points.push(mix(mix(from, control, t), mix(control, to, t), t));
  }
  return points;
}

/**
 * Points of a straight line after `from`, at most `step` apart, `to` included; none when they coincide.
 *
 * @param {CurvePoint} from
 * @param {CurvePoint} to
 * @param {number} [step]  pixels
 * @returns {CurvePoint[]}
 */
export function straight(from, to, step = STEP_PX) {
  const length = distance(from, to);
  if (length < NEAR_PX) return [];
  const count = Math.ceil(length / step);
  return Array.from({ length: count }, (_, i) => mix(from, to, (i + 1) / count));
}

/**
 * How wide a pen of `size` draws at `pressure` 0..1: soft presses stay visible, full presses give the full width.
 *
 * @param {number} size  full width in pixels
 * @param {number} pressure
 */
export function pressureRadius(size, pressure) {
  const eased = Math.min(1, Math.max(0, pressure)) ** 0.8;
  return Math.max(0.35, (size / 2) * (0.15 + 0.85 * eased));
}

/** @param {CurvePoint} point */
function stepOf({ radius }) {
  return Math.min(STEP_MAX_PX, Math.max(STEP_PX, radius * STEP_OF_RADIUS));
}

/**
 * @param {CurvePoint} a
 * @param {CurvePoint} b
 * @param {number} t
 * @returns {CurvePoint}
 */
function mix(a, b, t) {
  return { x: a.x + (b.x - a.x) * t, y: a.y + (b.y - a.y) * t, radius: a.radius + (b.radius - a.radius) * t };
}

/**
 * @param {Place} a
 * @param {Place} b
 */
function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

/** @param {CurvePoint} point */
function isFinitePoint({ x, y, radius }) {
  return Number.isFinite(x) && Number.isFinite(y) && Number.isFinite(radius);
}
