/**
 * A sheet of white paper with ink lines and crayons on it: colours of red, green and blue, and how far each pixel is ink.
 *
 * Crayons go under the ink: where a line is soft they tint it, where it is whole they leave it alone. What is ink is read from the
 * colours when a sheet is opened and after undo, so that a document needs nothing but its colours. Actions return the patch for
 * the history, null where nothing changed. No DOM.
 */

import { applyPixels, diffPixels, union } from "../../canvas/patch.js";
import { Coverage } from "../../canvas/raster.js";
import { outline } from "../../canvas/shapes.js";
import { Stroke } from "../../canvas/strokes.js";

/** As annotator/colour.py has them: the pen's colour, what is read as ink, and what is read as paper. @type {Colour} */
export const INK = [20, 20, 24];
export const INK_BELOW = 41;
export const PAPER_FROM = 233;
/** @type {Colour} */
export const PAPER = [255, 255, 255];

const ALIKE = 24; // levels by which one crayon's colour differs from itself, in a scan
const MIXED = 16; // levels by which the soft edge of a line differs from a mixture of ink and what is beside it
const GAP_SHARE = 1 / 256; // half of the widest gap in a line that a fill does not run through, of the shorter side
const LEAK = 0.9; // less than this of what a fill would reach: it would run through a gap

/** `colour` as a crayon: never so dark that it would be read as ink. @param {Colour} colour @returns {Colour} */
export function crayon([red, green, blue]) {
  const short = Math.max(0, INK_BELOW + 4 - Math.max(red, green, blue));
  return [red + short, green + short, blue + short];
}

/** @param {Colour} colour */
export const isPaper = (colour) => Math.min(...colour) >= PAPER_FROM;

export class Sheet {
  width = 1;
  height = 1;
  /** Red, green and blue, row by row. @type {Bytes} */
  pixels = new Uint8Array(3).fill(255);
  /** How far each pixel is ink, 0..255. @type {Bytes} */
  ink = new Uint8Array(1);
  /** @type {Coverage} */
  coverage;
  /** What the action lays its colours over. @type {{pixels: Bytes, ink: Bytes}} */
  before;
  /** The colours before the action, which may lay more than once. @type {Bytes} */
  start = this.pixels;
  /** The stroke that is being drawn. @type {Stroke | null} */
  stroke = null;
  /** @type {Laying} */
  laying = { tool: "pen", colour: INK, within: null };
  /** @type {Rect | null} */
  touched = null;
  /** The region of the last crayon that was kept within lines, as long as these stay. @type {{region: Bytes, mirror: boolean} | null} */
  known = null;

  /** @param {(rect: Rect | null) => void} [onRect]  hears which pixels may have changed */
  constructor(onRect = () => {}) {
    this.onRect = onRect;
  }

  /** Take another sheet; `pixels` are red, green and blue. @param {Plane} sheet */
  load({ width, height, pixels }) {
    [this.width, this.height] = [width, height];
    this.pixels = pixels.slice();
    this.ink = new Uint8Array(width * height);
    this.before = { pixels: pixels.slice(), ink: new Uint8Array(width * height) };
    this.coverage = new Coverage(width, height);
    this.stroke = this.touched = this.known = null;
    this.#readInk([0, 0, width, height]);
  }

  /** A copy of the sheet as a document. @returns {RasterDocument} */
  document() {
    return { kind: "rgb", width: this.width, height: this.height, pixels: this.pixels.slice() };
  }

  /** The crayon under a point; null on a line and beside the sheet. @param {Place} at @returns {Colour | null} */
  crayonAt({ x, y }) {
    if (!(x >= 0 && y >= 0 && x < this.width && y < this.height)) return null;
    const i = Math.floor(y) * this.width + Math.floor(x);
    return this.ink[i] < 128 ? crayon(this.#under(i)) : null;
  }

  // ---- strokes: begun, drawn on with points as the hand gives them, ended or given up

  /**
   * tool: "pen", "crayon" or "eraser". `within` keeps a crayon between the lines around the place where it begins.
   *
   * @param {Place} at
   * @param {{tool: LayingTool, colour: Colour, size: number, mirror?: boolean, pressure?: boolean, damping?: number, within?: boolean}} how
   */
  beginStroke(at, { tool, colour, size, mirror = false, pressure = false, damping, within = false }) {
    this.#begin(tool, colour, within ? this.#within(at, mirror) : null);
    this.stroke = new Stroke(this.coverage, { size, mirror, pressure, damping });
  }

  /** @param {StrokePoint[]} points */
  drawStroke(points) {
    if (this.stroke) this.#lay(this.stroke.add(points));
  }

  /** @param {Place} from  where the earlier stroke ended  @param {StrokePoint} point */
  drawStraightOn(from, point) {
    if (this.stroke) this.#lay(this.stroke.straightOn(from, point));
  }

  endStroke() {
    if (this.stroke) this.#lay(this.stroke.finish());
    return this.#end();
  }

  cancelStroke() {
    if (!this.stroke) return;
    this.pixels.set(this.before.pixels);
    this.ink.set(this.before.ink);
    this.onRect(this.touched);
    this.stroke = null;
    this.coverage.clear();
  }

  // ---- whole actions

  /**
   * A "line", "rectangle", "ellipse" or "polygon" in ink; with a colour, what it surrounds is coloured in.
   *
   * @param {string} tool
   * @param {Place[]} points
   * @param {{size: number, colour?: Colour | null, mirror?: boolean}} how
   */
  shape(tool, points, { size, colour = null, mirror = false }) {
    const closed = tool !== "line" && (tool !== "polygon" || points.length > 2);
    const shapes = this.#mirrored(outline(tool, points), mirror);
    this.#begin("crayon", colour ?? PAPER);
    if (colour && closed) for (const corners of shapes) this.#lay(this.coverage.polygon(corners));
    this.coverage.clear();
    this.#keep();
    this.laying = { tool: "pen", colour: INK, within: null };
    this.known = null;
    for (const corners of shapes) this.#lay(this.coverage.polyline(corners, size / 2, closed));
    return this.#end();
  }

  /**
   * The region of one colour around a point, up to the lines, becomes `colour`; small gaps in the lines are held shut. With
   * `everything`, whatever colours are between the lines.
   *
   * @param {Place} at
   * @param {{colour: Colour, mirror?: boolean, everything?: boolean}} how
   */
  fill(at, { colour, mirror = false, everything = false }) {
    this.#begin("crayon", colour);
    for (const place of this.#mirrored([at], mirror).flat()) {
      const region = this.#region([place], { everything });
      if (!region) continue;
      this.coverage.clear();
      this.#lay(this.coverage.where(region));
      this.#keep();
    }
    return this.#end();
  }

  /** White paper; with `inkToo` off, the lines stay. @param {boolean} [inkToo] */
  clear(inkToo = true) {
    this.#begin(inkToo ? "eraser" : "crayon", PAPER);
    this.#lay(this.coverage.box(0, 0, this.width, this.height));
    return this.#end();
  }

  /** Undo or redo (it is the same) a patch. @param {PixelPatch} patch */
  apply(patch) {
    applyPixels(this.pixels, this.width, patch);
    this.known = null;
    this.#readInk(patch.rect);
    this.onRect(patch.rect);
  }

  /**
   * @param {LayingTool} tool
   * @param {Colour} colour
   * @param {Bytes | null} [within]
   */
  #begin(tool, colour, within = null) {
    this.start = this.pixels.slice();
    this.#keep();
    this.coverage.clear();
    this.touched = null;
    if (tool !== "crayon") this.known = null;
    this.laying = { tool, colour: tool === "crayon" && !isPaper(colour) ? crayon(colour) : colour, within };
  }

  /** What comes is laid over what is there now. */
  #keep() {
    this.before.pixels.set(this.pixels);
    this.before.ink.set(this.ink);
  }

  /** @param {Rect | null} rect */
  #lay(rect) {
    if (!rect) return;
    const { width, pixels, ink, before, coverage: { data }, laying: { tool, colour, within } } = this;
    for (let y = rect[1]; y < rect[3]; y++) {
      for (let i = y * width + rect[0], end = y * width + rect[2]; i < end; i++) {
        const cover = data[i];
        const lays = tool === "pen" ? cover > 0 : cover >= 128 && (!within || within[i] > 0);
        if (!lays) {
          put(pixels, i, before.pixels, i);
          ink[i] = before.ink[i];
        } else if (tool === "pen") {
          mix(pixels, i, before.pixels, i, cover);
          ink[i] = 255 - ((((255 - before.ink[i]) * (255 - cover) + 127) / 255) | 0);
        } else if (tool === "eraser") {
          pixels.fill(255, 3 * i, 3 * i + 3);
          ink[i] = 0;
        } else if (before.ink[i] < 255) mix(pixels, i, colour, 0, before.ink[i]);
      }
    }
    this.touched = union(this.touched, rect);
    this.onRect(rect);
  }

  #end() {
    const { start, pixels, width, touched } = this;
    this.stroke = null;
    this.coverage.clear();
    return diffPixels(start, pixels, width, touched, 3);
  }

  /**
   * @param {Place[]} points
   * @param {boolean} mirror
   */
  #mirrored(points, mirror) {
    return mirror ? [points, points.map(({ x, y }) => ({ x: this.width - x, y }))] : [points];
  }

  // ---- regions between lines

  /**
   * Where a crayon that begins at a place may go. Many strokes colour one region in: it is sought once.
   *
   * @param {Place} at
   * @param {boolean} mirror
   */
  #within(at, mirror) {
    const { known } = this;
    if (known && known.mirror === mirror && known.region[Math.floor(at.y) * this.width + Math.floor(at.x)]) return known.region;
    const region = this.#region(this.#mirrored([at], mirror).flat(), { everything: true });
    this.known = region && { region, mirror };
    return region;
  }

  /**
   * 1 in the regions around some places, up to the lines and under their soft edges; null where all of these lie on lines.
   *
   * @param {Place[]} places
   * @param {{everything: boolean}} how
   */
  #region(places, { everything }) {
    /** @type {Bytes | null} */
    let all = null;
    for (const { x, y } of places) {
      if (!(x >= 0 && y >= 0 && x < this.width && y < this.height)) continue;
      const region = this.#regionAt(Math.floor(x), Math.floor(y), everything);
      if (!region) continue;
      if (all) for (let i = 0; i < all.length; i++) all[i] |= region[i];
      else all = region;
    }
    return all;
  }

  /**
   * @param {number} x
   * @param {number} y
   * @param {boolean} everything
   */
  #regionAt(x, y, everything) {
    const { width, height, ink } = this;
    const at = y * width + x;
    if (ink[at] >= 128) return null;
    const own = this.#under(at);
    const open = new Uint8Array(width * height);
    for (let i = 0; i < open.length; i++) open[i] = ink[i] < 128 && (everything || this.#isAlike(i, own)) ? 1 : 0;
    const far = Math.max(1, Math.round(Math.min(width, height) * GAP_SHARE));
    const region = flooded(open, width, height, x, y);
    const shut = this.#shut(open, far);
    if (shut[at]) {
      const held = grown(flooded(shut, width, height, x, y), width, far + 1, (i) => open[i] > 0);
      if (sum(held) < LEAK * sum(region)) return this.#underEdges(held);
    }
    return this.#underEdges(region);
  }

  /** `open` without what is within `far` pixels of a line. @param {Bytes} open @param {number} far */
  #shut(open, far) {
    const { width, height, ink } = this;
    const shut = open.slice();
    for (let i = 0; i < ink.length; i++) {
      if (ink[i] < 128) continue;
      const [x, y] = [i % width, Math.floor(i / width)];
      if (x > 0 && x < width - 1 && ink[i - 1] >= 128 && ink[i + 1] >= 128 && ink[i - width] >= 128 && ink[i + width] >= 128) continue;
      for (let v = Math.max(0, y - far); v <= Math.min(height - 1, y + far); v++) {
        shut.fill(0, v * width + Math.max(0, x - far), v * width + Math.min(width, x + far + 1));
      }
    }
    return shut;
  }

  /** A region with the soft edges of the lines around it: uphill, to the middle of each line. @param {Bytes} region */
  #underEdges(region) {
    const { ink, width } = this;
    return grown(region, width, 2, (i, from) => ink[i] > ink[from]);
  }

  /** Whether a pixel shows a crayon of that colour. @param {number} i @param {Colour} colour */
  #isAlike(i, colour) {
    const { pixels, ink } = this;
    // What a line's edge lets through says less of it; a loop over all pixels makes no lists.
    const [cover, through] = [ink[i], 255 - ink[i]];
    for (let k = 0; k < 3; k++) {
      if (Math.abs(255 * pixels[3 * i + k] - INK[k] * cover - colour[k] * through) > ALIKE * 255) return false;
    }
    return true;
  }

  /** The colour of a pixel without its ink, which is less than whole. @param {number} i @returns {Colour} */
  #under(i) {
    const share = this.ink[i] / 255;
    const bare = (/** @type {number} */ k) =>
      Math.max(0, Math.min(255, Math.round((this.pixels[3 * i + k] - INK[k] * share) / (1 - share))));
    return [bare(0), bare(1), bare(2)];
  }

  // ---- what is ink

  /**
   * Read from the colours how far pixels are ink: wholly where they are dark; beside those, by how they mix ink with the nearest
   * colour farther off.
   *
   * @param {Rect} rect
   */
  #readInk([x0, y0, x1, y1]) {
    const { width, height, pixels, ink } = this;
    const lines = new Uint8Array(width * height); // 2 on a line, 1 beside one
    for (let y = Math.max(0, y0 - 4); y < Math.min(height, y1 + 4); y++) {
      for (let x = Math.max(0, x0 - 4), i = y * width + x; x < Math.min(width, x1 + 4); x++, i++) {
        if (pixels[3 * i] >= INK_BELOW || pixels[3 * i + 1] >= INK_BELOW || pixels[3 * i + 2] >= INK_BELOW) continue;
        for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
          for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) lines[v * width + u] ||= 1;
        }
        lines[i] = 2;
      }
    }
    for (let y = Math.max(0, y0 - 1); y < Math.min(height, y1 + 1); y++) {
      for (let x = Math.max(0, x0 - 1), i = y * width + x; x < Math.min(width, x1 + 1); x++, i++) {
        ink[i] = lines[i] === 2 ? 255 : lines[i] ? this.#coverOf(i, this.#colourNear(x, y, lines)) : 0;
      }
    }
  }

  /**
   * The pixel whose colour a line's edge lies on: the nearest that is neither ink nor beside ink, else the lightest around.
   *
   * @param {number} x
   * @param {number} y
   * @param {Bytes} lines
   */
  #colourNear(x, y, lines) {
    const { width, height, pixels } = this;
    let [nearest, best, lightest, most] = [-1, Infinity, y * width + x, -1];
    for (let v = Math.max(0, y - 2); v <= Math.min(height - 1, y + 2); v++) {
      for (let u = Math.max(0, x - 2); u <= Math.min(width - 1, x + 2); u++) {
        const i = v * width + u;
        if (lines[i] === 2) continue;
        const light = pixels[3 * i] + pixels[3 * i + 1] + pixels[3 * i + 2];
        if (light > most) [lightest, most] = [i, light];
        const distance = (u - x) ** 2 + (v - y) ** 2;
        if (distance < best && !lines[i]) [nearest, best] = [i, distance];
      }
    }
    return nearest >= 0 ? nearest : lightest;
  }

  /** How far pixel `i` is ink over the colour of pixel `j`, 0 where it is another colour. @param {number} i @param {number} j */
  #coverOf(i, j) {
    const { pixels } = this;
    let [along, whole] = [0, 0];
    for (let k = 0; k < 3; k++) {
      const step = pixels[3 * j + k] - INK[k];
      along += (pixels[3 * j + k] - pixels[3 * i + k]) * step;
      whole += step * step;
    }
    const share = whole ? along / whole : 0;
    if (share <= 0.02 || share > 1) return 0;
    for (let k = 0; k < 3; k++) {
      const mixed = pixels[3 * j + k] * (1 - share) + INK[k] * share;
      if (Math.abs(mixed - pixels[3 * i + k]) > MIXED) return 0;
    }
    return Math.round(255 * share);
  }
}

/**
 * @param {Bytes} out
 * @param {number} i
 * @param {Bytes} from
 * @param {number} j
 */
function put(out, i, from, j) {
  out[3 * i] = from[3 * j];
  out[3 * i + 1] = from[3 * j + 1];
  out[3 * i + 2] = from[3 * j + 2];
}

/**
 * out = a colour with ink over it, `cover` 0..255.
 *
 * @param {Bytes} out
 * @param {number} i
 * @param {ArrayLike<number>} from
 * @param {number} j
 * @param {number} cover
 */
function mix(out, i, from, j, cover) {
  for (let k = 0; k < 3; k++) out[3 * i + k] = ((from[3 * j + k] * (255 - cover) + INK[k] * cover + 127) / 255) | 0;
}

/**
 * Ink over pixel `i` of a sheet, `cover` 0..255.
 *
 * @param {Bytes} pixels
 * @param {number} i
 * @param {number} cover
 */
export function inkOver(pixels, i, cover) {
  mix(pixels, i, pixels, i, cover);
}

/**
 * @param {Bytes} open
 * @param {number} width
 * @param {number} height
 * @param {number} x
 * @param {number} y
 */
function flooded(open, width, height, x, y) {
  const coverage = new Coverage(width, height);
  coverage.flood(open, x, y, (value) => value > 0);
  return coverage.data.map((value) => value & 1);
}

/**
 * A region larger by so many pixels in all eight directions, wherever `may(i, from)` lets it.
 *
 * @param {Bytes} region
 * @param {number} width
 * @param {number} rounds
 * @param {(i: number, from: number) => boolean} may
 */
function grown(region, width, rounds, may) {
  const out = region.slice();
  const height = region.length / width;
  let front = edgeOf(region, width);
  for (let round = 0; round < rounds && front.length; round++) {
    const next = [];
    for (const from of front) {
      const [x, y] = [from % width, Math.floor(from / width)];
      for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
          const i = v * width + u;
          if (out[i] || !may(i, from)) continue;
          out[i] = 1;
          next.push(i);
        }
      }
    }
    front = next;
  }
  return out;
}

/** The pixels of a region with a neighbour outside. @param {Bytes} region @param {number} width */
function edgeOf(region, width) {
  const height = region.length / width;
  const edge = [];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (!region[i]) continue;
      const inner = x > 0 && x < width - 1 && y > 0 && y < height - 1 && region[i - 1] && region[i + 1] && region[i - width] &&
        region[i + width] && region[i - width - 1] && region[i - width + 1] && region[i + width - 1] && region[i + width + 1];
      if (!inner) edge.push(i);
    }
  }
  return edge;
}

/** @param {Bytes} region */
function sum(region) {
  let count = 0;
  for (let i = 0; i < region.length; i++) count += region[i];
  return count;
}
