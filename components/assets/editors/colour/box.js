/** The box of crayons beside the sheet: the colour in hand, the named ones, any other, and those used last. */

import { describe, element } from "../../shared/controls.js";
import { remember, remembered } from "../../shared/memory.js";
import { colourOf, css, isColour } from "./colours.js";
import { crayon, isPaper, PAPER } from "./sheet.js";

const RECENT_MAX = 6;

export class Box {
  /** @type {HTMLSpanElement} */
  front;
  /** @type {HTMLSpanElement} */
  back;
  /** @type {HTMLButtonElement} */
  pair;
  /** @type {HTMLInputElement} */
  own;
  /** @type {HTMLDivElement} */
  recent;
  /** In hand. @type {Colour} */
  colour = PAPER;
  /** crayons: [{name, rgb}]; actions: choose(colour), swap(). */
  constructor(shell, crayons, actions) {
    this.shell = shell;
    this.crayons = crayons;
    this.actions = actions;
    this.recents = (remembered("colour.recents") ?? []).filter(isColour);
    this.#build();
  }

  /** The colour in hand and the one that X brings back. */
  show(colour, previous) {
    this.front.style.background = css(colour);
    this.back.style.background = css(previous);
    this.front.classList.toggle("none", isPaper(colour));
    this.back.classList.toggle("none", isPaper(previous));
    this.pair.setAttribute("aria-label", `Colour in hand: ${this.#name(colour)}. Swap with ${this.#name(previous)}`);
    describe(this.pair, `Swap with ${this.#name(previous)}`, ["X"]);
    this.own.value = css(colour);
    this.colour = colour;
    this.#press();
  }

  /** Something was coloured with it: one that the box does not have is kept at hand. */
  used(colour) {
    const own = css(colour);
    if (this.#named(colour) || css(this.recents[0] ?? PAPER) === own) return;
    this.recents = [colour, ...this.recents.filter((other) => css(other) !== own)].slice(0, RECENT_MAX);
    remember("colour.recents", this.recents);
    this.#showRecents();
  }

  #build() {
    this.front = element("span", { class: "swatch" });
    this.back = element("span", { class: "swatch" });
    this.pair = element("button", { type: "button", class: "pair", "data-id": "swap", onclick: () => this.actions.swap() }, this.back,
      this.front);
    const named = this.crayons.map(({ name, rgb }, i) => this.#swatch(rgb, capital(name), i < 9 ? [String(i + 1)] : []));
    const none = this.#swatch(PAPER, "No colour", ["0"]);
    this.own = element("input", { type: "color", "aria-label": "Any colour", "data-id": "own-colour",
      onchange: () => this.actions.choose(crayon(colourOf(this.own.value))) });
    const any = element("label", { class: "any" }, this.own);
    describe(any, "Any colour");
    this.recent = element("div", { class: "crayons recent", role: "group", "aria-label": "Used last" });
    this.shell.panel.append(this.pair, element("div", { class: "crayons", role: "group", "aria-label": "Crayons" }, ...named, none, any),
      this.recent);
    this.#showRecents();
    // After a press with the mouse the keys belong to the canvas again; whoever came by keyboard stays.
    this.shell.panel.addEventListener("click", (event) => {
      if (event.detail && event.target !== this.own) this.shell.root.focus({ preventScroll: true });
    });
  }

  #swatch(rgb, name, keys = []) {
    const face = element("span", { class: isPaper(rgb) ? "swatch none" : "swatch", style: `background:${css(rgb)}` });
    const button = element("button", { type: "button", class: "one", "data-colour": css(rgb), "aria-label": name, "aria-pressed": "false",
      onclick: () => this.actions.choose(rgb) }, face);
    describe(button, name, keys);
    return button;
  }

  #showRecents() {
    this.recent.hidden = !this.recents.length;
    this.recent.replaceChildren(...this.recents.map((rgb) => this.#swatch(rgb, css(rgb))));
    this.#press();
  }

  #press() {
    for (const button of this.shell.panel.querySelectorAll(".one")) {
      button.setAttribute("aria-pressed", String(button.dataset.colour === css(this.colour)));
    }
  }

  #named(colour) {
    return isPaper(colour) ? { name: "no colour" } : this.crayons.find(({ rgb }) => css(rgb) === css(colour));
  }

  #name(colour) {
    return this.#named(colour)?.name ?? css(colour);
  }
}

function capital(word) {
  return word[0].toUpperCase() + word.slice(1);
}
