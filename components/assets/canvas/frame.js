/** The frame around every editor: its elements, the buttons that all have, the menu, the sheet of keys, and where keys go. */

import * as controls from "../shared/controls.js";
import { files } from "./files.js";
import { sizeControl } from "./size.js";
import { STYLE } from "../shared/style.js";
import { followTheme } from "../shared/theme.js";
import { underlayControl } from "./underlay.js";

const { element, describe } = controls;
const NARROW_PX = 680;
const NAMES = { scribble: "Scribble editor", pose: "Pose editor", seg: "Segmentation editor", view: "Map viewer" };

export class Frame {
  /** Puts the frame into `host` and its parts (root, stage, rail, panel …) on the shell. */
  constructor(shell, host) {
    this.shell = shell;
    this.#build(host);
    this.#addKeys();
    this.#bindKeys();
    this.stopTheme = followTheme(shell.root);
    this.observer = new ResizeObserver(() => shell.root.classList.toggle("narrow", shell.root.clientWidth < NARROW_PX));
    this.observer.observe(shell.root);
  }

  /** After the editor has put its controls: those that every editor has. */
  finish(editor) {
    const { shell } = this;
    shell.addTools([null, { id: "hand", label: "Move the view", icon: "hand", keys: ["H"], cursor: "grab", hint: "Drag to move the view." }], "View");
    if (!editor.readOnly) this.#addEditing();
    shell.addAction({ id: "help", label: "Keyboard shortcuts", icon: "help", keys: ["?"], place: "top", spare: !editor.readOnly, group: "General", run: () => this.#toggleSheet() });
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
    this.shell.root.remove();
  }

  #build(host) {
    const { shell } = this;
    const { kind, height_px: height } = shell.props;
    shell.optionStrip = element("div", { class: "options" });
    shell.actionBar = element("div", { class: "actions" });
    shell.rail = element("div", { class: "rail", role: "toolbar", "aria-label": "Tools", "aria-orientation": "vertical" });
    shell.panelElement = element("div", { class: "panel" });
    shell.toasts = element("div", { class: "toasts" });
    shell.hint = element("span", { class: "hint", "aria-live": "polite" });
    this.saveWord = element("span", { class: "save", "data-state": "saved" }, "saved");
    this.statusBar = element("div", { class: "status" });
    shell.root = element("div", { class: "studio", tabindex: "0", role: "application", "aria-label": NAMES[kind] ?? "Editor", style: `height:${height}px` },
      element("div", { class: "top", role: "toolbar", "aria-label": "Options" }, shell.optionStrip, shell.actionBar),
      shell.rail, shell.stage.element, shell.panelElement, this.statusBar, shell.toasts);
    shell.root.studio = shell; // for looking inside from the console and from tests
    host.append(element("style", {}, STYLE), shell.root);
    controls.tooltips(shell.root);
  }

  #addEditing() {
    const { shell } = this;
    const { history } = shell;
    shell.addSeparator();
    shell.addAction({ id: "undo", label: "Undo", icon: "undo", keys: ["Ctrl+Z"], place: "top", enabled: () => history.canUndo, run: () => shell.undo() });
    shell.addAction({ id: "redo", label: "Redo", icon: "redo", keys: ["Ctrl+Shift+Z", "Ctrl+Y"], place: "top", enabled: () => history.canRedo, run: () => shell.redo() });
    shell.addSeparator();
    underlayControl(shell);
    files(shell);
  }

  #addMenu() {
    const { shell } = this;
    const button = controls.iconButton({ id: "more", label: "More", icon: "more", run: () => {
      const narrow = shell.root.classList.contains("narrow");
      const items = shell.menu.filter(({ spare }) => narrow || !spare);
      const line = (action) => controls.menuItem({ ...action, run: () => {
        close();
        action.run();
      } });
      const files = items.filter(({ group }) => group === "Files").sort((a, b) => (b.id === "import") - (a.id === "import"));
      const others = items.filter(({ group }) => group !== "Files");
      const rule = files.length && others.length ? [element("div", { class: "rule" })] : [];
      const close = shell.popover(button, element("div", {}, ...others.map(line), ...rule, ...files.map(line)));
    } });
    button.setAttribute("aria-haspopup", "dialog");
    shell.actionBar.append(button);
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
    this.statusBar.append(...(size ? [size] : []), shell.hint, this.saveWord, element("div", { class: "separator" }),
      element("span", { class: "zoom" }, step("zoomOut", "Zoom out", ["Ctrl+-"], 1 / 1.25), zoom, step("zoomIn", "Zoom in", ["Ctrl+="], 1.25)));
  }

  #toggleSheet() {
    if (this.closeSheet) return this.closeSheet();
    const { shell } = this;
    this.closeSheet = controls.shortcutSheet(shell.root, shell.shortcuts.table(), () => {
      this.closeSheet = null;
      shell.root.focus({ preventScroll: true });
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
    const { root, pointer, shortcuts } = shell;
    const release = () => (pointer.hand = shell.tool === "hand");
    root.addEventListener("keydown", (event) => {
      // Streamlit binds single letters and Esc on the page: nothing typed here may reach it.
      event.stopPropagation();
      if (isTyping(event)) return;
      if (event.target.closest?.("button") && [" ", "Enter"].includes(event.key) && !event.ctrlKey && !event.metaKey) return;
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
