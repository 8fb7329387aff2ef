/**
 * Live over movable shapes: they go along while one of them is dragged, on top of the drawing beneath.
 *
 * Their canvas is not ours (streamlit-drawable-canvas), so only its pixels are read: black lines on nothing. The frame of a shape that is
 * held is light blue, and no ink.
 */

import { decode, encode } from "../../canvas/document.js";
import { inkOver } from "../../editors/colour/sheet.js";
import { contextOf } from "../../shared/context.js";
import { element } from "../../shared/controls.js";
import { liveLink } from "../../shared/live.js";
import { mounted } from "../../shared/mounted.js";

const CANVAS = "canvas.dc-canvas.lower-canvas";
const AROUND = ".dc-container";
const HEARD = ["pointermove", "pointerup", "dblclick", "keyup"];

export const mount = mounted(
  (host) => new LiveShapes(host),
  (live, data, trigger) => {
    live.tell = trigger;
    live.update(data);
  },
);

class LiveShapes {
  /** Tells Python. @type {Trigger} */
  tell = () => {};
  /** @type {import("../../shared/live.js").LiveLink | null} */
  #link = null;
  /** @type {Promise<RasterDocument> | null} the drawing beneath */
  #drawn = null;
  #canvas = /** @type {HTMLCanvasElement | null} */ (null);
  #source = { whole: () => this.#whole(), changes: () => null, keep: (seed) => this.tell("keep", { seed }) };

  constructor(host) {
    this.root = element("div", { hidden: true });
    host.append(this.root);
    this.heard = (event) => this.#heard(event);
    for (const type of HEARD) window.addEventListener(type, this.heard, true);
  }

  /** @param {{live: {on: boolean, url: string}, document_url: string, rev: number, shapes: number}} data */
  update(data) {
    const before = this.data;
    this.data = data;
    if (data.rev !== before?.rev) this.#drawn = null;
    const link = data.live.on ? liveLink(data.live.url) : null;
    if (link !== this.#link) {
      this.#link?.stop(this.#source);
      this.#link = link;
      link?.start(this.#source);
    } else if (data.rev !== before?.rev || data.shapes !== before?.shapes) link?.touch();
  }

  destroy() {
    for (const type of HEARD) window.removeEventListener(type, this.heard, true);
    this.#link?.stop(this.#source);
    this.root.remove();
  }

  /** Something may have moved: a pointer that holds nothing moves nothing. */
  #heard(event) {
    if (!this.#link || (event.type === "pointermove" && !event.buttons)) return;
    const around = event.composedPath().find((one) => one instanceof Element && one.matches(AROUND));
    if (!around) return;
    this.#canvas = around.querySelector(CANVAS);
    requestAnimationFrame(() => this.#link?.touch()); // it is drawn with the next frame
  }

  async #whole() {
    this.#drawn ??= this.#fetch();
    const drawing = await this.#drawn.catch((error) => {
      this.#drawn = null;
      throw error;
    });
    const { width, height } = drawing;
    const pixels = drawing.pixels.slice();
    const canvas = this.#canvas?.isConnected ? this.#canvas : found(document);
    if (!canvas) return encode(drawing);
    const context = contextOf(new OffscreenCanvas(width, height), { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(canvas, 0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    for (let i = 0, at = 0; at < data.length; i++, at += 4) {
      const ink = (data[at + 3] * (255 - Math.max(data[at], data[at + 1], data[at + 2]))) / 255;
      if (drawing.kind === "rgb") inkOver(pixels, i, ink);
      else if (ink > pixels[i]) pixels[i] = ink;
    }
    return encode({ ...drawing, pixels });
  }

  /** @returns {Promise<RasterDocument>} */
  async #fetch() {
    if (!this.data) throw new Error("No drawing is known yet.");
    const answer = await fetch(new URL(this.data.document_url, document.baseURI), { cache: "no-store" });
    if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
    return /** @type {RasterDocument} */ (await decode(new Uint8Array(await answer.arrayBuffer())));
  }
}

/**
 * The canvas of shapes, in the page or in one of its components.
 *
 * @param {Document | ShadowRoot} root
 * @returns {HTMLCanvasElement | null}
 */
function found(root) {
  const here = root.querySelector(CANVAS);
  if (here instanceof HTMLCanvasElement) return here;
  for (const { shadowRoot } of root.querySelectorAll("*")) {
    const inside = shadowRoot && found(shadowRoot);
    if (inside) return inside;
  }
  return null;
}
