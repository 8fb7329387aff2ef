/** Tools, options, keys and actions of the painter. What they do stands in seg.js and painter.js. */

import { contextOf } from "../../shared/context.js";
import { element, iconButton, slider } from "../../shared/controls.js";
import { addSteadiness } from "../../canvas/hand.js";
import { addPolygonKeys, AREAS, SHAPE_TOOLS } from "../../canvas/shapes.js";
import { coloursOf } from "./files.js";
import { drawLayout, LAYOUTS } from "./layouts.js";

export const SIZE_MAX_PX = 256;

const TOOLS = [
  { id: "brush", label: "Brush", icon: "brush", keys: ["B"], cursor: "none", hint: "Paint. Shift: straight on. Alt: pick a class." },
  { id: "fill", label: "Fill", icon: "fill", keys: ["G"], hint: "Fill a region. Shift: the class everywhere." },
  { id: "regions", label: "Regions of the picture", icon: "regions", keys: ["W"], hint: "Click regions of the picture, or drag." },
  { id: "replace", label: "Replace a class everywhere", icon: "replace", keys: ["R"], hint: "All of a class becomes the one in hand." },
  { id: "pick", label: "Pick a class", icon: "eyedropper", keys: ["I"], hint: "Take the class under the pointer." },
  null,
  ...SHAPE_TOOLS,
];

/** Puts everything that can be pressed into the editor's shell. */
export function addControls(editor) {
  const { shell } = editor;
  shell.addTools(TOOLS);
  const tool = (...names) => () => names.includes(shell.tool);
  const wide = () => ["brush", "line"].includes(shell.tool) || (AREAS.includes(shell.tool) && !editor.solid);
  editor.sizeSlider = shell.addOption(slider({ id: "size-px", label: "Width", min: 1, max: SIZE_MAX_PX, value: editor.size,
    format: (value) => `${value} px`, onInput: (value) => editor.setSize(value) }), wide);
  addToggle(editor, { id: "square", label: "Square brush", icon: "stop", keys: ["Q"], setting: "round", pressed: () => !editor.round,
    when: tool("brush") });
  addToggle(editor, { id: "solid", label: "Fill shapes", icon: "solid", keys: ["F"], setting: "solid", when: tool(...AREAS) });
  addToggle(editor, { id: "mirror", label: "Mirror drawing", icon: "mirror", keys: ["M"], setting: "mirror",
    when: tool("brush", "fill", "line", ...AREAS) });
  addPaintKeys(editor);
  addClassKeys(editor);
  addActions(editor);
}

function addToggle(editor, { id, label, icon, keys, setting, pressed = () => editor[setting], when }) {
  const { shell } = editor;
  const run = () => editor.toggle(setting);
  const button = shell.addOption(iconButton({ id, label, icon, keys, run }), when);
  shell.onRefresh(() => button.setAttribute("aria-pressed", String(pressed())));
  shell.shortcuts.add({ keys, label, group: "Paint", run });
}

function addPaintKeys(editor) {
  const add = (keys, label, run) => editor.shell.shortcuts.add({ keys, label, group: "Paint", run });
  add(["["], "Thinner", () => editor.setSize(editor.size / step(editor.size)));
  add(["]"], "Thicker", () => editor.setSize(editor.size * step(editor.size)));
  add(["Shift"], "Hold: straight line, square, circle");
  addPolygonKeys(editor.shell, editor.shapes, "Paint");
}

function addClassKeys(editor) {
  const { shell, table, palette } = editor;
  const add = (keys, label, run) => shell.shortcuts.add({ keys, label, group: "Classes", run });
  add(["X"], "Swap the last two classes", () => editor.hold(editor.previous, editor.current));
  add(["D"], "Grass and sky in hand", () => editor.hold(table.named("grass"), table.named("sky")));
  add(["/"], "Find a class", () => {
    editor.showPanel(true);
    palette.focusSearch();
  });
  add(["Alt"], "Hold, or right button: pick the class");
  add(["Shift"], "Hold while filling: replace everywhere");
  add(["S"], "Favourite", () => palette.toggleFavourite());
  add(["1–9"], "Take a favourite");
  for (let digit = 1; digit <= 9; digit++) {
    shell.shortcuts.add({ keys: [String(digit)], run: () => editor.choose(palette.favourites[digit - 1]) });
  }
}

function addActions(editor) {
  const { shell } = editor;
  shell.addAction({ id: "labels", label: "Names on the map", icon: "label", keys: ["T"], place: "top", spare: true, group: "View",
    pressed: () => editor.labels, run: () => editor.toggle("labels") });
  shell.addAction({ id: "panel", label: "Classes", icon: "layers", keys: ["P"], place: "top", group: "View",
    pressed: () => !shell.panel.hidden,
    run: () => editor.showPanel(shell.panel.hidden) });
  addLayouts(editor);
  shell.addAction({ id: "fill-all", label: "Fill the whole map", icon: "fill", keys: ["Ctrl+Del"], place: "menu",
    run: () => editor.fillAll() });
  shell.addAction({ id: "download", label: "Download as indexed PNG", icon: "download", keys: ["Ctrl+S"], place: "menu", group: "Files",
    run: () => editor.download(true) });
  shell.addAction({ id: "download-colours", label: "Download as colour PNG", icon: "download", keys: ["Ctrl+Shift+S"], place: "menu",
    group: "Files", run: () => editor.download(false) });
  shell.addAction({ id: "pressure", label: "Pen pressure sets the width", icon: "brush", place: "menu", run: () => {
    editor.toggle("pressure");
    shell.toast(editor.pressure ? "Pen pressure sets the width" : "The pen paints at full width");
  } });
  addSteadiness(shell, "Paint");
}

/** Maps to start from, as pictures in a popover. */
function addLayouts({ shell, table, painter }) {
  const button = iconButton({ id: "layouts", label: "Start from a layout", icon: "grid", run: () => {
    const choices = LAYOUTS.map((layout) => element("button", { type: "button", "data-id": `layout-${layout.id}`, onclick: () => {
      close();
      shell.replace(drawLayout(layout, table, painter.width, painter.height));
    } }, thumbnail(drawLayout(layout, table, 104, 78), table), layout.title));
    const close = shell.popover(button, element("div", {}, element("h3", {}, "Start from"),
      element("div", { class: "layouts" }, ...choices)));
  } });
  button.setAttribute("aria-haspopup", "dialog");
  shell.addControl(button);
}

function thumbnail(map, table) {
  const canvas = element("canvas", { width: map.width, height: map.height });
  contextOf(canvas).putImageData(new ImageData(new Uint8ClampedArray(coloursOf(map, table, 4)), map.width, map.height), 0, 0);
  return canvas;
}

function step(size) {
  return size < 8 ? 1 + 1.01 / size : 1.2;
}
