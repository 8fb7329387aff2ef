/**
 * The segmentation painter: one class for every pixel. Its document is a map of class indices; colours are only how it is
 * shown.
 *
 * Options: classes ([{index, name, rgb, synonyms}], required), trained (indices that the model has learnt), name, sizes,
 * underlay, brush_px.
 */

import { element } from "../../shared/controls.js";
import { blank } from "../../canvas/document.js";
import { steadiness } from "../../canvas/hand.js";
import { paintAxis, paintBrush } from "../../canvas/overlay.js";
import { Shapes } from "../../canvas/shapes.js";
import { rgba } from "../../canvas/stage.js";
import { ClassTable } from "./classes.js";
import { addControls, SIZE_MAX_PX } from "./controls.js";
import { colourPng, indexedPng, openMap } from "./files.js";
import { placeLabels } from "./labels.js";
import { remember, remembered } from "../../shared/memory.js";
import { paintLabels, paintTag } from "./overlay.js";
import { Painter } from "./painter.js";
import { Palette } from "./palette.js";
import { Regions } from "./regions.js";
import { fitExtended } from "./scale.js";
import { SEG_STYLE } from "./style.js";


export function createEditor(shell, options) {
  return new SegPainter(shell, options);
}

class SegPainter {
  /** @type {Palette} */
  palette;
  /** @type {HTMLSpanElement} */
  under;
  kind = "classes";
  /** There once the options strip is. @type {Slider | undefined} */
  sizeSlider;
  imports = { accept: "image/png,image/jpeg,image/webp", label: "Open as map", run: (file) => this.#open(file) };

  constructor(shell, options) {
    this.shell = shell;
    this.name = options.name ?? "segmentation";
    if (!options.classes?.length) throw new Error("The segmentation painter needs options.classes.");
    this.table = new ClassTable(options.classes, options.trained);
    this.size = options.brush_px ?? 32;
    this.round = true;
    this.solid = true;
    this.mirror = false;
    this.pressure = false;
    this.labels = !!remembered("seg.labels");
    this.current = this.previous = 0;
    this.shapes = new Shapes(shell, (tool, points) => this.#commit(this.painter.shape(tool, points, this.#shapeOptions())));
    this.pointer = {
      down: (point) => this.#down(point), move: (points, last) => this.#move(points, last), up: (point) => this.#up(point),
      cancel: () => this.#cancel(), hover: (point) => this.#hover(point), leave: () => this.#hover(null),
    };
    this.painter = new Painter((rect) => {
      this.layer.mark(rect);
      this.places = null;
    });
    this.layer = shell.stage.addRaster(Uint32Array.from({ length: 256 },
      (_, i) => (i < this.table.size ? rgba(...this.table.rgb(i)) : rgba(0, 0, 0))));
    this.#addPanel();
    addControls(this);
    this.regions = new Regions(shell, () => shell.tool === "regions", () => this.painter);
    this.load(blank("classes", 512, 512));
    shell.setTool("brush");
  }

  load(map) {
    const foreign = this.painter.load(map, this.table.size);
    if (foreign) this.shell.toast(`${foreign.toLocaleString("en")} pixels held no class and became ${this.table.name(0)}.`);
    this.shapes.clear();
    this.lastEnd = this.places = null;
    this.layer.show(this.painter);
    this.regions.refresh();
    this.palette.count(this.painter.counts);
    this.shell.addStatus(this.under);
  }

  document() {
    return this.painter.map();
  }

  apply(patch) {
    this.painter.apply(patch);
    this.palette.count(this.painter.counts);
  }

  resized(width, height) {
    return fitExtended(this.painter.map(), width, height);
  }

  toolChanged() {
    this.shapes.clear();
    this.regions.refresh();
  }

  underlayChanged() {
    this.regions.refresh();
  }

  escape() {
    return this.shapes.escape();
  }

  /** Another model knows other classes. */
  optionsChanged({ trained }) {
    if (this.table.learn(trained)) this.palette.relist();
  }

  // ---- classes

  choose(index) {
    if (index === this.current || !(index in this.table.rows)) return;
    this.hold(index, this.current);
  }

  hold(current, previous) {
    [this.current, this.previous] = [current, previous];
    this.palette.show(current, previous);
    remember("seg.hands", [current, previous]);
    this.shell.repaint();
  }

  // ---- pointer

  #down(point) {
    const { tool } = this.shell;
    if (point.button === 2 || point.alt || tool === "pick") return this.#pick(point);
    if (tool === "fill" || tool === "replace") return this.#pour(point, tool === "replace" || point.shift);
    if (tool === "regions") {
      this.painter.beginRegions(this.current);
      return this.#drawRegions([point]);
    }
    if (this.shapes.down(point) || tool !== "brush") return undefined;
    const { size, round, mirror, pressure } = this;
    this.painter.beginStroke({ label: this.current, size, round, mirror, pressure, damping: steadiness() });
    const from = point.shift && this.lastEnd;
    if (from) this.painter.drawStraightOn(from, point);
    else this.painter.drawStroke([point]);
    return this.#hover(point);
  }

  #move(points, last) {
    if (this.painter.regions) this.#drawRegions(points);
    else if (this.painter.stroke) this.painter.drawStroke(points);
    else if (this.picking) this.#pick(last);
    else this.shapes.move(points, last);
    this.#hover(last);
  }

  #up(point) {
    this.picking = false;
    if (!this.painter.busy) return this.shapes.up(point);
    if (this.painter.stroke) this.lastEnd = { x: point.x, y: point.y };
    return this.#commit(this.painter.endStroke());
  }

  #cancel() {
    this.shapes.cancel();
    this.picking = false;
    this.painter.cancelStroke();
    this.shell.repaint();
  }

  #hover(point) {
    this.cursor = point;
    if (this.shell.tool === "regions") this.regions.point(point);
    const index = point ? this.painter.classAt(point.x, point.y) : -1;
    if (index !== this.hovered) {
      this.hovered = index;
      this.under.replaceChildren(...(index < 0 ? [] : [element("span", { class: "swatch", style: `background:${this.table.css(index)}` }),
        this.table.name(index)]));
    }
    this.shell.repaint();
  }

  // ---- painting

  /** Give the regions under some points the class in hand. */
  #drawRegions(points) {
    for (const region of new Set(points.map((point) => this.regions.at(point)))) {
      if (region >= 0) this.painter.drawRegion(this.regions.pixels(region));
    }
  }

  #pick(point) {
    this.picking = true;
    const index = this.painter.classAt(point.x, point.y);
    if (index >= 0) this.choose(index);
  }

  #pour(point, everywhere) {
    const own = this.painter.classAt(point.x, point.y);
    if (own < 0) return;
    if (everywhere) this.replace(own);
    else this.#commit(this.painter.fill(point.x, point.y, { label: this.current, mirror: this.mirror }));
  }

  replace(from) {
    this.#commit(this.painter.replace(from, this.current));
  }

  /** The history gets what was painted; nothing when nothing changed. */
  #commit(patch) {
    if (!patch) return;
    this.palette.count(this.painter.counts);
    this.palette.used(this.current);
    this.shell.commit(patch);
    this.shell.repaint();
  }

  #shapeOptions() {
    return { label: this.current, size: this.size, solid: this.solid, mirror: this.mirror };
  }

  #addPanel() {
    const { shell, table } = this;
    shell.root.classList.add("seg");
    shell.root.append(element("style", {}, SEG_STYLE));
    this.under = element("span", { class: "under", "data-id": "class-under-pointer" });
    this.palette = new Palette(shell, table, {
      choose: (index) => this.choose(index), swap: () => this.hold(this.previous, this.current), replace: (from) => this.replace(from),
    });
    const [current, previous] = (remembered("seg.hands") ?? []).map((index) => (index in table.rows ? index : 0));
    this.hold(current ?? table.named("grass"), previous ?? table.named("sky"));
    shell.panel.hidden = remembered("seg.panel") === false;
  }

  // ---- what the controls ask for

  showPanel(shown) {
    this.shell.panel.hidden = !shown;
    remember("seg.panel", shown);
    this.shell.refresh();
  }

  setSize(value) {
    this.size = Math.min(SIZE_MAX_PX, Math.max(1, Math.round(value)));
    this.sizeSlider?.show(this.size);
    this.shell.repaint();
  }

  /** Turn a setting ("round", "solid", "mirror", "labels", "pressure") on or off. */
  toggle(setting) {
    this[setting] = !this[setting];
    if (setting === "labels") remember("seg.labels", this.labels);
    this.shell.refresh();
    this.shell.repaint();
  }

  fillAll() {
    this.#commit(this.painter.where(() => true, this.current));
  }

  async download(indexed) {
    const picture = await (indexed ? indexedPng : colourPng)(this.painter.map(), this.table);
    this.shell.download(picture, `${this.name}${indexed ? "" : "-colours"}.png`);
  }

  #open(file) {
    return openMap(this.shell, this.table, file, {
      show: (map) => this.shell.replace(map),
      recolour: (from, to) => this.#commit(this.painter.replace(from, to)),
    });
  }

  // ---- overlay

  paint(context, view) {
    const { tool } = this.shell;
    if (this.labels) this.#paintLabels(context, view);
    const { mirror, size, solid, round } = this;
    if (mirror) paintAxis(context, view);
    this.shapes.paint(context, view, this.cursor, { colour: this.table.css(this.current), size, solid, mirror });
    if (!this.cursor) return;
    const picks = tool === "pick" || this.cursor.alt;
    if (picks && this.hovered >= 0) paintTag(context, view, this.table.name(this.hovered), this.cursor);
    if (tool === "brush") paintBrush(context, view, this.cursor, { size, round, mirror });
  }

  #paintLabels(context, view) {
    // In the middle of a stroke the names stay where they are.
    if (!this.places && !(this.painter.busy && this.shown)) this.places = this.shown = placeLabels(this.painter);
    paintLabels(context, view, this.shown, (index) => this.table.name(index));
  }
}
