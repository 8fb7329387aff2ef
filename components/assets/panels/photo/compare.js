/** A photo and its map in one frame, with a divider between them: left the photo, right the map. */

import { element } from "../../shared/controls.js";

const STEP = 0.02;

export class Compare {
  /** @param {string} found  what the right side is called */
  constructor(found) {
    this.at = 0.5;
    this.photo = element("img", { class: "picture", alt: "Photo", hidden: true, draggable: "false" });
    this.map = element("img", { class: "map", alt: "Map: what the model sees", hidden: true, draggable: "false" });
    this.divider = element("div", { class: "divider", role: "slider", tabindex: "0", "aria-label": "Divider between photo and map",
      "aria-valuemin": 0, "aria-valuemax": 100, onkeydown: (event) => this.#key(event), ondblclick: () => this.move(0.5) });
    this.frame = element("div", { class: "frame" }, this.photo, this.map, this.divider,
      element("span", { class: "side left" }, "Photo"), element("span", { class: "side right" }, found));
    this.divider.addEventListener("pointerdown", (event) => this.#drag(event));
    this.move(0.5);
    this.#alone();
  }

  /** The shape of the frame: width / height. */
  shape(width, height) {
    this.frame.style.setProperty("--ratio", String(width / height));
  }

  showPhoto(url) {
    this.photo.hidden = !url;
    if (url) this.photo.src = url;
    this.#alone();
  }

  /** Show another map as soon as it is there, without a gap; a later call wins. Without an address: none. */
  async showMap(url) {
    this.wanted = url;
    if (!url) {
      this.map.hidden = true;
      return this.#alone();
    }
    const next = new Image();
    next.src = url;
    await next.decode().catch(() => {});
    if (this.wanted !== url || !next.naturalWidth) return null;
    this.map.src = url;
    this.map.hidden = false;
    this.frame.classList.remove("late");
    return this.#alone();
  }

  /** The map does not fit the photo any more: fade it until the next one comes. */
  late(on) {
    this.frame.classList.toggle("late", on);
  }

  move(share) {
    this.at = Math.min(Math.max(share, 0), 1);
    this.frame.style.setProperty("--at", `${this.at * 100}%`);
    this.divider.setAttribute("aria-valuenow", String(Math.round(this.at * 100)));
  }

  #alone() {
    this.frame.classList.toggle("alone", !!this.photo.hidden || !!this.map.hidden);
    this.frame.classList.toggle("empty", !!this.photo.hidden && !!this.map.hidden);
  }

  #drag(event) {
    if (event.button !== 0) return;
    this.divider.setPointerCapture(event.pointerId);
    const box = this.frame.getBoundingClientRect();
    const follow = (moved) => this.move((moved.clientX - box.left) / box.width);
    const end = () => {
      this.divider.removeEventListener("pointermove", follow);
      this.divider.removeEventListener("pointerup", end);
      this.divider.removeEventListener("pointercancel", end);
    };
    this.divider.addEventListener("pointermove", follow);
    this.divider.addEventListener("pointerup", end);
    this.divider.addEventListener("pointercancel", end);
  }

  #key(event) {
    const share = { ArrowLeft: this.at - STEP, ArrowRight: this.at + STEP, Home: 0, End: 1 }[event.key];
    if (share === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.move(share);
  }
}
