/** The painter's rules once more, as plainly as possible: pixel by pixel, full copies for undo. Slow and obvious. */

import { ellipsePoints } from "../../components/assets/canvas/raster.js";
import { pressureRadius, StrokeSmoother } from "../../components/assets/canvas/smoothing.js";

export class Reference {
  constructor(width, height, pixels) {
    this.set({ width, height, pixels: [...pixels] });
    this.past = [];
    this.future = [];
  }

  set(state) {
    Object.assign(this, state);
  }

  state() {
    return { width: this.width, height: this.height, pixels: [...this.pixels] };
  }

  /** Run a change; a change that changes nothing is no step. */
  step(change) {
    const before = this.state();
    change();
    const same = before.width === this.width && before.height === this.height && before.pixels.every((v, i) => v === this.pixels[i]);
    if (same) return;
    this.past.push(before);
    this.future = [];
  }

  undo() {
    if (!this.past.length) return;
    this.future.push(this.state());
    this.set(this.past.pop());
  }

  redo() {
    if (!this.future.length) return;
    this.past.push(this.state());
    this.set(this.future.pop());
  }

  /** Paint every pixel for whose centre `inside(x, y)` holds. */
  where(inside, label) {
    for (let y = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++) if (inside(x + 0.5, y + 0.5)) this.pixels[y * this.width + x] = label;
    }
  }

  stroke(points, { label, size, round, mirror, pressure }) {
    const smoother = new StrokeSmoother({ damping: 0.35 });
    const radius = (p) => (pressure && p.pen ? pressureRadius(size, p.pressure) : Math.max(0.35, size / 2));
    const path = [...points.flatMap((p) => smoother.add({ x: p.x, y: p.y, radius: radius(p) })), ...smoother.finish()];
    const sides = mirror ? [path, path.map((p) => ({ ...p, x: this.width - p.x }))] : [path];
    for (const side of sides) this.where(round ? nearPath(side) : underSquares(side, size), label);
  }

  shape(tool, points, { label, size, solid, mirror }) {
    const own = corners(tool, points);
    const sides = mirror ? [own, own.map(({ x, y }) => ({ x: this.width - x, y }))] : [own];
    for (const side of sides) {
      if (solid && tool !== "line" && side.length > 2) this.where((x, y) => insideShare(side, x - 0.5, y - 0.5) >= 0.5, label);
      else {
        const path = (tool === "line" ? side : [...side, side[0]]).map((p) => ({ ...p, radius: size / 2 }));
        this.where(nearPath(path), label);
      }
    }
  }

  fill(x, y, { label, mirror }) {
    const before = [...this.pixels];
    for (const seedX of mirror ? [x, this.width - x] : [x]) this.#flood(before, Math.floor(seedX), Math.floor(y), label);
  }

  #flood(before, x, y, label) {
    const inside = (px, py) => px >= 0 && py >= 0 && px < this.width && py < this.height;
    if (!inside(x, y)) return;
    const own = before[y * this.width + x];
    const seen = new Set();
    const open = [[x, y]];
    while (open.length) {
      const [px, py] = open.pop();
      const i = py * this.width + px;
      if (!inside(px, py) || seen.has(i) || before[i] !== own) continue;
      seen.add(i);
      this.pixels[i] = label;
      open.push([px + 1, py], [px - 1, py], [px, py + 1], [px, py - 1]);
    }
  }

  replace(from, to) {
    this.pixels = this.pixels.map((value) => (value === from ? to : value));
  }
}

function corners(tool, [a, b, ...rest]) {
  if (tool === "rectangle") return [a, { x: b.x, y: a.y }, b, { x: a.x, y: b.y }];
  if (tool === "ellipse") return ellipsePoints(a.x, a.y, b.x, b.y);
  return b ? [a, b, ...rest] : [a];
}

/** Within the radius of a path whose radius runs from point to point. */
function nearPath(path) {
  return (x, y) => path.some((b, i) => {
    const a = path[Math.max(0, i - 1)];
    const [dx, dy] = [b.x - a.x, b.y - a.y];
    const inverse = dx || dy ? 1 / (dx * dx + dy * dy) : 0;
    const t = Math.min(1, Math.max(0, ((x - a.x) * dx + (y - a.y) * dy) * inverse));
    const radius = a.radius + t * (b.radius - a.radius);
    return Math.sqrt((x - a.x - t * dx) ** 2 + (y - a.y - t * dy) ** 2) <= radius;
  });
}

/** Under a square stamp on whole pixels, put down at least every half pixel along a path. */
function underSquares(path, size) {
  const side = Math.max(1, Math.round(size));
  const stamps = path.flatMap((b, i) => {
    const a = path[Math.max(0, i - 1)];
    const count = Math.max(1, Math.ceil(2 * Math.hypot(b.x - a.x, b.y - a.y)));
    return Array.from({ length: count }, (_, k) => ({ x: a.x + ((b.x - a.x) * (k + 1)) / count, y: a.y + ((b.y - a.y) * (k + 1)) / count }));
  });
  return (x, y) => stamps.some((p) => {
    const [left, top] = [Math.round(p.x - side / 2), Math.round(p.y - side / 2)];
    return x > left && x < left + side && y > top && y < top + side;
  });
}

/** Part of the pixel whose corner is (x, y) inside a polygon, along four lines, even-odd rule. */
function insideShare(points, x, y) {
  let share = 0;
  for (let line = 0; line < 4; line++) {
    const height = y + (line + 0.5) / 4;
    const crossings = [];
    points.forEach((b, i) => {
      const a = points[(i + points.length - 1) % points.length];
      if (a.y > height !== b.y > height) crossings.push(a.x + ((height - a.y) / (b.y - a.y)) * (b.x - a.x));
    });
    crossings.sort((p, q) => p - q);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      share += Math.max(0, Math.min(x + 1, crossings[k + 1]) - Math.max(x, crossings[k])) / 4;
    }
  }
  return share;
}

/** The nearest pixel of a map on another canvas: as large as fits, the edges continued. */
export function fitted({ width, height, pixels }, w, h) {
  const scale = Math.min(w / width, h / height);
  const [iw, ih] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const [left, top] = [Math.floor((w - iw) / 2), Math.floor((h - ih) / 2)];
  const clamp = (value, limit) => Math.min(limit - 1, Math.max(0, value));
  return Array.from({ length: w * h }, (_, i) => {
    const x = clamp(Math.floor((((i % w) - left + 0.5) * width) / iw), width);
    const y = clamp(Math.floor(((Math.floor(i / w) - top + 0.5) * height) / ih), height);
    return pixels[y * width + x];
  });
}
