/**
 * A map of class indices and everything that can be painted on it.
 *
 * Every tool covers some pixels and gives those that are covered by half or more one class; nothing is ever mixed, so a value
 * that is no class cannot arise. Actions return the patch for the history, null where nothing changed. No DOM, no colours.
 */

import { applyPixels, diffPixels, union } from "../../canvas/patch.js";
import { Coverage, layLabel } from "../../canvas/raster.js";
import { outline } from "../../canvas/shapes.js";
import { Stroke } from "../../canvas/strokes.js";

export class Painter {
  /** @type {Coverage} */
  coverage;
  /** How many pixels each class has. */
  counts = new Uint32Array(256);
  /** What was there before the stroke. @type {Bytes} */
  before;

  /** @param {(rect: Rect | null) => void} [onRect]  hears which pixels may have changed */
  constructor(onRect = () => {}) {
    this.onRect = onRect;
  }

  /** Take another map {width, height, pixels}; indices from `classes` on become 0. Returns how many there were. */
  load({ width, height, pixels }, classes = 256) {
    this.width = width;
    this.height = height;
    this.pixels = pixels.slice();
    let foreign = 0;
    for (let i = 0; i < pixels.length; i++) {
      if (pixels[i] < classes) continue;
      this.pixels[i] = 0;
      foreign += 1;
    }
    this.before = new Uint8Array(pixels.length);
    this.coverage = new Coverage(width, height);
    this.touched = null;
    /** @type {Stroke | null} */
    this.stroke = null; // that is being drawn
    this.regions = false; // whether regions are being given a class
    this.counts = new Uint32Array(256);
    this.#count(this.pixels, [0, 0, width, height], 1);
    return foreign;
  }

  map() {
    return { kind: "classes", width: this.width, height: this.height, pixels: this.pixels.slice() };
  }

  /** The class of the pixel under a point; -1 beside the canvas. */
  classAt(x, y) {
    if (!(x >= 0 && y >= 0 && x < this.width && y < this.height)) return -1;
    return this.pixels[Math.floor(y) * this.width + Math.floor(x)];
  }

  /** Whether something is begun that has not come to its end. */
  get busy() {
    return this.regions || !!this.stroke;
  }

  // ---- strokes: begun, drawn on with points as the hand gives them, ended or given up

  /** options: label, size (px), round, mirror, pressure, damping (see smoothing.js). */
  beginStroke({ label, size, round = true, mirror = false, pressure = false, damping }) {
    this.#begin();
    this.stroke = new Stroke(this.coverage, { size, mirror, pressure, round, damping });
    this.label = label;
  }

  drawStroke(points) {
    if (this.stroke) this.#lay(this.stroke.add(points), this.label);
  }

  drawStraightOn(from, point) {
    if (this.stroke) this.#lay(this.stroke.straightOn(from, point), this.label);
  }

  endStroke() {
    if (this.stroke) this.#lay(this.stroke.finish(), this.label);
    return this.#end();
  }

  cancelStroke() {
    if (!this.busy) return;
    this.pixels.set(this.before);
    this.onRect(this.touched);
    this.stroke = null;
    this.regions = false;
    this.coverage.clear();
  }

  // ---- regions: begun, given a class one by one, ended or given up like a stroke

  beginRegions(label) {
    this.#begin();
    this.label = label;
    this.regions = true;
  }

  /** Pixels, as indices row by row, become the class in hand. */
  drawRegion(indices) {
    const { pixels, width } = this;
    let [x0, y0, x1, y1] = [Infinity, Infinity, -1, -1];
    for (const i of indices) {
      pixels[i] = this.label;
      const [x, y] = [i % width, Math.floor(i / width)];
      [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x + 1), Math.max(y1, y + 1)];
    }
    if (x1 < 0) return;
    this.touched = union(this.touched, [x0, y0, x1, y1]);
    this.onRect([x0, y0, x1, y1]);
  }

  // ---- whole actions

  /** A "line", "rectangle", "ellipse" or "polygon" through `points`; `solid` fills it, else its outline is `size` px wide. */
  shape(tool, points, { label, size, solid = true, mirror = false }) {
    this.#begin();
    for (const corners of this.#mirrored(outline(tool, points), mirror)) {
      const area = solid && tool !== "line" && corners.length > 2;
      const rect = area ? this.coverage.polygon(corners) : this.coverage.polyline(corners, size / 2, tool !== "line");
      this.#lay(rect, label);
    }
    return this.#end();
  }

  /** The connected region of one class around a point becomes another class. */
  fill(x, y, { label, mirror = false }) {
    this.#begin();
    for (const point of this.#mirrored([{ x, y }], mirror).flat()) {
      const own = this.classAt(point.x, point.y);
      if (own >= 0 && own !== label) this.#lay(this.coverage.flood(this.before, point.x, point.y, (value) => value === own), label);
    }
    return this.#end();
  }

  /** Every pixel of class `from` becomes `to`. */
  replace(from, to) {
    return this.where((index) => this.before[index] === from, to);
  }

  /** Every pixel i (counted row by row) for which `test(i)` holds becomes `label`. */
  where(test, label) {
    this.#begin();
    const { pixels, width, height } = this;
    for (let y = 0, i = 0; y < height; y++) {
      let [from, to] = [width, 0];
      for (let x = 0; x < width; x++, i++) {
        if (pixels[i] === label || !test(i)) continue;
        pixels[i] = label;
        from = Math.min(from, x);
        to = x + 1;
      }
      if (to) this.touched = union(this.touched, [from, y, to, y + 1]);
    }
    this.onRect(this.touched);
    return this.#end();
  }

  /** Undo or redo (it is the same) a patch. */
  apply(patch) {
    this.#count(this.pixels, patch.rect, -1);
    applyPixels(this.pixels, this.width, patch);
    this.#count(this.pixels, patch.rect, 1);
    this.onRect(patch.rect);
  }

  #begin() {
    this.before.set(this.pixels);
    this.coverage.clear();
    this.touched = null;
  }

  #lay(rect, label) {
    layLabel(this.pixels, this.before, this.coverage, rect, label);
    this.touched = union(this.touched, rect);
    this.onRect(rect);
  }

  #end() {
    const { before, pixels, width, touched } = this;
    this.stroke = null;
    this.regions = false;
    this.coverage.clear();
    const patch = diffPixels(before, pixels, width, touched);
    if (!patch) return null;
    this.#count(before, touched, -1);
    this.#count(pixels, touched, 1);
    return patch;
  }

  #mirrored(points, mirror) {
    return mirror ? [points, points.map(({ x, y }) => ({ x: this.width - x, y }))] : [points];
  }

  #count(pixels, [x0, y0, x1, y1], sign) {
    for (let y = y0; y < y1; y++) {
      for (let i = y * this.width + x0, end = y * this.width + x1; i < end; i++) this.counts[pixels[i]] += sign;
    }
  }
}
