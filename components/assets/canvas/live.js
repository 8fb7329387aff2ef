/**
 * The editor's side of Live: what of the drawing changed, and the picture under the lines.
 *
 * Options: live, {on, url}; without it the page has no Live.
 */

import { contextOf } from "../shared/context.js";
import { element } from "../shared/controls.js";
import { liveLink } from "../shared/live.js";
import { encode } from "./document.js";
import { covers } from "./layers.js";
import { clip, union } from "./patch.js";
import { stored, through } from "./streams.js";

/** Kinds whose pixels travel in parts, where their editors keep them so; every other document is small, and travels whole. */
/** @type {Record<string, number>} */
const CHANNELS = { mask: 1, classes: 1, rgb: 3 }; // bytes a pixel
const STORED_BYTES = 1 << 13;

export class Live {
  #shell;
  /** @type {import("../shared/live.js").LiveLink | null} */
  #link = null;
  #deaf = () => {};
  /** @type {Rect | null} */
  #dirty = null;
  #size = "";
  #last = null; // the document that was sent last, where it travels whole
  #source = { paint: (...at) => this.#paint(...at), whole: () => this.#whole(), changes: () => this.#changes(),
    keep: (seed) => this.#shell.generate(seed) };
  #canvas = element("canvas", { class: "live" }); // on the paper while there is something to see

  constructor(shell) {
    this.#shell = shell;
    shell.stage.onPixels = (layer, rect) => layer === shell.editor?.layer && this.#mark(rect);
    shell.stage.painters.push(() => this.#look());
    shell.onEnd(() => this.#leave());
    this.#addKeys();
  }

  /** Bring it up to date with the page's options. */
  update() {
    const { live } = this.#shell.options;
    const link = live?.on && !this.#shell.editor.readOnly ? liveLink(live.url) : null;
    if (link === this.#link) return;
    this.#leave();
    this.#link = link;
    if (!link) return;
    // A document that fills its canvas would hide the picture: it lies over it.
    this.#canvas.style.zIndex = covers(this.#shell.editor) ? "1" : "";
    this.#deaf = link.listen(() => this.#show());
    link.start(this.#source);
    this.#show();
  }

  #leave() {
    this.#deaf();
    this.#link?.stop(this.#source);
    this.#link = null;
    this.#canvas.remove();
  }

  #addKeys() {
    const shell = this.#shell;
    if (!shell.options.live) return;
    const on = () => !!this.#link;
    shell.addAction({ id: "live", label: "Live: the picture follows the pen", icon: "bolt", keys: ["Shift+L"], place: "keys",
      group: "General", run: () => shell.tell("live", !this.#link) });
    shell.addAction({ id: "live-seed", label: "Live: next seed", icon: "dice", keys: ["Shift+N"], place: "keys", group: "General",
      enabled: on, run: () => this.#link?.nextSeed() });
    shell.addAction({ id: "live-keep", label: "Live: keep this picture", icon: "pin", keys: ["Shift+Enter"], place: "keys",
      group: "General", enabled: on, run: () => this.#link?.keep() });
  }

  // ---- what changed

  #mark(rect) {
    this.#dirty = union(this.#dirty, rect);
    this.#link?.touch();
  }

  /** Documents that are not pixels change without a word: their editors never change one in place. */
  #look() {
    const { editor } = this.#shell;
    if (!this.#link || !editor || editor.kind in CHANNELS) return;
    const { people = null } = editor.kind === "skeleton" ? editor.document() : {};
    if (people && people !== this.#last) this.#link.touch();
    this.#last = people;
  }

  #whole() {
    const { editor } = this.#shell;
    this.#dirty = null;
    const present = editor.document();
    this.#size = `${present.width} ${present.height}`;
    return encode(present);
  }

  #changes() {
    const { editor } = this.#shell;
    const channels = CHANNELS[editor.kind];
    if (!channels || editor.layer?.channels !== channels) return null;
    const { width, height, pixels } = editor.layer.raster;
    if (`${width} ${height}` !== this.#size) return null;
    const rect = clip(this.#dirty, width, height);
    this.#dirty = null;
    if (!rect) return { rects: [], packed: Promise.resolve(new Uint8Array(0)) };
    const [x0, y0, x1, y1] = rect;
    const row = channels * (x1 - x0);
    const part = new Uint8Array(row * (y1 - y0));
    for (let y = y0, at = 0; y < y1; y++, at += row) part.set(pixels.subarray(channels * (y * width + x0), channels * (y * width + x1)), at);
    const small = part.length <= STORED_BYTES;
    return { rects: [rect], packed: small ? Promise.resolve(stored(part)) : through(new CompressionStream("deflate"), part) };
  }

  /** The sheet as one sees it, with what is drawn over it (joints, the pen) and without the picture under it. */
  #paint(context, width, height) {
    const { stage, paper } = this.#shell;
    const { x, y, zoom, pixelRatio, width: wide, height: tall } = stage.view;
    context.fillStyle = getComputedStyle(paper).backgroundColor;
    context.fillRect(0, 0, width, height);
    for (const { canvas } of stage.layers) context.drawImage(canvas, 0, 0, width, height);
    const cut = [x, y, wide * zoom, tall * zoom].map((length) => length * pixelRatio);
    context.drawImage(stage.overlay, cut[0], cut[1], cut[2], cut[3], 0, 0, width, height);
  }

  // ---- the picture under the lines

  #show() {
    const { picture = null, under = 0 } = this.#link ?? {};
    if (!picture || !under) {
      this.#canvas.remove();
      this.shown = null;
      return;
    }
    if (!this.#canvas.isConnected) this.#shell.stage.underlay.after(this.#canvas);
    this.#canvas.style.opacity = String(under);
    if (picture === this.shown) return;
    this.shown = picture;
    if (this.#canvas.width !== picture.width || this.#canvas.height !== picture.height) {
      this.#canvas.width = picture.width;
      this.#canvas.height = picture.height;
    }
    contextOf(this.#canvas).drawImage(picture, 0, 0);
  }
}
