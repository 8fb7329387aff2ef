/**
 * Drawing on bytes: shapes become coverage, coverage is laid over a raster.
 *
 * A `Coverage` is one uint8 per pixel, how far the present action covers it (0..255). Shapes only ever raise it, so a
 * stroke that crosses itself does not darken at the crossing. `layInk`, `layErase` and `layLabel` then combine it with
 * what was there before. Pixel (x, y) covers x..x+1, y..y+1. Rectangles as in patch.js. No DOM, no colours.
 */

import { clip, union } from "./patch.js";

export class Coverage {
  /**
   * @param {number} width  pixels
   * @param {number} height  pixels
   */
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.data = new Uint8Array(width * height);
    /** @type {Rect | null} */
    this.rect = null; // everything touched since the last clear
  }

  clear() {
    if (!this.rect) return;
    const [x0, y0, x1, y1] = this.rect;
    for (let y = y0; y < y1; y++) this.data.fill(0, y * this.width + x0, y * this.width + x1);
    this.rect = null;
  }

  /**
   * A round-ended line whose radius runs from r0 to r1 (r in pixels); a dot when both ends agree.
   *
   * @param {number} x0
   * @param {number} y0
   * @param {number} r0
   * @param {number} x1
   * @param {number} y1
   * @param {number} r1
   * @returns {Rect | null}
   */
  capsule(x0, y0, r0, x1, y1, r1) {
    const reach = Math.max(r0, r1) + 1;
    const { width, data } = this;
    const rect = this.#touch([
      Math.min(x0, x1) - reach, Math.min(y0, y1) - reach, Math.max(x0, x1) + reach, Math.max(y0, y1) + reach,
    ]);
    if (!rect) return null;
    const [dx, dy, dr] = [x1 - x0, y1 - y0, r1 - r0];
    const inverse = dx || dy ? 1 / (dx * dx + dy * dy) : 0;
    for (let y = rect[1]; y < rect[3]; y++) {
      const py = y + 0.5 - y0;
      for (let x = rect[0], i = y * width + rect[0]; x < rect[2]; x++, i++) {
        const px = x + 0.5 - x0;
        let t = (px * dx + py * dy) * inverse;
        t = t < 0 ? 0 : t > 1 ? 1 : t;
        const [ex, ey] = [px - t * dx, py - t * dy];
        const inside = r0 + t * dr + 0.5;
        const square = ex * ex + ey * ey;
        if (square >= inside * inside) continue;
        const cover = inside - Math.sqrt(square);
        const value = cover >= 1 ? 255 : (cover * 255 + 0.5) | 0;
        if (value > data[i]) data[i] = value;
      }
    }
    return rect;
  }

  /**
   * Capsules along points {x, y}, all of one radius; `closed` joins the last to the first.
   *
   * @param {Place[]} points
   * @param {number} radius  half the width, in pixels
   * @param {boolean} [closed]
   * @returns {Rect | null}
   */
  polyline(points, radius, closed = false) {
    /** @type {Rect | null} */
    let rect = null;
    const count = points.length;
    for (let i = 0; i < (closed ? count : Math.max(1, count - 1)); i++) {
      const [a, b] = [points[i], points[(i + 1) % count]];
      rect = union(rect, this.capsule(a.x, a.y, radius, b.x, b.y, radius));
    }
    return rect;
  }

  /**
   * The inside of a polygon of points {x, y}, even-odd rule, edges softened by 4 x 4 samples.
   *
   * @param {Place[]} points
   * @returns {Rect | null}
   */
  polygon(points) {
    if (points.length < 3) return null;
    const [xs, ys] = [points.map((p) => p.x), points.map((p) => p.y)];
    const rect = this.#touch([Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)]);
    if (!rect) return null;
    const [x0, y0, x1, y1] = rect;
    const row = new Float32Array(x1 - x0);
    for (let y = y0; y < y1; y++) {
      row.fill(0);
      for (let sample = 0; sample < 4; sample++) addSpans(points, y + (sample + 0.5) / 4, x0, x1, row);
      for (let x = x0, i = y * this.width + x0; x < x1; x++, i++) {
        const value = Math.round((row[x - x0] * 255) / 4);
        if (value > this.data[i]) this.data[i] = value;
      }
    }
    return rect;
  }

  /**
   * A square stamp of side `size` around (x, y), on whole pixels.
   *
   * @param {number} x
   * @param {number} y
   * @param {number} size
   * @returns {Rect | null}
   */
  square(x, y, size) {
    const side = Math.max(1, Math.round(size));
    const [left, top] = [Math.round(x - side / 2), Math.round(y - side / 2)];
    return this.box(left, top, left + side, top + side);
  }

  /**
   * Every pixel of a rectangle.
   *
   * @param {number} x0
   * @param {number} y0
   * @param {number} x1
   * @param {number} y1
   * @returns {Rect | null}
   */
  box(x0, y0, x1, y1) {
    const rect = this.#touch([x0, y0, x1, y1]);
    if (!rect) return null;
    for (let y = rect[1]; y < rect[3]; y++) this.data.fill(255, y * this.width + rect[0], y * this.width + rect[2]);
    return rect;
  }

  /**
   * Every pixel that is not 0 in `region`, which is as large as the coverage.
   *
   * @param {Bytes} region
   * @returns {Rect | null}
   */
  where(region) {
    /** @type {Rect | null} */
    let rect = null;
    for (let y = 0, i = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++, i++) {
        if (!region[i]) continue;
        this.data[i] = 255;
        rect = rect ? [Math.min(rect[0], x), rect[1], Math.max(rect[2], x + 1), y + 1] : [x, y, x + 1, y + 1];
      }
    }
    return rect && this.#touch(rect);
  }

  /**
   * The four-connected region around pixel (x, y) in which `inside(value)` holds. `grow` also takes the pixels next to
   * it, so that a fill reaches under the soft edge of the line around it.
   *
   * @param {Bytes} pixels  as large as the coverage
   * @param {number} x
   * @param {number} y
   * @param {(value: number) => boolean} inside
   * @param {boolean} [grow]
   * @returns {Rect | null}
   */
  flood(pixels, x, y, inside, grow = false) {
    const { width, height, data } = this;
    const start = Math.floor(y) * width + Math.floor(x);
    if (x < 0 || y < 0 || x >= width || y >= height || !inside(pixels[start])) return null;
    const seen = new Uint8Array(width * height);
    const stack = [start];
    /** @type {Rect | null} */
    let rect = null;
    while (stack.length) {
      const seed = stack.pop() ?? 0;
      if (seen[seed]) continue;
      const line = seed - (seed % width);
      let [left, right] = [seed, seed + 1];
      while (left > line && !seen[left - 1] && inside(pixels[left - 1])) left--;
      while (right < line + width && !seen[right] && inside(pixels[right])) right++;
      seen.fill(1, left, right);
      const row = line / width;
      rect = union(rect, [left - line, row, right - line, row + 1]);
      for (const next of [left - width, left + width]) {
        if (next < 0 || next >= data.length) continue;
        let open = false;
        for (let p = next; p < next + right - left; p++) {
          const hit = !seen[p] && inside(pixels[p]);
          if (hit && !open) stack.push(p);
          open = hit;
        }
      }
    }
    return rect && this.#take(seen, rect, grow);
  }

  /**
   * @param {Bytes} seen
   * @param {Rect} found
   * @param {boolean} grow
   * @returns {Rect | null}
   */
  #take(seen, found, grow) {
    const { width, height, data } = this;
    const [x0, y0, x1, y1] = found;
    const rect = this.#touch(grow ? [x0 - 1, y0 - 1, x1 + 1, y1 + 1] : found);
    if (!rect) return null;
    for (let y = rect[1]; y < rect[3]; y++) {
      for (let x = rect[0]; x < rect[2]; x++) {
        const i = y * width + x;
        const beside = () =>
          (x > 0 && seen[i - 1]) || (x < width - 1 && seen[i + 1]) ||
          (y > 0 && seen[i - width]) || (y < height - 1 && seen[i + width]);
        if (seen[i] || (grow && beside())) data[i] = 255;
      }
    }
    return rect;
  }

  /**
   * @param {Rect} rect
   * @returns {Rect | null}
   */
  #touch(rect) {
    const clipped = clip(rect, this.width, this.height);
    this.rect = union(this.rect, clipped);
    return clipped;
  }
}

/**
 * @param {Place[]} points
 * @param {number} y
 * @param {number} x0
 * @param {number} x1
 * @param {Float32Array} row
 */
function addSpans(points, y, x0, x1, row) {
  const crossings = [];
  for (let i = 0, j = points.length - 1; i < points.length; j = i++) {
    const [a, b] = [points[j], points[i]];
    if (a.y > y === b.y > y) continue;
    crossings.push(a.x + ((y - a.y) / (b.y - a.y)) * (b.x - a.x));
  }
  crossings.sort((a, b) => a - b);
  for (let k = 0; k + 1 < crossings.length; k += 2) {
    const [from, to] = [Math.max(x0, crossings[k]), Math.min(x1, crossings[k + 1])];
    for (let x = Math.floor(from); x < to; x++) row[x - x0] += Math.min(to, x + 1) - Math.max(from, x);
  }
}

/**
 * Corner points of an ellipse that fills a rectangle, dense enough to look round at any zoom.
 *
 * @param {number} x0
 * @param {number} y0
 * @param {number} x1
 * @param {number} y1
 * @returns {Place[]}
 */
export function ellipsePoints(x0, y0, x1, y1) {
  const [cx, cy, rx, ry] = [(x0 + x1) / 2, (y0 + y1) / 2, Math.abs(x1 - x0) / 2, Math.abs(y1 - y0) / 2];
  const count = Math.max(16, Math.min(360, Math.ceil((rx + ry) * 0.8)));
  return Array.from({ length: count }, (_, i) => {
    const angle = (2 * Math.PI * i) / count;
    return { x: cx + rx * Math.cos(angle), y: cy + ry * Math.sin(angle) };
  });
}

/**
 * @param {number} width
 * @param {Rect | null} rect
 * @param {(i: number) => void} combine
 */
function lay(width, rect, combine) {
  if (!rect) return;
  for (let y = rect[1]; y < rect[3]; y++) {
    for (let i = y * width + rect[0], end = y * width + rect[2]; i < end; i++) combine(i);
  }
}

/**
 * out = before with ink where covered.
 *
 * @param {Bytes} out
 * @param {Bytes} before
 * @param {Coverage} coverage
 * @param {Rect | null} rect
 */
export function layInk(out, before, coverage, rect) {
  const cover = coverage.data;
  lay(coverage.width, rect, (i) => {
    const [old, add] = [before[i], cover[i]];
    out[i] = add === 0 ? old : 255 - (((255 - old) * (255 - add) + 127) / 255 | 0);
  });
}

/**
 * out = before with ink taken away where covered.
 *
 * @param {Bytes} out
 * @param {Bytes} before
 * @param {Coverage} coverage
 * @param {Rect | null} rect
 */
export function layErase(out, before, coverage, rect) {
  const cover = coverage.data;
  lay(coverage.width, rect, (i) => {
    out[i] = cover[i] === 0 ? before[i] : (before[i] * (255 - cover[i]) + 127) / 255 | 0;
  });
}

/**
 * out = before with `label` where at least half covered: never a value that is in neither.
 *
 * @param {Bytes} out
 * @param {Bytes} before
 * @param {Coverage} coverage
 * @param {Rect | null} rect
 * @param {number} label  0..255
 */
export function layLabel(out, before, coverage, rect, label) {
  const cover = coverage.data;
  lay(coverage.width, rect, (i) => {
    out[i] = cover[i] >= 128 ? label : before[i];
  });
}

/**
 * Ink becomes paper and paper ink.
 *
 * @param {Bytes} pixels  coverage 0..255
 */
export function invert(pixels) {
  for (let i = 0; i < pixels.length; i++) pixels[i] = 255 - pixels[i];
}
