/**
 * The colour editor: ink lines on white paper, coloured in with crayons. Its document is what one sees.
 *
 * Options: crayons ([{name, rgb}], the colours of the box), name, sizes, underlay.
 */

import { element, iconButton, slider } from "../../shared/controls.js";
import { remember, remembered } from "../../shared/memory.js";
import { blank } from "../../canvas/document.js";
import { readPicture } from "../../canvas/files.js";
import { addSteadiness, steadiness } from "../../canvas/hand.js";
import { paintAxis, paintBrush } from "../../canvas/overlay.js";
import { ERASER } from "../../canvas/pointer.js";
import { canvasOf, scaled } from "../../canvas/scaled.js";
import { addPolygonKeys, AREAS, SHAPE_TOOLS, Shapes } from "../../canvas/shapes.js";
import { encodePng } from "../seg/png.js";
import { canvasFor } from "../seg/scale.js";
import { rgbOf } from "../view/adjust.js";
import { Box } from "./box.js";
import { css, isColour } from "./colours.js";
import { INK, PAPER, Sheet } from "./sheet.js";
import { COLOUR_STYLE } from "./style.js";

const TOOLS = [
  { id: "pen", label: "Ink pen", icon: "pen", keys: ["B"], cursor: "none", hint: "Draw lines. Shift: straight on from the last point." },
  { id: "crayon", label: "Crayon", icon: "crayon", keys: ["C"], cursor: "none", hint: "Colour in, under the lines. Alt: take the colour under the pointer." },
  { id: "fill", label: "Fill", icon: "fill", keys: ["G"], hint: "Colour in up to the lines. Shift: over other colours, too." },
  { id: "eraser", label: "Eraser", icon: "eraser", keys: ["E"], cursor: "none", hint: "Rub out lines and colours." },
  { id: "pick", label: "Take a colour", icon: "eyedropper", keys: ["I"], hint: "Take the colour under the pointer." },
  null,
  ...SHAPE_TOOLS,
];
const STROKES = ["pen", "crayon", "eraser"];
const SIZES_PX = { pen: 4, crayon: 32, eraser: 32 };
const LIMITS_PX = { pen: [2, 48], crayon: [4, 200], eraser: [2, 200] };

export function createEditor(shell, options) {
  return new ColourEditor(shell, options);
}

class ColourEditor {
  /** In hand. @type {Colour} */
  colour = PAPER;
  /** The one that X brings back. @type {Colour} */
  previous = PAPER;
  /** @type {Box} */
  box;
  kind = "rgb";
  covers = false; // white paper lets through what lies under it
  imports = { accept: "image/png,image/jpeg,image/webp", label: "Open as drawing", run: (file) => this.#open(file) };

  constructor(shell, options) {
    this.shell = shell;
    this.name = options.name ?? "colour";
    this.sizes = { ...SIZES_PX };
    this.pressure = true;
    this.mirror = false;
    this.solid = true;
    this.within = remembered("colour.within") !== false;
    this.sheet = new Sheet((rect) => this.layer.mark(rect));
    this.shapes = new Shapes(shell, (tool, points) => this.#commit(this.sheet.shape(tool, points, {
      size: this.sizes.pen, colour: this.solid ? this.colour : null, mirror: this.mirror })));
    this.pointer = {
      down: (point) => this.#down(point), move: (points, last) => this.#move(points, last), up: (point) => this.#up(point),
      cancel: () => this.#cancel(), hover: (point) => this.#hover(point), leave: () => this.#hover(null),
    };
    this.layer = shell.stage.addRaster(null);
    shell.root.classList.add("colour");
    shell.root.append(element("style", {}, COLOUR_STYLE));
    this.#addBox(options.crayons ?? []);
    this.#addControls();
    this.load(blank("rgb", 512, 512, 255));
    shell.setTool("pen");
  }

  load(drawing) {
    this.sheet.load(drawing);
    this.shapes.clear();
    this.lastEnd = null;
    this.layer.show(this.sheet);
  }

  document() {
    return this.sheet.document();
  }

  apply(patch) {
    this.sheet.apply(patch);
  }

  resized(width, height) {
    this.layer.flush();
    return { kind: "rgb", width, height, pixels: rgbOf(scaled(this.layer.canvas, width, height, "contain", "#fff")) };
  }

  toolChanged() {
    this.shapes.clear();
    this.#showSize();
  }

  escape() {
    return this.shapes.escape();
  }

  // ---- colours

  /** Take a crayon; with the pen or the eraser in hand, it takes their place. */
  choose(colour) {
    if (css(colour) !== css(this.colour)) this.#hold(colour, this.colour);
    if (["pen", "eraser", "pick", "line"].includes(this.shell.tool)) this.shell.setTool("crayon");
  }

  #hold(colour, previous) {
    [this.colour, this.previous] = [colour, previous];
    this.box.show(colour, previous);
    remember("colour.hands", [colour, previous]);
    this.shell.repaint();
  }

  #pick(point) {
    this.picking = true;
    const colour = this.sheet.crayonAt(point);
    if (colour && css(colour) !== css(this.colour)) this.#hold(colour, this.colour);
  }

  // ---- pointer

  #down(point) {
    const { tool } = this.shell;
    const erasing = tool === "eraser" || point.button === ERASER;
    const colours = ["crayon", "fill"].includes(tool) && (point.alt || point.button === 2);
    if (colours || (tool === "pick" && !erasing)) return this.#pick(point);
    if (point.button === 2) return undefined;
    if (!erasing && tool === "fill") return this.#fill(point);
    if (!erasing && this.shapes.down(point)) return undefined;
    if (!erasing && !STROKES.includes(tool)) return undefined;
    const laid = erasing ? "eraser" : tool;
    const from = point.shift && this.lastEnd;
    this.sheet.beginStroke(from || point, { tool: laid, colour: laid === "pen" ? INK : this.colour, size: this.sizes[laid],
      mirror: this.mirror, pressure: this.pressure && laid !== "crayon", damping: steadiness(), within: this.within && laid === "crayon" });
    if (from) this.sheet.drawStraightOn(from, point);
    else this.sheet.drawStroke([point]);
    return this.#hover(point);
  }

  #move(points, last) {
    if (this.sheet.stroke) this.sheet.drawStroke(points);
    else if (this.picking) this.#pick(last);
    else this.shapes.move(points, last);
    this.#hover(last);
  }

  #up(point) {
    if (this.picking) {
      this.picking = false;
      if (this.shell.tool === "pick") this.shell.setTool("crayon");
      return undefined;
    }
    if (!this.sheet.stroke) return this.shapes.up(point);
    this.lastEnd = { x: point.x, y: point.y };
    return this.#commit(this.sheet.endStroke());
  }

  #cancel() {
    this.shapes.cancel();
    this.picking = false;
    this.sheet.cancelStroke();
    this.shell.repaint();
  }

  #hover(point) {
    this.cursor = point;
    this.shell.repaint();
  }

  #fill(point) {
    this.#commit(this.sheet.fill(point, { colour: this.colour, mirror: this.mirror, everything: point.shift }));
  }

  /** The history gets what was drawn; nothing when nothing changed. */
  #commit(patch) {
    if (!patch) return;
    if (this.shell.tool !== "pen" && this.shell.tool !== "eraser") this.box.used(this.colour);
    this.shell.commit(patch);
    this.shell.repaint();
  }

  // ---- controls

  #addBox(crayons) {
    this.box = new Box(this.shell, crayons, {
      choose: (colour) => this.choose(colour), swap: () => this.#hold(this.previous, this.colour),
    });
    const [colour, previous] = (remembered("colour.hands") ?? []).map((one) => (isColour(one) ? one : null));
    this.#hold(colour ?? crayons[0]?.rgb ?? [206, 66, 58], previous ?? crayons[1]?.rgb ?? PAPER);
  }

  #addControls() {
    const { shell } = this;
    shell.addTools(TOOLS);
    this.sizeSlider = shell.addOption(slider({ id: "size-px", label: "Width", min: 1, max: 100, value: 50,
      format: () => `${this.sizes[this.sized]} px`, onInput: (value) => this.#setSize(sizeAt(value, LIMITS_PX[this.sized])) }),
      () => !["fill", "pick", "hand"].includes(shell.tool));
    this.#addToggle("within", "Stay within the lines", "within", ["W"], () => shell.tool === "crayon");
    this.#addToggle("solid", "Colour shapes in", "solid", ["F"], () => AREAS.includes(shell.tool));
    this.#addToggle("mirror", "Mirror drawing", "mirror", ["M"], () => !["hand", "pick"].includes(shell.tool));
    const add = (keys, label, run, group = "Draw") => shell.shortcuts.add({ keys, label, group, run });
    add(["["], "Thinner", () => this.#setSize(this.sizes[this.sized] / 1.2 - 0.5));
    add(["]"], "Thicker", () => this.#setSize(this.sizes[this.sized] * 1.2 + 0.5));
    add(["Shift"], "Hold: straight line, square, circle");
    addPolygonKeys(shell, this.shapes, "Draw");
    this.#addColourKeys(add);
    shell.addAction({ id: "clear-colours", label: "Take all colours off", icon: "invert", place: "menu",
      run: () => this.#commit(this.sheet.clear(false)) });
    shell.addAction({ id: "clear", label: "Clear the canvas", icon: "trash", keys: ["Ctrl+Del"], place: "top", spare: true,
      run: () => this.#commit(this.sheet.clear()) });
    shell.addAction({ id: "download", label: "Download as PNG", icon: "download", keys: ["Ctrl+S"], place: "menu", group: "Files",
      run: () => this.#download() });
    shell.addAction({ id: "pressure", label: "Pen pressure sets the width", icon: "pen", place: "menu", pressed: () => this.pressure,
      run: () => (this.pressure = !this.pressure) });
    addSteadiness(shell, "Draw");
  }

  #addToggle(field, label, icon, keys, when) {
    const { shell } = this;
    const run = () => {
      this[field] = !this[field];
      if (field === "within") remember("colour.within", this.within);
      shell.refresh();
      shell.repaint();
    };
    const button = shell.addOption(iconButton({ id: field, label, icon, keys, run }), when);
    shell.onRefresh(() => button.setAttribute("aria-pressed", String(this[field])));
    shell.shortcuts.add({ keys, label, group: "Draw", run });
  }

  #addColourKeys(add) {
    add(["X"], "Swap the last two colours", () => this.#hold(this.previous, this.colour), "Colours");
    add(["Alt"], "Hold, or right button: take the colour", undefined, "Colours");
    add(["Shift"], "Hold while filling: over other colours", undefined, "Colours");
    add(["1–9"], "Take a crayon of the box", undefined, "Colours");
    for (let digit = 0; digit <= 9; digit++) {
      this.shell.shortcuts.add({ keys: [String(digit)], run: () => {
        const crayon = digit ? this.box.crayons[digit - 1]?.rgb : PAPER;
        if (crayon) this.choose(crayon);
      } });
    }
    add(["0"], "No colour: white paper", undefined, "Colours");
  }

  /** Whose width the slider sets. */
  get sized() {
    return STROKES.includes(this.shell.tool) ? this.shell.tool : "pen";
  }

  #setSize(value) {
    const [least, most] = LIMITS_PX[this.sized];
    this.sizes[this.sized] = Math.min(most, Math.max(least, Math.round(value)));
    this.#showSize();
    this.shell.repaint();
  }

  #showSize() {
    this.sizeSlider?.show(placeOf(this.sizes[this.sized], LIMITS_PX[this.sized]));
  }

  // ---- overlay

  paint(context, view) {
    const { tool } = this.shell;
    const { mirror, solid, sizes, cursor } = this;
    if (mirror) paintAxis(context, view);
    const filled = solid && AREAS.includes(tool);
    this.shapes.paint(context, view, cursor, { colour: css(filled ? this.colour : INK), size: sizes.pen, solid: filled, mirror });
    if (cursor && STROKES.includes(tool)) {
      paintBrush(context, view, cursor, { size: sizes[tool], mirror, colour: tool === "crayon" ? css(this.colour) : undefined });
    }
  }

  // ---- files

  async #open(file) {
    const picture = await readPicture(file);
    const [width, height] = this.shell.options.sizes?.fixed ? [this.sheet.width, this.sheet.height]
      : canvasFor(picture, this.shell.options.sizes);
    const how = this.shell.options.sizes?.fixed ? "contain" : "stretch";
    this.shell.replace({ kind: "rgb", width, height, pixels: rgbOf(scaled(canvasOf(picture), width, height, how, "#fff")) });
    this.shell.toast("Opened. Of a drawing on paper that is not white, “From a photo” makes a clean one.");
  }

  async #download() {
    const { width, height, pixels } = this.sheet;
    this.shell.download(new Blob([await encodePng({ width, height, pixels })], { type: "image/png" }), `${this.name}.png`);
  }
}

/** Widths on the slider: equal steps are equal factors. */
function sizeAt(place, [least, most]) {
  return least * (most / least) ** ((place - 1) / 99);
}

function placeOf(size, [least, most]) {
  return 1 + (99 * Math.log(size / least)) / Math.log(most / least);
}
