/**
 * A film of Live: the sheet and the picture side by side, from one press to the next, as a WebM to download.
 *
 * Nothing is kept of what nobody asked for. While nobody draws the film stands still, too: it shows the drawing, not the waiting.
 */

import { contextOf } from "../../shared/context.js";

const SIDE_PX = 512;
const GAP_PX = 8;
const RATE = 15;
const STILL_MS = 1200;
const LONGEST_MS = 5 * 60_000;
const BITS_PER_S = 4_000_000;
const KINDS = ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];

export class Film {
  #link;
  #ended;
  #canvas = document.createElement("canvas");
  /** @type {MediaRecorder} */
  #recorder;
  /** @type {Blob[]} */
  #parts = [];
  #timer;
  #changedAt = performance.now();
  #begun = performance.now();

  static get possible() {
    return typeof MediaRecorder === "function" && KINDS.some((kind) => MediaRecorder.isTypeSupported(kind));
  }

  /**
   * Begin. `ended(blob)` is called once, after `stop`.
   *
   * @param {import("../../shared/live.js").LiveLink} link
   * @param {ImageBitmap} picture  the present one, whose shape it has
   * @param {(film: Blob) => void} ended
   */
  constructor(link, picture, ended) {
    this.#link = link;
    this.#ended = ended;
    const { width, height } = picture;
    const [wide, tall] = [width, height].map((side) => 2 * Math.round((side * SIDE_PX) / Math.max(width, height) / 2));
    this.#canvas.width = 2 * wide + GAP_PX;
    this.#canvas.height = tall;
    this.#recorder = new MediaRecorder(this.#canvas.captureStream(RATE), {
      mimeType: KINDS.find((kind) => MediaRecorder.isTypeSupported(kind)), videoBitsPerSecond: BITS_PER_S,
    });
    this.#recorder.ondataavailable = ({ data }) => this.#parts.push(data);
    this.#recorder.onstop = () => this.#ended(new Blob(this.#parts, { type: "video/webm" }));
    this.#show();
    this.#recorder.start(1000);
    this.#timer = setInterval(() => this.#tick(), 1000 / RATE);
  }

  /** The drawing or its picture changed. */
  touch() {
    this.#changedAt = performance.now();
    if (this.#recorder.state === "paused") this.#recorder.resume();
  }

  stop() {
    clearInterval(this.#timer);
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
  }

  #tick() {
    const now = performance.now();
    if (now - this.#begun > LONGEST_MS) return this.stop();
    this.#show();
    if (now - this.#changedAt > STILL_MS && this.#recorder.state === "recording") this.#recorder.pause();
    return undefined;
  }

  #show() {
    const { width, height } = this.#canvas;
    const context = contextOf(this.#canvas);
    const wide = (width - GAP_PX) / 2;
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, width, height);
    this.#link.paintSheet(context, wide, height);
    if (this.#link.picture) context.drawImage(this.#link.picture, wide + GAP_PX, 0, wide, height);
  }
}
