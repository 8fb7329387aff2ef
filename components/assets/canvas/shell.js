/**
 * What all editors share: tools, options, stage, history, documents. How it is built and driven by keys stands in frame.js, how a
 * drawing is saved in saving.js.
 *
 * An editor is a module with `createEditor(shell, options)`; what it gets and gives is written in `Editor` below. The
 * shell knows nothing of strokes, joints or classes.
 *
 * @typedef {object} Editor
 * @property {string} kind              the kind of document that it edits
 * @property {(document) => void} load  show this document instead of the present one (no history, no saving)
 * @property {() => object} document    a copy of the present document, which later drawing leaves alone
 * @property {(patch, direction: -1|1) => void} apply  undo or redo a patch that was given to shell.commit
 * @property {object} pointer           {hover, leave, down, move, up, cancel}, see pointer.js; each optional
 * @property {(context, view) => void} [paint]   draw on the overlay, in stage pixels
 * @property {(tool: string) => void} [toolChanged]
 * @property {() => void} [underlayChanged]   another picture to trace is there, or none any more
 * @property {() => boolean} [escape]   Esc; true when there was something to give up
 * @property {(width, height) => object} [resized]     the document on a canvas of another size
 * @property {(options) => void} [optionsChanged]      the page gave other options than at the beginning
 * @property {boolean} [covers]         its document hides what lies under it; where it is missing, its kind says so
 * @property {boolean} [readOnly]       shows only: no history, no saving, no files
 * @property {{accept, label, run(file)}} [imports]    files that become a document (by button, drop or paste)
 * @property {() => void} [destroy]
 */

import * as controls from "../shared/controls.js";
import { decode } from "./document.js";
import { Frame } from "./frame.js";
import { History } from "./history.js";
import { Live } from "./live.js";
import { documentPatch, patchedDocument } from "./patch.js";
import { PointerInput } from "./pointer.js";
import { Saving } from "./saving.js";
import { Shortcuts } from "./shortcuts.js";
import { Stage } from "./stage.js";
import { Store } from "./store.js";
import { fitInto } from "./transform.js";

const { element } = controls;

export class Shell {
  /** There once the first document is. @type {Live} */
  live;
  /** @type {Saving} */
  saving;
  /** @type {import("./sync.js").Sync} */
  sync;

  #refreshers = [];
  #endings = [];
  #menu = [];

  /** props: {kind, rev, upload_url, slot, height, options}; tell(event, value) reaches Python. */
  constructor(host, props, tell) {
    this.props = props;
    this.options = props.options ?? {};
    this.tell = tell;
    this.store = new Store();
    this.shortcuts = new Shortcuts();
    this.history = new History((patch, direction) => this.#apply(patch, direction));
    this.stage = new Stage();
    this.view = this.stage.view;
    this.paper = this.stage.paper;
    this.pointer = new PointerInput(this.view, {});
    this.gone = false;
    this.tool = null;
    this.tools = new Map();
    this.frame = new Frame(this, host);
  }

  /** Take the editor and its first document; resolves when it is ready for drawing. */
  async open(editor, bytes) {
    this.editor = editor;
    this.pointer.actions = editor.pointer;
    this.pointer.onMode = (mode) => this.stage.element.classList.toggle("grabbing", mode === "pan" || mode === "pinch");
    this.pointer.attach(this.stage.element);
    if (editor.paint) this.stage.painters.push((context, view) => editor.paint(context, view));
    this.live = new Live(this);
    this.frame.finish(editor);
    if (!this.tool) this.setTool(this.tools.keys().next().value);
    this.saving = new Saving(this);
    this.sync = this.saving.sync;
    if (editor.readOnly) this.show(await decode(bytes));
    else await this.saving.open(bytes);
    if (!this.gone) this.live.update();
    this.root.dataset.ready = "true";
  }

  /** The element around everything, which has the keys. */
  get root() {
    return this.frame.root;
  }

  /** New props from Python. Only a greater revision replaces the drawing, and undo brings the old one back. */
  async update(props, bytes) {
    this.props = props;
    this.options = props.options ?? {};
    this.root.style.height = props.height;
    if (!this.sync) return;
    this.editor.optionsChanged?.(this.options);
    this.live.update();
    this.sync.moveTo(new URL(props.upload_url, document.baseURI).href);
    // A stroke that is being drawn comes to its end and is saved first: what came must not take its canvas away.
    while (this.sync.pushing || this.pointer.drawing) await (this.sync.pushing ?? this.pointer.rest());
    if (props.rev <= this.sync.rev) return;
    if (this.sync.dirty) return this.saving.ask({ rev: props.rev });
    if (this.editor.readOnly) {
      this.sync.rev = props.rev;
      return this.show(await decode(bytes));
    }
    return this.saving.adopt(props.rev, bytes);
  }

  /** Remember a change that the editor has just made (null: nothing to undo) and save. */
  commit(patch) {
    if (patch) this.history.push(patch);
    this.refresh();
    this.sync.changed();
  }

  /** Another document in place of the present one; can be undone; saved. */
  replace(next) {
    if (this.replaceQuietly(next)) this.sync.changed();
  }

  undo() {
    if (this.pointer.drawing || !this.history.undo()) return;
    this.commit(null);
  }

  redo() {
    if (this.pointer.drawing || !this.history.redo()) return;
    this.commit(null);
  }

  /** Everything is with the server first, then Python is told; a picture with a seed of its own is wanted for itself. */
  async generate(seed = null) {
    this.say("Starting…");
    const saved = await Promise.race([this.sync.flush(), new Promise((resolve) => setTimeout(resolve, 4000, false))]);
    this.tellTool();
    if (!saved) this.toast("The drawing is not saved yet. Try again in a moment.");
    else if (seed === null) this.tell("generate", this.sync.rev);
    else this.tell("keep", { seed });
  }

  /** Tools of the rail: {id, label, icon, keys, hint, cursor}; null is a separator. */
  addTools(list, group = "Tools") {
    for (const tool of list) {
      if (!tool) {
        this.addSeparator("rail");
        continue;
      }
      const run = () => this.setTool(tool.id);
      const button = controls.iconButton({ ...tool, run });
      this.tools.set(tool.id, { ...tool, button });
      this.addControl(button, "rail");
      this.shortcuts.add({ keys: tool.keys ?? [], label: tool.label, group, run });
    }
  }

  setTool(id) {
    if (!this.tools.has(id)) return;
    this.pointer.abort();
    this.tool = id;
    for (const [key, { button }] of this.tools) button.setAttribute("aria-pressed", String(key === id));
    this.pointer.hand = id === "hand";
    this.setCursor(this.tools.get(id).cursor ?? "crosshair");
    this.editor?.toolChanged?.(id);
    this.tellTool();
    this.refresh();
    this.repaint();
  }

  /** Say what the tool in hand does. */
  tellTool() {
    this.say(this.tools.get(this.tool)?.hint ?? "");
  }

  /**
   * Something that can be done: {id, label, icon, keys, run, group, place, spare, enabled(), pressed()}. `place` is "top" (icon),
   * "rail" (icon), "menu" (line in the "more" menu) or "keys" (only the key). What is `spare` moves from the top into the menu
   * where the editor is narrow.
   */
  addAction(action) {
    const run = () => (action.enabled?.() ?? true) && action.run();
    if (action.keys?.length) this.shortcuts.add({ keys: action.keys, label: action.label, group: action.group ?? "Edit", run });
    if (action.place === "menu" || action.spare) this.#menu.push({ ...action, run });
    if (action.place !== "top" && action.place !== "rail") return;
    const button = controls.iconButton({ ...action, run });
    button.classList.toggle("spare", !!action.spare);
    this.addControl(button, action.place);
    this.onRefresh(() => {
      button.disabled = !(action.enabled?.() ?? true);
      if (action.pressed) button.setAttribute("aria-pressed", String(!!action.pressed()));
    });
  }

  /** What a choice that is opened from the menu hangs on. */
  get menuButton() {
    return this.frame.menuButton;
  }

  addSeparator(place = "top") {
    this.addControl(element("div", { class: "separator" }), place);
  }

  /** A control of the editor's own among the actions ("top") or under the tools ("rail"). */
  addControl(node, place = "top") {
    (place === "top" ? this.frame.actionBar : this.frame.rail).append(node);
  }

  /** A word of the editor's own in the status line, before the hint; once there it stays. */
  addStatus(node) {
    if (!node.isConnected) this.frame.hint.before(node);
  }

  /** The lines of the "more" menu. */
  menuActions(narrow) {
    return this.#menu.filter(({ spare }) => narrow || !spare);
  }

  /** A control in the options strip, shown while `when()` holds. Make it with controls.js. */
  addOption(node, when = () => true) {
    this.frame.optionStrip.append(node);
    this.onRefresh(() => (node.hidden = !when()));
    return node;
  }

  /** The column beside the stage, for palettes and presets; empty, it takes no room. */
  get panel() {
    return this.frame.panel;
  }

  /** Bring buttons, options and status up to date with what enabled(), pressed() and when() say. */
  refresh() {
    for (const refresher of this.#refreshers) refresher();
  }

  /** Have `run` called with every `refresh()`, to bring a control of the editor's own up to date. */
  onRefresh(run) {
    this.#refreshers.push(run);
  }

  /** Have `run` called once, when the editor goes. */
  onEnd(run) {
    this.#endings.push(run);
  }

  repaint() {
    this.stage.repaint();
  }

  setCursor(cursor) {
    if (cursor !== this.cursor) this.stage.element.style.cursor = cursor;
    this.cursor = cursor;
  }

  /** A sentence in the status line. */
  say(text) {
    const { hint } = this.frame;
    if (text !== hint.textContent) hint.textContent = text; // the same text again would cost a layout
  }

  toast(text, actions = []) {
    return controls.toast(this.frame.toasts, text, actions);
  }

  /** A popover at one of the shell's or the editor's controls; returns close(). */
  popover(anchor, content) {
    return controls.popover(this.root, anchor, content);
  }

  destroy() {
    this.gone = true;
    for (const end of this.#endings) end();
    this.editor?.destroy?.();
    this.stage.destroy();
    this.saving?.close();
    this.frame.destroy();
  }

  // ---- documents

  /** Show another document; no history, no saving. Returns whether it is one for this editor. */
  show(next) {
    if (next.kind !== this.editor.kind) {
      this.toast("This drawing belongs to another editor.");
      return false;
    }
    this.editor.load(next);
    const moved = next.width !== this.view.width || next.height !== this.view.height;
    if (moved) this.view.setDocumentSize(next.width, next.height);
    this.refresh();
    this.repaint();
    return true;
  }

  /** Another document in place of the present one; can be undone; not saved. */
  replaceQuietly(next) {
    this.pointer.abort(); // half a stroke belongs to the document that goes
    const before = this.editor.document();
    if (!this.show(next)) return false;
    this.history.push(documentPatch(before, next));
    this.refresh();
    return true;
  }

  #apply(patch, direction) {
    if (patch.type !== "document") return this.editor.apply(patch, direction);
    return this.show(patchedDocument(patch, direction));
  }

  /** The present document on a canvas of another size, the drawing scaled to lie inside. */
  resized(width, height) {
    if (this.editor.resized) return this.editor.resized(width, height);
    const present = this.editor.document();
    return { ...present, ...fitInto(present, width, height, { smooth: present.kind === "mask" }) };
  }
}
