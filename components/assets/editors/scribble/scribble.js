/**
 * The scribble editor: ink on paper. Its document is a mask, coverage 0..255; how it is coloured on the screen is only a
 * matter of looking.
 */

import { iconButton, slider } from "../../shared/controls.js";
import { blank } from "../../canvas/document.js";
import { readPicture, toPng } from "../../canvas/files.js";
import { paintAxis, paintBrush } from "../../canvas/overlay.js";
import { applyPixels, diffPixels, union } from "../../canvas/patch.js";
import { Coverage, invert, layErase, layInk } from "../../canvas/raster.js";
import { addSteadiness, steadiness } from "../../canvas/hand.js";
import { ERASER } from "../../canvas/pointer.js";
import { addPolygonKeys, outline, SHAPE_TOOLS, Shapes } from "../../canvas/shapes.js";
import { rgba } from "../../canvas/stage.js";
import { Stroke } from "../../canvas/strokes.js";
import { fitInto, maskFromRgba, selectionFromRgba } from "../../canvas/transform.js";

const TOOLS = [
  { id: "brush", label: "Brush", icon: "brush", keys: ["B"], cursor: "none", hint: "Draw. Shift: straight on from the last point." },
  { id: "eraser", label: "Eraser", icon: "eraser", keys: ["E"], cursor: "none", hint: "Rub out, with a width of its own." },
  null,
  ...SHAPE_TOOLS,
  { id: "fill", label: "Fill", icon: "fill", keys: ["G"], hint: "Click inside a closed line." },
];
const SIZE_MAX_PX = 64;
const MASK_SIZE_MAX_PX = 200; // a mask covers things, where a pen draws their edges
const FOUND = { "dark on light": "dark lines on light paper", "light on dark": "light lines on dark paper",
  transparent: "lines on a transparent ground",
  white: "the white of it counts", painted: "what is painted in it counts" };

/** Ink colours for each look: palette from coverage to colour over the paper's. */
const LOOKS = {
  light: { paper: "#ffffff", ink: "#16171b", palette: Uint32Array.from({ length: 256 }, (_, v) => rgba(22, 23, 27, v)) },
  dark: { paper: "#000000", ink: "#ffffff", palette: Uint32Array.from({ length: 256 }, (_, v) => rgba(255, 255, 255, v)) },
};

export function createEditor(shell, options) {
  return new Scribble(shell, options);
}

export class Scribble {
  /** @type {Plane} */
  raster;
  /** @type {Coverage} */
  coverage;
  /** What was there before the stroke. @type {Bytes} */
  before;
  kind = "mask";
  imports = { accept: "image/png,image/jpeg,image/webp", label: "Open as drawing", run: (file) => this.#import(file) };

  constructor(shell, options) {
    this.shell = shell;
    this.name = options.name ?? "scribble";
    this.masks = !!options.mask;
    this.sizeMax = this.masks ? MASK_SIZE_MAX_PX : SIZE_MAX_PX;
    this.sizes = { brush: options.brush_px ?? 6, eraser: 24 };
    this.pressure = true;
    this.mirror = false;
    this.solid = false;
    this.look = "light";
    this.shapes = new Shapes(shell, (tool, points) => this.#drawWhole(() => this.#cover(tool, points)));
    this.layer = shell.stage.addRaster(LOOKS.light.palette);
    this.pointer = {
      down: (point) => this.#down(point), move: (points, last) => this.#move(points, last), up: (point) => this.#up(point),
      cancel: () => this.#cancel(), hover: (point) => this.#hover(point), leave: () => this.#hover(null),
    };
    this.#addControls();
    this.load(blank("mask", 512, 512));
    shell.setTool("brush");
  }

  load({ width, height, pixels }) {
    this.raster = { width, height, pixels: pixels.slice() };
    this.before = new Uint8Array(pixels.length);
    this.coverage = new Coverage(width, height);
    this.shapes.clear();
    this.lastEnd = null;
    this.layer.show(this.raster);
  }

  document() {
    const { width, height, pixels } = this.raster;
    return { kind: "mask", width, height, pixels: pixels.slice() };
  }

  apply(patch) {
    applyPixels(this.raster.pixels, this.raster.width, patch);
    this.layer.mark(patch.rect);
  }

  toolChanged() {
    this.shapes.clear();
    if (this.shell.tool === "brush" || this.shell.tool === "eraser") this.sizeSlider?.show(this.size);
  }

  escape() {
    return this.shapes.escape();
  }

  paint(context, view) {
    const { tool } = this.shell;
    const { mirror, solid, sizes } = this;
    if (mirror) paintAxis(context, view);
    this.shapes.paint(context, view, this.cursor, { colour: LOOKS[this.look].ink, size: sizes.brush, solid, mirror });
    if (this.cursor && (tool === "brush" || tool === "eraser")) paintBrush(context, view, this.cursor, { size: this.size, mirror });
  }

  // ---- pointer

  #down(point) {
    if (point.button === 2) return;
    const { tool } = this.shell;
    const erasing = tool === "eraser" || point.button === ERASER;
    if (!erasing) {
      if (tool === "fill") return this.#fill(point);
      if (this.shapes.down(point) || tool !== "brush") return;
    }
    this.#begin(erasing);
    const from = point.shift && this.lastEnd;
    this.stroke = new Stroke(this.coverage, { size: this.sizes[erasing ? "eraser" : "brush"], pressure: this.pressure,
      mirror: this.mirror, damping: steadiness() });
    this.#draw(from ? this.stroke.straightOn(from, point) : this.stroke.add([point]));
    this.#hover(point);
  }

  #move(points, last) {
    if (this.stroke) this.#draw(this.stroke.add(points));
    else this.shapes.move(points, last);
    this.#hover(last);
  }

  #up(point) {
    if (!this.stroke) return this.shapes.up(point);
    this.#draw(this.stroke.finish());
    this.lastEnd = { x: point.x, y: point.y };
    return this.#end();
  }

  #cancel() {
    this.shapes.cancel();
    if (this.stroke) {
      const { rect } = this.coverage;
      this.raster.pixels.set(this.before);
      this.layer.mark(rect);
      this.stroke = null;
      this.coverage.clear();
    }
    this.shell.repaint();
  }

  #hover(point) {
    this.cursor = point;
    this.shell.repaint();
  }

  // ---- drawing

  get size() {
    return this.sizes[this.shell.tool === "eraser" ? "eraser" : "brush"];
  }

  #begin(erasing = false) {
    this.erasing = erasing;
    this.before.set(this.raster.pixels);
    this.coverage.clear();
  }

  /** Lay the coverage within `rect` over what was there at the beginning. */
  #draw(rect) {
    (this.erasing ? layErase : layInk)(this.raster.pixels, this.before, this.coverage, rect);
    this.layer.mark(rect);
  }

  #end() {
    const { width, pixels } = this.raster;
    const patch = diffPixels(this.before, pixels, width, this.coverage.rect);
    this.stroke = null;
    this.coverage.clear();
    if (patch) this.shell.commit(patch);
  }

  #drawWhole(cover) {
    this.#begin();
    this.#draw(cover());
    this.#end();
  }

  #cover(tool, points) {
    const closed = tool !== "line" && (tool !== "polygon" || points.length > 2);
    const draw = (corners) => {
      const { coverage } = this;
      const rect = this.solid && closed ? coverage.polygon(corners) : null;
      return union(rect, coverage.polyline(corners, this.sizes.brush / 2, closed));
    };
    const corners = outline(tool, points);
    const flipped = corners.map(({ x, y }) => ({ x: this.raster.width - x, y }));
    return this.mirror ? union(draw(corners), draw(flipped)) : draw(corners);
  }

  #fill({ x, y }) {
    const paper = (value) => value < 128;
    const { width, pixels } = this.raster;
    this.#drawWhole(() => {
      const rect = this.coverage.flood(pixels, x, y, paper, true);
      return this.mirror ? union(rect, this.coverage.flood(pixels, width - x, y, paper, true)) : rect;
    });
  }

  #change(make) {
    this.#begin();
    make(this.raster.pixels);
    const { width, height, pixels } = this.raster;
    /** @type {Rect} */
    const rect = [0, 0, width, height];
    this.layer.mark(rect);
    const patch = diffPixels(this.before, pixels, width, rect);
    if (patch) this.shell.commit(patch);
  }

  // ---- controls

  #addControls() {
    const { shell } = this;
    shell.addTools(TOOLS);
    const brushes = () => shell.tool !== "fill" && shell.tool !== "hand";
    this.sizeSlider = shell.addOption(slider({ id: "size-px", label: "Width", min: 1, max: this.sizeMax, value: this.sizes.brush,
      format: (value) => `${value} px`, onInput: (value) => this.#setSize(value) }), brushes);
    const toggle = (id, label, name, keys, field, when) => {
      const run = () => {
        this[field] = !this[field];
        shell.refresh();
        shell.repaint();
      };
      const button = iconButton({ id, label, icon: name, keys, run });
      shell.addOption(button, when);
      shell.onRefresh(() => button.setAttribute("aria-pressed", String(this[field])));
      if (keys.length) shell.shortcuts.add({ keys, label, group: "Draw", run });
    };
    toggle("solid", "Fill shapes", "solid", ["F"], "solid", () => ["rectangle", "ellipse", "polygon"].includes(shell.tool));
    toggle("mirror", "Mirror drawing", "mirror", ["M"], "mirror", () => shell.tool !== "hand");
    shell.shortcuts.add({ keys: ["["], label: "Thinner", group: "Draw", run: () => this.#setSize(this.size - step(this.size - 1)) });
    shell.shortcuts.add({ keys: ["]"], label: "Thicker", group: "Draw", run: () => this.#setSize(this.size + step(this.size)) });
    shell.shortcuts.add({ keys: ["Shift"], label: "Hold: straight line, square, circle", group: "Draw" });
    addPolygonKeys(shell, this.shapes, "Draw");
    if (!this.masks) shell.addAction({ id: "look", label: "White on black", icon: "contrast", keys: ["K"], place: "top", spare: true, group: "View", pressed: () => this.look === "dark", run: () => this.#toggleLook() });
    shell.addAction({ id: "invert", label: this.masks ? "Invert what is painted" : "Invert the drawing", icon: "invert", keys: ["Ctrl+I"],
      place: "menu", run: () => this.#change(invert) });
    shell.addAction({ id: "clear", label: this.masks ? "Clear what is painted" : "Clear the canvas", icon: "trash", keys: ["Ctrl+Del"],
      place: "top", spare: true, run: () => this.#change((pixels) => pixels.fill(0)) });
    shell.addAction({ id: "download", label: "Download as PNG", icon: "download", keys: ["Ctrl+S"], place: "menu", group: "Files",
      run: () => this.download() });
    shell.addAction({ id: "pressure", label: "Pen pressure sets the width", icon: "brush", place: "menu", pressed: () => this.pressure,
      run: () => {
      this.pressure = !this.pressure;
    } });
    addSteadiness(shell, "Draw");
  }

  #setSize(value) {
    const size = Math.min(this.sizeMax, Math.max(1, Math.round(value)));
    this.sizes[this.shell.tool === "eraser" ? "eraser" : "brush"] = size;
    this.sizeSlider.show(size);
    this.shell.repaint();
  }

  #toggleLook() {
    this.look = this.look === "light" ? "dark" : "light";
    this.layer.setPalette(LOOKS[this.look].palette);
    this.shell.paper.style.background = LOOKS[this.look].paper;
    this.shell.refresh();
  }

  // ---- files

  async #import(file) {
    const { rgba: bytes, width, height } = await readPicture(file);
    const { pixels, found } = this.masks ? selectionFromRgba(bytes) : maskFromRgba(bytes, width, height);
    const target = this.raster;
    this.shell.replace({ kind: "mask", ...fitInto({ width, height, pixels }, target.width, target.height) });
    this.shell.toast(`Opened: ${FOUND[found]}.`);
  }

  async download() {
    const { width, height, pixels } = this.raster;
    const light = this.look === "light";
    const bytes = new Uint32Array(pixels.length);
    for (let i = 0; i < pixels.length; i++) {
      const value = light ? 255 - pixels[i] : pixels[i];
      bytes[i] = rgbaGrey[value];
    }
    this.shell.download(await toPng(new Uint8Array(bytes.buffer), width, height), `${this.name}.png`);
  }
}

const rgbaGrey = Uint32Array.from({ length: 256 }, (_, v) => rgba(v, v, v));

function step(size) {
  return size < 8 ? 1 : size < 24 ? 2 : 4;
}
