/**
 * The map viewer: a map of colours (depth, normals) is shown, replaced by another picture, turned round and stretched.
 * Nothing is painted here.
 *
 * Options: name, sizes; adjust, a list of "invert", "levels", "flip_green" (the first two when it is missing); read_only:
 * looking and downloading only, with document_kind and palette (colours by class index) for maps of other kinds.
 */

import { contextOf } from "../../shared/context.js";
import { element, iconButton, slider, textButton } from "../../shared/controls.js";
import { blank } from "../../canvas/document.js";
import { readPicture } from "../../canvas/files.js";
import { applyPixels, diffPixels } from "../../canvas/patch.js";
import { canvasOf, scaled } from "../../canvas/scaled.js";
import { rgba } from "../../canvas/stage.js";
import { autoLevels, greenFlipped, histogram, inverted, levelled, rgbaOf, rgbOf } from "./adjust.js";
import { encodePng } from "../seg/png.js";
import { canvasFor } from "../seg/scale.js";

/** The hand is the only tool: the rail would be an empty strip. A picture to trace lies over the map, to compare them. */
const STYLE = `
.studio.map { grid: "top top" 44px "stage panel" minmax(0, 1fr) "status status" 32px / minmax(0, 1fr) auto; }
.studio.map .rail { display: none; }
.studio.map .paper > img { z-index: 1; }
.studio.map .under { width: 112px; flex: none; font-variant-numeric: tabular-nums; }
`;

export function createEditor(shell, options) {
  return new MapViewer(shell, options);
}

class MapViewer {
  imports = { accept: "image/png,image/jpeg,image/webp", label: "Open as map", run: (file) => this.#open(file) };

  constructor(shell, options) {
    this.shell = shell;
    this.name = options.name ?? "map";
    this.kind = options.document_kind ?? "rgb";
    this.readOnly = !!options.read_only || this.kind !== "rgb";
    this.colours = coloursOf(this.kind, options.palette);
    this.canvas = shell.paper.appendChild(element("canvas"));
    this.pointer = { hover: (point) => this.#tell(point), move: (_, last) => this.#tell(last), leave: () => this.#tell(null) };
    this.under = element("span", { class: "under" });
    shell.root.classList.add("map");
    shell.root.append(element("style", {}, STYLE));
    if (!this.readOnly) this.#addAdjustments(options.adjust ?? ["invert", "levels"]);
    shell.addAction({ id: "download", label: "Download as PNG", icon: "download", keys: ["Ctrl+S"], place: "top", group: "Files",
      run: () => this.#download() });
    this.load(blank(this.kind, 1, 1));
  }

  load(map) {
    this.map = { ...map, pixels: map.pixels.slice() };
    [this.canvas.width, this.canvas.height] = [map.width, map.height];
    this.#show(this.map.pixels);
    this.shell.addStatus(this.under);
  }

  document() {
    return { ...this.map, pixels: this.map.pixels.slice() };
  }

  apply(patch) {
    applyPixels(this.map.pixels, 3 * this.map.width, patch);
    this.#show(this.map.pixels);
  }

  resized(width, height) {
    return { kind: "rgb", width, height, pixels: rgbOf(scaled(this.canvas, width, height, "contain", "#000")) };
  }

  // ---- showing

  #show(pixels) {
    const { width, height } = this.map;
    const shown = this.kind === "rgb" ? pixels : rgbOf(new Uint8Array(Uint32Array.from(pixels, (value) => this.colours[value]).buffer));
    contextOf(this.canvas).putImageData(new ImageData(rgbaOf(shown), width, height), 0, 0);
  }

  /** The value under the pointer. */
  #tell(point) {
    const { width, height, pixels } = this.map;
    const inside = point && point.x >= 0 && point.y >= 0 && point.x < width && point.y < height;
    const at = inside ? Math.floor(point.y) * width + Math.floor(point.x) : -1;
    const values = at < 0 ? [] : this.kind === "rgb" ? pixels.subarray(3 * at, 3 * at + 3) : pixels.subarray(at, at + 1);
    this.under.textContent = new Set(values).size === 1 ? `value ${values[0]}` : [...values].join("  ");
  }

  // ---- adjusting

  #addAdjustments(wanted) {
    const { shell } = this;
    const add = (id, label, name, keys, change) => {
      if (!wanted.includes(id)) return;
      shell.addOption(iconButton({ id, label, icon: name, keys, run: change }));
      shell.shortcuts.add({ keys, label, group: "Adjust", run: change });
    };
    const open = () => shell.chooseFile(this.imports.accept, this.imports.run);
    shell.addOption(textButton("Open a map…", open, { id: "open-map" }));
    add("invert", "Invert", "invert", ["Ctrl+I"], () => this.#change(inverted(this.map.pixels)));
    add("flip_green", "Turn the green channel round", "flip", ["Ctrl+G"], () => this.#change(greenFlipped(this.map.pixels)));
    if (wanted.includes("levels")) this.#addLevels();
  }

  #change(pixels) {
    const { width, height } = this.map;
    const patch = diffPixels(this.map.pixels, pixels, 3 * width, [0, 0, 3 * width, height]);
    this.map.pixels = pixels;
    this.#show(pixels);
    if (patch) this.shell.commit(patch);
  }

  #addLevels() {
    const { shell } = this;
    const button = iconButton({ id: "levels", label: "Levels", icon: "contrast", keys: ["Ctrl+L"], run: () => this.#openLevels(button) });
    button.setAttribute("aria-haspopup", "dialog");
    shell.addOption(button);
    shell.shortcuts.add({ keys: ["Ctrl+L"], label: "Levels", group: "Adjust", run: () => this.#openLevels(button) });
  }

  /** Sliders show what will be; "Apply" keeps it, closing in any other way gives it up. */
  #openLevels(button) {
    const before = this.map.pixels;
    let [black, white] = [0, 255];
    const preview = () => this.map.pixels === before && this.#show(levelled(before, black, white));
    const low = slider({ id: "black", label: "Darkest", min: 0, max: 254, value: black,
      onInput: (value) => set(value, Math.max(value + 1, white)) });
    const high = slider({ id: "white", label: "Brightest", min: 1, max: 255, value: white,
      onInput: (value) => set(Math.min(value - 1, black), value) });
    const set = (...next) => {
      [black, white] = next;
      low.show(black);
      high.show(white);
      preview();
    };
    const buttons = element("div", { style: "display:flex;gap:8px;padding:8px 8px 4px;justify-content:flex-end" },
      textButton("Auto", () => set(...autoLevels(before)), { id: "auto" }),
      textButton("Apply", () => {
        this.#change(levelled(before, black, white));
        close();
      }, { id: "apply", primary: true }));
    const content = element("div", {}, element("h3", {}, "Levels"), bars(histogram(before)), low, high, buttons);
    for (const node of [low, high]) Object.assign(node.style, { display: "grid", gridTemplateColumns: "64px 1fr 34px" });
    const close = this.shell.popover(button, content);
    const gone = new MutationObserver(() => {
      if (content.isConnected) return;
      gone.disconnect();
      this.#show(this.map.pixels);
    });
    gone.observe(this.shell.root, { childList: true });
  }

  // ---- files

  async #open(file) {
    const picture = await readPicture(file);
    const [width, height] = canvasFor(picture, this.shell.options.sizes);
    const same = width === picture.width && height === picture.height;
    const bytes = same ? picture.rgba : scaled(canvasOf(picture), width, height, "stretch", "#000");
    this.shell.replace({ kind: "rgb", width, height, pixels: rgbOf(bytes) });
    this.shell.toast(same ? "Opened." : `Opened. Brought to ${width} × ${height}.`);
  }

  async #download() {
    const { width, height } = this.map;
    const pixels = rgbOf(contextOf(this.canvas).getImageData(0, 0, width, height).data);
    this.shell.download(new Blob([await encodePng({ width, height, pixels })], { type: "image/png" }), `${this.name}.png`);
  }
}

function coloursOf(kind, palette) {
  if (kind === "classes" && palette) return Uint32Array.from({ length: 256 }, (_, i) => rgba(...(palette[i] ?? [0, 0, 0])));
  return Uint32Array.from({ length: 256 }, (_, value) => rgba(255 - value, 255 - value, 255 - value));
}

/** A histogram as a small picture. */
function bars(counts) {
  const most = Math.max(...counts.map(Math.sqrt)) || 1;
  const points = [...counts].map((count, value) => `${value},${(48 - (48 * Math.sqrt(count)) / most).toFixed(1)}`).join(" ");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const style = "display:block;width:240px;height:48px;margin:0 8px 8px";
  const attributes = { viewBox: "0 0 255 48", preserveAspectRatio: "none", "aria-hidden": "true", style };
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value);
  const area = document.createElementNS(svg.namespaceURI, "polygon");
  area.setAttribute("points", `0,48 ${points} 255,48`);
  area.setAttribute("fill", "currentColor");
  area.setAttribute("opacity", "0.35");
  svg.append(area);
  return svg;
}
