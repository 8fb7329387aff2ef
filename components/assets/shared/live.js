/**
 * Live: one socket for a drawing in the making and the pictures that follow it. The editor sends through it, the result pane
 * shows what comes; both find the same link by the drawing's address. See webapp/routes/live.py for what travels.
 *
 * Nothing polls: a change is sent with the next frame of the screen, packed while the hand goes on, and a picture is shown when it
 * comes. Nobody who looks away is drawn for: a hidden tab and a minute without a change close the socket, the next change opens it.
 */

import { remember, remembered } from "./memory.js";

const REST_AFTER_MS = 60_000;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 8000;
const SILENCE_MS = 6000; // three beats of the server: whoever is silent for longer is not there
const BACKLOG_BYTES = 1 << 16;
const SEND_GAP_MS = 12;
const TICK_MS = 100;
const TYPED_MS = 300;
const UNDER = "live.under";
const PROMPT = 'textarea[aria-label="Prompt"]';
const REFUSED = [1008, 1009];
const utf8 = new TextEncoder();

/** @type {Map<string, LiveLink>} */
const links = new Map();

/**
 * The link of the drawing at an address; the same one for everybody on the page.
 *
 * @param {string} url
 */
export function liveLink(url) {
  let link = links.get(url);
  if (!link) links.set(url, (link = new LiveLink(url)));
  return link;
}

/**
 * What an editor gives to a link: the whole drawing as a container, and what changed since either was asked for last; null where
 * parts cannot be sent alone.
 *
 * @typedef {object} LiveDrawing
 * @property {() => Promise<Bytes>} whole
 * @property {() => {rects: Rect[], packed: Promise<Bytes>} | null} changes
 * @property {(context: CanvasRenderingContext2D, width: number, height: number) => void} [paint]  the sheet, at a size; whoever
 *   has one can show the picture under its lines
 * @property {(seed: number) => void} keep  make the picture with this seed, to be kept
 */

/** @typedef {"off" | "rest" | "drawn" | "sent" | "drawing" | "waiting" | "loading" | "done" | "failed" | "away"} LivePhase */

export class LiveLink {
  /** @type {LivePhase} */
  phase = "off";
  text = "";
  hint = "";
  /** @type {ImageBitmap | null} */
  picture = null;
  seed = null;
  /** The opacity of the picture under the lines, 0..1. */
  under = 0;

  #listeners = new Set();
  /** @type {LiveDrawing | null} */
  #drawing = null;
  /** @type {WebSocket | null} */
  #socket = null;
  #rev = 0; // of the last change that was sent on this socket
  #anew = true; // the whole drawing has to be sent next, not only what changed
  #changed = false; // something is drawn that was not sent
  #packing = false;
  #frame = 0;
  #sentAt = 0;
  /** @type {Map<number, number>} revision -> when the oldest change in it was drawn */
  #since = new Map();
  #oldest = 0; // when the oldest change that was not sent yet was drawn
  /** @type {number | null} */
  #took = null; // ms from stroke to picture, of the last one
  #retry = RETRY_FIRST_MS;
  #timers = { rest: 0, retry: 0, tick: 0, silence: 0 };
  #typing = 0;
  #orders = []; // to be sent as soon as there is a socket
  #refused = false; // what was said last was refused: pictures of what was said before do not hide that
  #hidden = () => document.hidden && this.rest();
  /** The page's prompt counts once the typing rests, not only when its field is left. */
  #typed = ({ target }) => {
    if (!(target instanceof HTMLTextAreaElement) || !target.matches(PROMPT)) return;
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.prompt(target.value), TYPED_MS);
  };

  /** @param {string} url */
  constructor(url) {
    this.url = url;
    this.under = Math.min(1, Math.max(0, Number(remembered(UNDER)) || 0));
  }

  get on() {
    return this.phase !== "off";
  }

  get hasPaper() {
    return !!this.#drawing?.paint;
  }

  /**
   * Paint the sheet as it is now, at a size.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  paintSheet(context, width, height) {
    this.#drawing?.paint?.(context, width, height);
  }

  /** Milliseconds that the picture lies behind the drawing; of the last one how long it took, when it shows all there is. */
  get age() {
    const waiting = Math.min(...this.#since.values(), this.#oldest || Infinity);
    return waiting < Infinity ? performance.now() - waiting : this.#took;
  }

  /**
   * Have `hear()` called whenever something is new; returns what ends it.
   *
   * @param {() => void} hear
   */
  listen(hear) {
    this.#listeners.add(hear);
    return () => this.#listeners.delete(hear);
  }

  /**
   * The editor is there and Live is on.
   *
   * @param {LiveDrawing} drawing
   */
  start(drawing) {
    const before = this.#drawing;
    this.#drawing = drawing;
    if (this.on) {
      if (drawing === before) return;
      this.#anew = true;
      return this.touch();
    }
    document.addEventListener("visibilitychange", this.#hidden);
    document.addEventListener("input", this.#typed, true);
    this.#say("rest");
    if (!document.hidden) this.touch();
  }

  /**
   * Live is off, or the editor gone; it means nothing where another one has begun since.
   *
   * @param {LiveDrawing} drawing
   */
  stop(drawing) {
    if (!this.on || drawing !== this.#drawing) return;
    document.removeEventListener("visibilitychange", this.#hidden);
    document.removeEventListener("input", this.#typed, true);
    clearTimeout(this.#typing);
    this.#hangUp();
    this.#drawing = null;
    this.picture = null;
    this.#took = null;
    this.#say("off");
  }

  /** The drawing changed: cheap, for every point of a stroke. */
  touch() {
    if (!this.on) return;
    this.#refused = false;
    this.#oldest ||= performance.now();
    this.#changed = true;
    this.#restLater();
    if (!this.#socket && !this.#timers.retry) this.#open();
    if (this.phase === "done" || this.phase === "failed") this.#say("drawn");
    this.#frame ||= requestAnimationFrame(() => this.#send());
  }

  /** A minute without a change is enough, once its picture is there. */
  #restLater() {
    clearTimeout(this.#timers.rest);
    this.#timers.rest = setTimeout(() => (["done", "failed"].includes(this.phase) ? this.rest() : this.#restLater()), REST_AFTER_MS);
  }

  /** Nobody looks or draws: no socket until the next change. */
  rest() {
    if (!this.on) return;
    this.#hangUp();
    this.#say("rest");
  }

  nextSeed() {
    this.#order({ kind: "seed" });
  }

  /** Make the picture that is shown for the gallery. */
  keep() {
    if (this.seed !== null) this.#drawing?.keep(this.seed);
  }

  /** @param {string} text */
  prompt(text) {
    this.#order({ kind: "prompt", text });
  }

  /** @param {number} opacity  0..1 */
  showUnder(opacity) {
    this.under = opacity;
    remember(UNDER, opacity);
    this.#tell();
  }

  // ---- the line

  #open() {
    const address = new URL(this.url, document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = (this.#socket = new WebSocket(address));
    socket.binaryType = "arraybuffer";
    this.#rev = 0;
    this.#anew = true;
    socket.onopen = () => {
      this.#since.clear();
      this.#changed = true;
      for (const order of this.#orders.splice(0)) socket.send(JSON.stringify(order));
      this.#frame ||= requestAnimationFrame(() => this.#send());
    };
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return undefined;
      this.#listenOn();
      return typeof data === "string" ? this.#heard(JSON.parse(data)) : this.#came(data);
    };
    socket.onclose = ({ code }) => {
      if (this.#socket !== socket) return;
      if (!REFUSED.includes(code)) return this.#cut();
      this.#leave(); // it was said why: the next change tries again
    };
    this.#listenOn();
  }

  /** A line may be cut without a word: browsers notice after minutes, and while they connect to nobody. */
  #listenOn() {
    clearTimeout(this.#timers.silence);
    this.#timers.silence = setTimeout(() => this.#cut(), SILENCE_MS);
  }

  /** The line is cut: what is drawn stays, and goes whole through the next one. */
  #cut() {
    this.#leave();
    if (this.phase !== "failed") this.#say("away");
    this.#timers.retry = setTimeout(() => {
      this.#timers.retry = 0;
      this.#open();
    }, this.#retry);
    this.#retry = Math.min(RETRY_LAST_MS, 2 * this.#retry);
  }

  /** No socket from now on; what the old one still says is not heard. */
  #leave() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#timers.silence);
    this.#since.clear();
    socket?.close();
  }

  #hangUp() {
    this.#leave();
    cancelAnimationFrame(this.#frame);
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = { rest: 0, retry: 0, tick: 0, silence: 0 };
    this.#frame = this.#oldest = 0;
    this.#changed = false;
    this.#retry = RETRY_FIRST_MS;
  }

  #order(order) {
    if (!this.on) return;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(order));
    else this.#orders = [...this.#orders.filter(({ kind }) => kind !== order.kind), order];
    this.touch();
  }

  /** Send what changed, once a frame at most and never more than the line takes. */
  async #send() {
    this.#frame = 0;
    const socket = this.#socket;
    const drawing = this.#drawing;
    if (!drawing || !this.#changed || this.#packing || socket?.readyState !== WebSocket.OPEN) return;
    if (performance.now() - this.#sentAt < SEND_GAP_MS || socket.bufferedAmount > BACKLOG_BYTES) {
      this.#frame = requestAnimationFrame(() => this.#send());
      return;
    }
    this.#packing = true;
    this.#changed = false;
    const [since, on, rev] = [this.#oldest || performance.now(), this.#rev, this.#rev + 1];
    this.#oldest = 0;
    try {
      const parts = this.#anew ? null : drawing.changes();
      this.#anew = false;
      const message = parts ? framed({ rev, on, rects: parts.rects }, await parts.packed) : framed({ rev }, await drawing.whole());
      if (socket !== this.#socket || socket.readyState !== WebSocket.OPEN) return;
      if (!parts || parts.rects.length) {
        socket.send(message);
        this.#rev = rev;
        this.#since.set(rev, since);
        if (["rest", "drawn", "done", "failed"].includes(this.phase)) this.#say("sent"); // "away" until somebody is heard again
      } else if (this.phase === "drawn" && !this.#since.size) this.#say(this.picture ? "done" : "rest"); // it was nothing after all
      this.#sentAt = performance.now();
    } catch {
      this.#anew = true;
      this.#fail("The drawing could not be read.", "Change it a little.");
    } finally {
      this.#packing = false;
      if (this.#changed) this.#frame ||= requestAnimationFrame(() => this.#send());
    }
  }

  // ---- what comes

  #heard(told) {
    if (told.kind === "here") {
      if (this.phase === "away") this.#say(this.#since.size ? "sent" : "drawn");
    } else if (told.kind === "refused" && told.again) {
      this.#anew = true;
      this.touch();
    } else if (told.kind === "refused") {
      this.#fail(told.error, told.hint);
      this.#refused = true;
    } else if (told.kind === "failed") this.#fail(told.text, told.hint);
    else if (told.kind === "over") {
      this.rest();
      this.#say("rest", told.text);
    } else if (!this.#refused) this.#say(told.kind, told.text);
  }

  /** A sentence in place of a picture; what was drawn stays, and the next change asks again. */
  #fail(text, hint) {
    this.#since.clear();
    this.#say("failed", text, hint);
  }

  /** @param {ArrayBuffer} data */
  async #came(data) {
    this.#retry = RETRY_FIRST_MS;
    const length = new DataView(data).getUint32(0, true);
    const { rev, seed, text: spared } = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const socket = this.#socket;
    const picture = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
    if (socket !== this.#socket || !this.on) return picture.close();
    this.picture?.close();
    this.picture = picture;
    this.seed = seed;
    const [shown, end] = [[...this.#since].filter(([one]) => one <= rev), performance.now()];
    if (shown.length) this.#took = end - Math.min(...shown.map(([, since]) => since));
    for (const [one, start] of shown) {
      this.#since.delete(one);
      performance.measure("studio.live", { start, end }); // one a change, for whoever watches the page's timeline
    }
    performance.clearMeasures("studio.live"); // or they pile up
    this.shown = rev;
    if (this.#refused) return this.#tell();
    const phase = this.#since.size || this.#changed ? "drawing" : "done";
    return this.#say(phase, spared ? `${phase} (${spared})` : "");
  }

  // ---- telling

  /**
   * @param {LivePhase} phase
   * @param {string} [text]
   * @param {string} [hint]
   */
  #say(phase, text = "", hint = "") {
    [this.phase, this.text, this.hint] = [phase, text, hint];
    const busy = ["drawn", "sent", "drawing", "waiting", "loading"].includes(phase);
    if (busy && !this.#timers.tick) this.#timers.tick = setInterval(() => this.#tell(), TICK_MS);
    if (!busy) {
      clearInterval(this.#timers.tick);
      this.#timers.tick = 0;
    }
    this.#tell();
  }

  #tell() {
    for (const hear of this.#listeners) hear();
  }
}

/**
 * @param {object} header
 * @param {Bytes} bytes
 */
function framed(header, bytes) {
  const head = utf8.encode(JSON.stringify(header));
  const message = new Uint8Array(4 + head.length + bytes.length);
  new DataView(message.buffer).setUint32(0, head.length, true);
  message.set(head, 4);
  message.set(bytes, 4 + head.length);
  return message;
}
