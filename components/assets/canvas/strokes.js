/**
 * From pointer points to coverage: one brush stroke, mirrored if asked, smooth and as wide as the pen is pressed.
 *
 * Shared by all pixel editors; what the coverage then does to the raster is theirs. No DOM.
 */

import { union } from "./patch.js";
import { pressureRadius, StrokeSmoother } from "./smoothing.js";

export class Stroke {
  /**
   * coverage: see raster.js; size: full width in pixels; pressure: whether the pen's pressure narrows it; mirror: also
   * draw on the other side of the vertical middle; round: a round brush with soft edges, otherwise square stamps; damping: see
   * smoothing.js.
   *
   * @param {import("./raster.js").Coverage} coverage
   * @param {{size: number, pressure?: boolean, mirror?: boolean, round?: boolean, damping?: number}} options
   */
  constructor(coverage, { size, pressure = true, mirror = false, round = true, damping = 0.35 }) {
    this.coverage = coverage;
    this.size = size;
    this.pressure = pressure;
    this.mirror = mirror;
    this.round = round;
    this.damping = damping;
    this.smoother = new StrokeSmoother({ damping });
    /** @type {CurvePoint | null} */
    this.last = null;
  }

  /**
   * Take pointer points; returns the rectangle that was touched, or null.
   *
   * @param {StrokePoint[]} points
   */
  add(points) {
    /** @type {Rect | null} */
    let rect = null;
    for (const point of points) {
      const radius = this.pressure && point.pen ? pressureRadius(this.size, point.pressure ?? 1) : Math.max(0.35, this.size / 2);
      rect = union(rect, this.#draw(this.smoother.add({ x: point.x, y: point.y, radius })));
    }
    return rect;
  }

  /**
   * A straight line from the end of an earlier stroke; the hand goes on at `point`, round a sharp corner.
   *
   * @param {Place} from  where the earlier stroke ended
   * @param {StrokePoint} point
   */
  straightOn(from, point) {
    const rect = union(this.add([{ ...from, pen: false }, point]), this.finish());
    this.smoother = new StrokeSmoother({ damping: this.damping });
    return union(rect, this.add([point]));
  }

  /** The stroke ends where the hand left it. */
  finish() {
    return this.#draw(this.smoother.finish());
  }

  /**
   * @param {CurvePoint[]} curve
   * @returns {Rect | null}
   */
  #draw(curve) {
    /** @type {Rect | null} */
    let rect = null;
    for (const point of curve) {
      rect = union(rect, segment(this.coverage, this.last ?? point, point, this.round, this.size));
      if (this.mirror) {
        const flip = (/** @type {CurvePoint} */ { x, y, radius }) => ({ x: this.coverage.width - x, y, radius });
        rect = union(rect, segment(this.coverage, flip(this.last ?? point), flip(point), this.round, this.size));
      }
      this.last = point;
    }
    return rect;
  }
}

/**
 * @param {import("./raster.js").Coverage} coverage
 * @param {CurvePoint} a
 * @param {CurvePoint} b
 * @param {boolean} round
 * @param {number} size
 * @returns {Rect | null}
 */
function segment(coverage, a, b, round, size) {
  if (round) return coverage.capsule(a.x, a.y, a.radius, b.x, b.y, b.radius);
  const count = Math.max(1, Math.ceil(2 * Math.hypot(b.x - a.x, b.y - a.y))); // no gaps, however small the stamp
  /** @type {Rect | null} */
  let rect = null;
  for (let i = 1; i <= count; i++) {
    rect = union(rect, coverage.square(a.x + ((b.x - a.x) * i) / count, a.y + ((b.y - a.y) * i) / count, size));
  }
  return rect;
}

/**
 * The outline that a shape tool describes between two corners: {points, closed}. `even` makes it square or round.
 *
 * @param {string} tool
 * @param {Place} from
 * @param {Place} to
 * @param {boolean} [even]
 * @returns {[from: Place, to: Place]}
 */
export function shapeCorners(tool, from, to, even = false) {
  let { x, y } = to;
  if (even && tool === "line") ({ x, y } = snapAngle(from, to));
  else if (even) {
    const side = Math.max(Math.abs(x - from.x), Math.abs(y - from.y));
    x = from.x + Math.sign(x - from.x || 1) * side;
    y = from.y + Math.sign(y - from.y || 1) * side;
  }
  return [from, { x, y }];
}

/**
 * `to` turned around `from` to the nearest multiple of 15 degrees, at the same distance.
 *
 * @param {Place} from
 * @param {Place} to
 */
export function snapAngle(from, to) {
  const step = Math.PI / 12;
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const angle = Math.round(Math.atan2(to.y - from.y, to.x - from.x) / step) * step;
  return { x: from.x + length * Math.cos(angle), y: from.y + length * Math.sin(angle) };
}
