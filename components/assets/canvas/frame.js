/** The frame around every editor: its elements, the buttons that all have, the menu, the sheet of keys, and where keys go. */

import * as controls from "../shared/controls.js";
import { files } from "./files.js";
import { sizeControl } from "./size.js";
import { STYLE } from "../shared/style.js";
import { followTheme } from "../shared/theme.js";
import { underlayControl } from "./underlay.js";

const { element, describe } = controls;
const NARROW_PX = 680;
/** @type {Record<EditorKind, string>} */
const NAMES = { scribble: "Scribble editor", colour: "Colour editor", pose: "Pose editor", seg: "Segmentation editor", view: "Map viewer",
  inpaint: "Inpaint editor" };

export class Frame {
  /** @type {HTMLDivElement} */
  root;
  /** @type {HTMLSpanElement} */
  saveWord;
  /** @type {HTMLDivElement} */
  actionBar;
  /** @type {HTMLDivElement} */
  statusBar;
  /** @type {HTMLSpanElement} */
  hint;
  /** @type {HTMLDivElement} */
  optionStrip;
  /** @type {HTMLDivElement} */
  rail;
  /** @type {HTMLDivElement} */
  toasts;

  /** Puts the frame into `host`. */
  constructor(shell, host) {
    this.shell = shell;
    this.#build(host);
    this.#addKeys();
    this.#bindKeys();
    this.stopTheme = followTheme(this.root);
    this.observer = new ResizeObserver(() => this.root.classList.toggle("narrow", this.root.clientWidth < NARROW_PX));
    this.observer.observe(this.root);
  }

  /** After the editor has put its controls: those that every editor has. */
  finish(editor) {
    const { shell } = this;
    shell.addTools([null, { id: "hand", label: "Move the view", icon: "hand", keys: ["H"], cursor: "grab", hint: "Drag to move the view." }], "View");
    if (!editor.readOnly) this.#addEditing();
    shell.addAction({ id: "help", label: "Keyboard shortcuts", icon: "help", keys: ["?"], place: "top", spare: !editor.readOnly,
      group: "General", run: () => this.#toggleSheet() });
    if (!editor.readOnly) this.#addMenu();
    this.#fillStatus(editor.readOnly ? null : sizeControl(shell));
    this.saveWord.hidden = !!editor.readOnly;
  }

  tellSaved(state, word) {
    this.saveWord.dataset.state = state;
    this.saveWord.setAttribute("aria-live", ["saved", "saving"].includes(state) ? "off" : "polite"); // strokes are not read out
    this.saveWord.textContent = word;
  }

  destroy() {
    this.observer.disconnect();
    this.stopTheme();
    this.root.remove();
  }

  #build(host) {
    const { shell } = this;
    const { kind, height } = shell.props;
    this.optionStrip = element("div", { class: "options" });
    this.actionBar = element("div", { class: "actions" });
    this.rail = element("div", { class: "rail", role: "toolbar", "aria-label": "Tools", "aria-orientation": "vertical" });
    this.panel = element("div", { class: "panel" });
    this.toasts = element("div", { class: "toasts" });
    this.hint = element("span", { class: "hint", "aria-live": "polite" });
    this.saveWord = element("span", { class: "save", "data-state": "saved" }, "saved");
    this.statusBar = element("div", { class: "status" });
    this.root = element("div", { class: "studio", tabindex: "0", role: "application", "aria-label": NAMES[kind] ?? "Editor",
      style: `height:${height}` },
      element("div", { class: "top", role: "toolbar", "aria-label": "Options" }, this.optionStrip, this.actionBar),
      this.rail, shell.stage.element, this.panel, this.statusBar, this.toasts);
    this.root.studio = shell; // for looking inside from the console and from tests
    host.append(element("style", {}, STYLE), this.root);
    controls.tooltips(this.root);
  }

  #addEditing() {
    const { shell } = this;
    const { history } = shell;
    shell.addSeparator();
    shell.addAction({ id: "undo", label: "Undo", icon: "undo", keys: ["Ctrl+Z"], place: "top", enabled: () => history.canUndo,
      run: () => shell.undo() });
    shell.addAction({ id: "redo", label: "Redo", icon: "redo", keys: ["Ctrl+Shift+Z", "Ctrl+Y"], place: "top",
      enabled: () => history.canRedo, run: () => shell.redo() });
    shell.addSeparator();
    underlayControl(shell);
    files(shell);
  }

  #addMenu() {
    const { shell } = this;
    const button = controls.iconButton({ id: "more", label: "More", icon: "more", run: () => {
      const narrow = this.root.classList.contains("narrow");
      const items = shell.menuActions(narrow);
      const line = (action) => controls.menuItem({ ...action, run: () => {
        close();
        action.run();
      } });
      const files = items.filter(({ group }) => group === "Files").sort((a, b) => Number(b.id === "import") - Number(a.id === "import"));
      const others = items.filter(({ group }) => group !== "Files");
      const rule = files.length && others.length ? [element("div", { class: "rule" })] : [];
      const close = shell.popover(button, element("div", {}, ...others.map(line), ...rule, ...files.map(line)));
    } });
    button.setAttribute("aria-haspopup", "dialog");
    this.menuButton = button;
    this.actionBar.append(button);
  }

  #fillStatus(size) {
    const { shell } = this;
    const { view } = shell;
    const zoom = controls.textButton("100%", () => (view.fitted ? view.actual() : view.fit()), { id: "zoom", name: "Zoom" });
    describe(zoom, "Fit, or 100 %", ["Ctrl+0"]);
    shell.stage.onView = () => (zoom.textContent = `${Math.round(view.zoom * 100)}%`);
    const step = (id, label, keys, factor) => {
      const run = () => view.zoomBy(factor);
      shell.shortcuts.add({ keys, label, group: "View", run });
      return controls.iconButton({ id, label, icon: id, keys, run });
    };
    this.statusBar.append(...(size ? [size] : []), this.hint, this.saveWord, element("div", { class: "separator" }),
      element("span", { class: "zoom" }, step("zoomOut", "Zoom out", ["Ctrl+-"], 1 / 1.25), zoom,
        step("zoomIn", "Zoom in", ["Ctrl+="], 1.25)));
  }

  #toggleSheet() {
    if (this.closeSheet) return this.closeSheet();
    const { shell } = this;
    this.closeSheet = controls.shortcutSheet(this.root, shell.shortcuts.table(), () => {
      this.closeSheet = null;
      this.root.focus({ preventScroll: true });
    });
    return undefined;
  }

  #addKeys() {
    const { shell } = this;
    const { shortcuts, view, pointer } = shell;
    shortcuts.add({ keys: ["Ctrl+Enter"], label: "Generate", group: "General", run: () => shell.generate() });
    shortcuts.add({ keys: ["Ctrl+0"], label: "Fit", group: "View", run: () => view.fit() });
    shortcuts.add({ keys: ["Ctrl+1"], label: "100 %", group: "View", run: () => view.actual() });
    shortcuts.add({ keys: ["Space"], label: "Hold and drag: move the view", group: "View", run: () => (pointer.hand = true) });
    shortcuts.add({ keys: ["Esc"], label: "Give up what is being drawn", group: "General", run: () => {
      if (this.closeSheet) this.closeSheet();
      else if (!pointer.abort()) shell.editor.escape?.();
    } });
  }

  #bindKeys() {
    const { shell } = this;
    const { root } = this;
    const { pointer, shortcuts } = shell;
    const release = () => (pointer.hand = shell.tool === "hand");
    root.addEventListener("keydown", (event) => {
      // Streamlit binds single letters and Esc on the page: nothing typed here may reach it.
      event.stopPropagation();
      if (isTyping(event)) return;
      const onButton = event.target instanceof Element && event.target.closest("button");
      if (onButton && [" ", "Enter"].includes(event.key) && !event.ctrlKey && !event.metaKey) return;
      if (this.closeSheet && !["Escape", "?"].includes(event.key)) return;
      if (shortcuts.handle(event)) event.preventDefault();
    });
    root.addEventListener("keyup", (event) => {
      event.stopPropagation();
      if (event.key === " ") release();
    });
    root.addEventListener("blur", release);
    // A press on canvas or button gives the keys to the canvas; fields and dialogs keep them.
    const keepsFocus = (event) => event.target.closest?.("input, select, textarea, a, .popover, .sheet");
    root.addEventListener("pointerdown", (event) => keepsFocus(event) || root.focus({ preventScroll: true }));
    root.addEventListener("mousedown", (event) => keepsFocus(event) || event.preventDefault());
  }
}

function isTyping(event) {
  const target = event.target;
  if (!target.matches) return false;
  if (target.matches("input[type=range]")) return /^(Arrow|Home|End|Page)/.test(event.key);
  return target.matches("input, select, textarea");
}
