/** One picture of the wall, large, with its recipe in words: look, compare, lay its control over it, bring it back. */

import { COMPARE_STYLE, Compare } from "../../shared/compare.js";
import { describe, element, iconButton, slider, tooltips } from "../../shared/controls.js";
import { keepingFocus } from "../../shared/focus.js";
import { icon } from "../../shared/icons.js";
import { LARGE_STYLE } from "./style.js";

export class Large {
  #index = -1;
  /** @type {any} */
  #pinned = null; // the picture that others are compared with
  #overlay = -1; // which control lies over it
  #opacity = 0.5;

  /** `wall` offers collection, titles, say(text), act(kind, ids) and shown(index). */
  constructor(wall) {
    this.wall = wall;
    this.image = element("img", { class: "main", alt: "" });
    this.over = element("img", { alt: "", hidden: true });
    this.compare = new Compare();
    this.frame = element("div", { class: "frame" }, this.image, this.over, this.compare.root);
    this.place = element("span", { class: "place" });
    this.back = element("button", { class: "step back", type: "button", "aria-label": "Newer picture", onclick: () => this.#go(-1) },
      icon("chevron", 28));
    this.on = element("button", { class: "step on", type: "button", "aria-label": "Older picture", onclick: () => this.#go(1) },
      icon("chevron", 28));
    this.star = iconButton({ id: "star", label: "Star", icon: "star", keys: ["F"], run: () => this.#star() });
    this.words = element("div", { class: "words", tabindex: "0", role: "region", "aria-label": "Recipe" });
    this.acts = element("div", { class: "acts" });
    const room = element("div", { class: "room" }, this.frame, this.place, this.back, this.on);
    this.root = element("dialog", { class: "studio large", "aria-label": "Picture", tabindex: "-1" },
      element("style", {}, LARGE_STYLE + COMPARE_STYLE),
      room,
      element("div", { class: "panel" },
        element("div", { class: "head" }, element("h2", {}, "Recipe"), this.star,
          iconButton({ id: "close", label: "Close", icon: "close", keys: ["Esc"], run: () => this.close() })),
        this.words, this.acts));
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.root.addEventListener("close", () => this.wall.shown(this.#index));
    room.addEventListener("click", (event) => event.target instanceof Element && event.target.matches(".room") && this.close());
    tooltips(this.root);
  }

  get isOpen() {
    return this.root.open;
  }

  get picture() {
    return this.wall.collection.pictures[this.#index] ?? null;
  }

  /** Show picture `index`; `before` is one to compare it with. */
  open(index, before = null) {
    this.#pinned = before;
    this.#overlay = -1;
    this.#index = index;
    this.root.classList.toggle("dark", this.wall.root.classList.contains("dark"));
    if (!this.root.open) {
      this.root.showModal();
      this.root.focus({ preventScroll: true });
    }
    this.show();
  }

  close() {
    this.root.close();
  }

  /** Show what is there now: after a deed, a picture may have another number. */
  show() {
    if (!this.root.open) return;
    const { pictures, total } = this.wall.collection;
    this.#index = Math.min(this.#index, pictures.length - 1);
    const picture = this.picture;
    if (!picture) return this.close();
    this.frame.style.setProperty("--ratio", String(picture.width / picture.height));
    const url = address(picture.url);
    if (this.image.src !== url) this.image.src = url;
    this.image.alt = picture.prompt || "Picture";
    this.place.textContent = `${this.#index + 1} of ${Math.max(total, pictures.length)}`;
    this.back.disabled = this.#index === 0;
    this.on.disabled = this.#index === pictures.length - 1 && !this.wall.collection.more;
    this.star.setAttribute("aria-pressed", String(picture.starred));
    const pinned = this.#pinned && this.#pinned.id !== picture.id ? this.#pinned : null;
    this.compare.show(pinned && { url: pinned.url, name: nameOf(pinned) }, { url: picture.url, name: nameOf(picture) });
    this.#showOver(picture);
    keepingFocus(this.root, () => this.#showActs(picture));
    this.#tell(picture);
    for (const near of [pictures[this.#index + 1], pictures[this.#index - 1]]) if (near) new Image().src = address(near.url);
    if (pictures.length - this.#index < 8) this.wall.collection.next().catch((error) => this.wall.say(error.message));
  }

  /** Whether a control lies over the picture: not over two that are compared. */
  #covered(picture) {
    return this.#overlay >= 0 && this.#overlay < picture.controls.length && this.compare.root.hidden;
  }

  #showOver(picture) {
    this.over.hidden = !this.#covered(picture);
    if (this.over.hidden) return;
    this.over.src = address(`./studio/pictures/${picture.id}/control/${this.#overlay}.png`);
    this.over.style.opacity = String(this.#opacity);
  }

  #showActs(picture) {
    const act = (id, label, name, key, run, primary) => {
      const button = element("button", { type: "button", class: primary ? "text primary" : "text", "data-id": id, onclick: run },
        icon(name, 18), label);
      describe(button, label, [key]);
      return button;
    };
    const binned = picture.deleted;
    const compare = act("compare", this.#pinned ? "Stop comparing" : "Compare", "contrast", "C", () => this.#pin());
    compare.setAttribute("aria-pressed", String(!!this.#pinned));
    this.acts.replaceChildren(...(binned ? [act("restore", "Put back", "undo", "U", () => this.#act("restore"), true)] : [
      act("reopen", "Reopen in its editor", "reopen", "R", () => this.#act("reopen"), true),
      act("vary", "Vary", "dice", "V", () => this.#act("vary")),
      compare,
      act("download", "Download", "download", "S", () => this.#act("download")),
      act("delete", "Delete", "trash", "Del", () => this.#act("delete")),
    ]));
  }

  /** The recipe, when it has come; what is shown already stays until then. */
  async #tell(picture) {
    if (this.told === picture.id) return this.#showControls(picture);
    this.told = picture.id;
    let about;
    try {
      about = await this.wall.collection.about(picture.id);
    } catch (error) {
      if (this.told !== picture.id) return undefined;
      this.told = null;
      return this.words.replaceChildren(element("p", {}, error.message));
    }
    if (this.told !== picture.id) return undefined;
    const made = new Date(picture.created * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    const pairs = [...about.words.filter(([name]) => name !== "Prompt"), ["Made", made]];
    this.controls = element("div", { class: "controls" });
    this.words.replaceChildren(
      element("p", { class: "prompt" }, picture.prompt || "No prompt"),
      element("dl", {}, ...pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
      this.controls);
    this.words.scrollTop = 0;
    return this.#showControls(picture);
  }

  #showControls(picture) {
    keepingFocus(this.root, () => this.#replaceControls(picture));
  }

  #replaceControls(picture) {
    const buttons = picture.controls.map((key, number) => {
      const title = this.wall.titles[key] ?? key;
      const button = element("button", { type: "button", "aria-pressed": String(this.#covered(picture) && this.#overlay === number),
        "aria-label": `Lay ${title} over the picture`,
        "data-id": `control-${number}`, onclick: () => this.#lay(this.#overlay === number ? -1 : number) },
      element("img", { src: address(`./studio/pictures/${picture.id}/control/${number}.png`), alt: "", loading: "lazy" }), title);
      describe(button, "Lay it over the picture", ["O"]);
      return button;
    });
    const fader = slider({ id: "opacity", label: "Opacity", min: 0, max: 1, step: 0.05, value: this.#opacity,
      format: (value) => `${Math.round(value * 100)} %`,
      onInput: (value) => {
        this.#opacity = value;
        this.over.style.opacity = String(value);
      } });
    this.controls?.replaceChildren(...buttons, ...(this.#covered(picture) ? [fader] : []));
  }

  #lay(number) {
    this.#overlay = number;
    this.show();
  }

  #pin() {
    this.#pinned = this.#pinned ? null : this.picture;
    if (this.#pinned) this.wall.say("Go to another picture: the two are shown side by side under a divider.");
    this.show();
  }

  #star() {
    this.#act(this.picture.starred ? "unstar" : "star");
  }

  #act(kind) {
    if (this.picture) this.wall.act(kind, [this.picture.id]);
  }

  #go(by) {
    const to = this.#index + by;
    if (to < 0 || to >= this.wall.collection.pictures.length) return;
    this.#index = to;
    this.show();
  }

  #key(event) {
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) {
      if ((event.ctrlKey || event.metaKey) && event.key === "z") this.wall.undo();
      return;
    }
    const run = {
      ArrowLeft: () => this.#go(-1), ArrowRight: () => this.#go(1),
      Home: () => this.#go(-this.#index), End: () => this.#go(this.wall.collection.pictures.length - 1 - this.#index),
      f: () => this.#star(), c: () => this.#pin(), s: () => this.#act("download"), v: () => this.#act("vary"), r: () => this.#act("reopen"),
        u: () => this.#act("restore"),
      o: () => this.#lay(this.#overlay < this.picture.controls.length - 1 ? this.#overlay + 1 : -1),
      Delete: () => this.#act("delete"), Backspace: () => this.#act("delete"),
    }[event.key];
    if (!run) return;
    event.preventDefault();
    run();
  }
}

function nameOf(picture) {
  return `Seed ${picture.seed}`;
}

function address(url) {
  return new URL(url, document.baseURI).href;
}
