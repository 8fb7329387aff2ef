/**
 * What mouse, pen and fingers mean: drawing, panning, pinching.
 *
 * - Mouse: the left button draws, the middle button or the held space bar pans, the right button reaches the editor
 *   as `button` 2.
 * - Pen: draws, and takes over from a palm that came before it. For a while after a pen was seen fingers and palms never
 *   draw: one pans, two pinch. Its other end arrives as `button` ERASER.
 * - Fingers alone: one draws, two pan and pinch (a stroke just begun by the first is taken back).
 * - Wheel: with Ctrl (or a trackpad pinch) zooms, otherwise scrolls a document larger than the stage.
 *
 * Points handed out are {x, y} in document pixels, {sx, sy} on the stage, `pressure` 0..1 (1 for mouse and finger),
 * `pen`, `touch`, `button`, `shift`, `alt`, `ctrl`, `time` in ms. The methods take event-like objects, so that they run without a
 * DOM; `attach` binds them to an element.
 */

/** The `button` of a pen that is turned round (W3C Pointer Events). */
export const ERASER = 5;
const PEN_MEMORY_MS = 10_000;
const SECOND_FINGER_MS = 400;
const WHEEL_ZOOM = 0.0022;

export class PointerInput {
  /**
   * `actions`: hover, leave, down, move(points, last), up, cancel, each optional.
   *
   * @param {import("./view.js").View} view
   * @param {PointerActions} actions
   */
  constructor(view, actions) {
    this.view = view;
    this.actions = actions;
    this.origin = () => ({ x: 0, y: 0 }); // of the stage, in client coordinates
    this.hand = false; // space held, or the hand tool
    this.pointers = new Map();
    /** @type {"draw" | "pan" | "pinch" | null} */
    this.mode = null; // "draw", "pan", "pinch"
    this.penSeen = -Infinity;
    /** @type {(mode: string | null) => void} */
    this.onMode = () => {};
    /** @type {((value?: unknown) => void)[]} */
    this.waiting = []; // who waits until nothing is drawn
  }

  /** @param {HTMLElement} element */
  attach(element) {
    /** @type {DOMRect | null} */
    let bounds = null;
    this.origin = () => (bounds ??= element.getBoundingClientRect());
    /**
     * @template {keyof HTMLElementEventMap} K
     * @param {K} type
     * @param {(event: HTMLElementEventMap[K]) => void} handler
     * @param {AddEventListenerOptions} [options]
     */
    const listen = (type, handler, options) => element.addEventListener(type, (event) => {
      bounds = null;
      handler.call(this, event);
    }, options);
    listen("pointerdown", (event) => {
      if (this.down(event)) element.setPointerCapture?.(event.pointerId);
    });
    listen("pointermove", this.move);
    listen("pointerup", this.up);
    listen("pointercancel", this.cancelled);
    listen("pointerleave", () => this.actions.leave?.());
    listen("wheel", this.wheel, { passive: false });
    element.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  /** Whether something is being drawn at this moment. */
  get drawing() {
    return this.mode === "draw";
  }

  /** Resolves as soon as nothing is being drawn. */
  rest() {
    return this.drawing ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve();
  }

  /** @param {PointerLike} event */
  down(event) {
    const place = this.#place(event);
    if (event.pointerType === "pen") {
      this.penSeen = event.timeStamp;
      this.#dropFingers();
    }
    if (event.pointerType === "touch") return this.#finger(event, place);
    if (this.mode) return false;
    this.pointers.set(event.pointerId, place);
    if (this.hand || event.button === 1) this.#enter("pan");
    else {
      this.#enter("draw");
      this.actions.down?.(this.#point(event));
    }
    event.preventDefault?.();
    return true;
  }

  /** @param {PointerLike} event */
  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (event.pointerType === "pen") this.penSeen = event.timeStamp;
    if (!before) {
      if (!this.mode && event.pointerType !== "touch") this.actions.hover?.(this.#point(event));
      return;
    }
    const place = this.#place(event);
    if (this.mode === "draw") {
      const events = event.getCoalescedEvents?.() ?? [];
      const points = (events.length ? events : [event]).map((each) => this.#point(each));
      this.actions.move?.(points, points[points.length - 1]);
    } else if (this.mode === "pan") {
      this.view.panBy(place.x - before.x, place.y - before.y);
    } else if (this.mode === "pinch") {
      this.#pinch(event.pointerId, place);
    }
    this.pointers.set(event.pointerId, { ...before, ...place });
  }

  /** @param {PointerLike} event */
  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.mode === "draw") {
      this.#enter(null);
      this.actions.up?.(this.#point(event));
    } else if (this.mode === "pinch" && this.pointers.size === 1) {
      this.#enter("pan");
    } else if (this.pointers.size === 0) {
      this.#enter(null);
    }
  }

  /** @param {PointerLike} event */
  cancelled(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.mode === "draw") this.actions.cancel?.();
    if (this.pointers.size === 0) this.#enter(null);
    else if (this.mode === "pinch") this.#enter("pan");
  }

  /** Give up what is being drawn (Esc). Returns whether there was anything. */
  abort() {
    if (this.mode !== "draw") return false;
    this.pointers.clear();
    this.#enter(null);
    this.actions.cancel?.();
    return true;
  }

  /** @param {WheelLike} event */
  wheel(event) {
    const scale = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    const { x, y } = this.#place(event);
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault?.();
      // A mouse wheel notch is ~100 px, a trackpad pinch sends a few px at a time: one curve serves both.
      const delta = Math.max(-240, Math.min(240, event.deltaY * scale));
      this.view.zoomBy(Math.exp(-delta * (Math.abs(delta) < 24 ? 5 : 1) * WHEEL_ZOOM), x, y);
    } else if (this.view.overflows) {
      event.preventDefault?.();
      const [dx, dy] = event.shiftKey && !event.deltaX ? [event.deltaY, 0] : [event.deltaX, event.deltaY];
      this.view.panBy(-dx * scale, -dy * scale);
    }
  }

  /**
   * @param {PointerLike} event
   * @param {Place} place
   */
  #finger(event, place) {
    const penNear = event.timeStamp - this.penSeen < PEN_MEMORY_MS;
    if (this.pointers.size === 0) {
      this.pointers.set(event.pointerId, { ...place, time: event.timeStamp });
      this.#enter(penNear || this.hand ? "pan" : "draw");
      if (this.mode === "draw") this.actions.down?.(this.#point(event));
      return true;
    }
    if (this.pointers.size > 1) return false;
    const [first] = this.pointers.values();
    if (this.mode === "draw") {
      // A second finger at once means a pinch; in the middle of a stroke, or under a pen, it is a palm.
      if (first.time === undefined || event.timeStamp - first.time > SECOND_FINGER_MS) return false;
      this.actions.cancel?.();
    }
    this.pointers.set(event.pointerId, { ...place, time: event.timeStamp });
    this.#enter("pinch");
    return true;
  }

  /** Whatever fingers do ends: they were the palm of the hand that holds the pen. */
  #dropFingers() {
    const fingers = [...this.pointers.values()].some(({ time }) => time !== undefined);
    if (!fingers) return;
    const drew = this.drawing;
    this.pointers.clear();
    this.#enter(null);
    if (drew) this.actions.cancel?.();
  }

  /**
   * @param {number} id
   * @param {Place} place
   */
  #pinch(id, place) {
    const other = [...this.pointers].find(([key]) => key !== id)?.[1];
    const before = this.pointers.get(id);
    if (!other || !before) return;
    const span = (/** @type {Place} */ a) => Math.max(1, Math.hypot(a.x - other.x, a.y - other.y));
    this.view.panBy((place.x - before.x) / 2, (place.y - before.y) / 2);
    this.view.zoomBy(span(place) / span(before), (place.x + other.x) / 2, (place.y + other.y) / 2);
  }

  /** @param {"draw" | "pan" | "pinch" | null} mode */
  #enter(mode) {
    this.mode = mode;
    this.onMode(mode);
    if (!this.drawing) for (const rested of this.waiting.splice(0)) rested();
  }

  /** @param {{clientX: number, clientY: number}} event */
  #place(event) {
    const origin = this.origin();
    return { x: event.clientX - origin.x, y: event.clientY - origin.y };
  }

  /**
   * @param {PointerLike} event
   * @returns {PointerPoint}
   */
  #point(event) {
    const { x: sx, y: sy } = this.#place(event);
    const pen = event.pointerType === "pen";
    return {
      ...this.view.toDocument(sx, sy), sx, sy, pen, touch: event.pointerType === "touch",
      pressure: pen && event.pressure > 0 ? event.pressure : 1,
      button: event.button > 0 ? event.button : 0,
      shift: !!event.shiftKey, alt: !!event.altKey, ctrl: !!(event.ctrlKey || event.metaKey),
      time: event.timeStamp,
    };
  }
}
