/**
 * Two pictures under one divider: what is left of it shows one, what is right of it the other. Dragged with mouse, pen or
 * finger from anywhere on the picture, moved with the arrow keys. Knows no pane and no gallery.
 */

import { element } from "./controls.js";

const STEP = 2;
const STRIDE = 10;

export const COMPARE_STYLE = `
.compare { position: absolute; inset: 0; overflow: hidden; cursor: ew-resize; touch-action: none; --at: 50%; }
.compare img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; pointer-events: none;
  background: var(--behind, var(--stage)); }
.compare .before { clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.compare .after { clip-path: inset(0 0 0 var(--at)); }
.compare .divider { position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 0 1px rgb(0 0 0 / .25); }
.compare .divider::after { content: "⇆"; position: absolute; top: 50%; left: 1px; translate: -50% -50%; width: 32px; height: 32px;
  border-radius: 50%; background: #fff;
  color: #22252b; display: grid; place-items: center; font-size: 15px; box-shadow: 0 1px 6px rgb(0 0 0 / .4); }
.compare .divider:focus-visible { outline: none !important; }
.compare .divider:focus-visible::after { outline: 2px solid var(--accent); outline-offset: 2px; }
.compare .name { position: absolute; bottom: 8px; max-width: 45%; padding: 2px 8px; border-radius: 6px; background: rgb(20 21 24 / .72);
  color: #fff; font-size: 12px;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; pointer-events: none; }
.compare .name:empty { display: none; }
.compare .name.left { left: 8px; }
.compare .name.right { right: 8px; }
`;

export class Compare {
  #at = 50;

  constructor() {
    const picture = (/** @type {string} */ name) => element("img", { class: name, alt: "", draggable: "false" });
    this.before = picture("before");
    this.after = picture("after");
    this.left = element("span", { class: "name left" });
    this.right = element("span", { class: "name right" });
    this.divider = element("div", { class: "divider", role: "slider", tabindex: "0", "aria-label": "Divider between the two pictures",
      "aria-valuemin": "0", "aria-valuemax": "100" });
    this.root = element("div", { class: "compare", hidden: true }, this.before, this.after, this.left, this.right, this.divider);
    this.root.addEventListener("pointerdown", (event) => this.#press(event));
    this.root.addEventListener("pointermove", (event) => this.root.hasPointerCapture(event.pointerId) && this.#drag(event));
    this.divider.addEventListener("keydown", (event) => this.#key(event));
    this.#move(50);
  }

  /**
   * Show two pictures; null hides it.
   *
   * @param {{url: string, name?: string} | null} before
   * @param {{url: string, name?: string} | null} after
   */
  show(before, after) {
    const shown = !!(before && after);
    if (shown && this.root.hidden) this.#move(50);
    this.root.hidden = !shown;
    if (!shown) return;
    for (const { image, label, picture } of [{ image: this.before, label: this.left, picture: before },
      { image: this.after, label: this.right, picture: after }]) {
      const url = new URL(picture.url, document.baseURI).href;
      if (image.src !== url) image.src = url;
      image.alt = label.textContent = picture.name ?? "";
    }
  }

  /** @param {PointerEvent} event */
  #press(event) {
    if (event.button !== 0) return;
    this.root.setPointerCapture(event.pointerId);
    this.#drag(event);
    this.divider.focus({ preventScroll: true });
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    const box = this.root.getBoundingClientRect();
    this.#move(((event.clientX - box.left) / box.width) * 100);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const by = event.shiftKey ? STRIDE : STEP;
    /** @type {Record<string, number>} */
    const goals = { ArrowLeft: this.#at - by, ArrowRight: this.#at + by, Home: 0, End: 100 };
    const to = goals[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.#move(to);
  }

  /** @param {number} to */
  #move(to) {
    this.#at = Math.min(100, Math.max(0, to));
    this.root.style.setProperty("--at", `${this.#at}%`);
    this.divider.setAttribute("aria-valuenow", String(Math.round(this.#at)));
  }
}
