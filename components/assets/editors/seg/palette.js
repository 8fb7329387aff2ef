/** The palette beside the map: the class in hand, search, classes in use, favourites, recents and all the others. */

import { describe, element, iconButton } from "../../shared/controls.js";
import { icon } from "../../shared/icons.js";
import { percent, sharesOf } from "./classes.js";
import { remember, remembered } from "../../shared/memory.js";

const RECENT_MAX = 8;
const FOREIGN = "The model has not learnt this";

export class Palette {
  /** @type {HTMLElement} */
  favoured;
  /** @type {HTMLSpanElement} */
  front;
  /** @type {HTMLSpanElement} */
  back;
  /** @type {HTMLElement} */
  title;
  /** @type {HTMLSpanElement} */
  meaning;
  /** @type {HTMLButtonElement} */
  pair;
  /** @type {HTMLInputElement} */
  input;
  /** @type {HTMLDivElement} */
  list;
  /** @type {HTMLSpanElement} */
  found;
  /** @type {HTMLElement} */
  inUse;
  /** @type {any[]} */
  all;
  /** @type {HTMLDivElement} */
  mix;
  /** @type {HTMLElement} */
  recent;
  /** @type {HTMLButtonElement} */
  star;
  /** actions: choose(index), swap(), replace(from). */
  constructor(shell, table, actions) {
    this.shell = shell;
    this.table = table;
    this.actions = actions;
    this.current = this.previous = -1;
    const known = (list) => (Array.isArray(list) ? list : []).filter((index) => index in table.rows);
    this.favourites = known(remembered("seg.favourites"));
    this.recents = known(remembered("seg.recents"));
    this.counts = new Uint32Array(256);
    this.#build();
  }

  /** The class in hand and the one that X brings back. */
  show(current, previous) {
    [this.current, this.previous] = [current, previous];
    const { name, synonyms } = this.table.rows[current];
    this.front.style.background = this.table.css(current);
    this.back.style.background = this.table.css(previous);
    this.title.textContent = name;
    this.meaning.textContent = this.#isForeign(current) ? FOREIGN : (synonyms ?? []).slice(0, 3).join(", ");
    describe(this.pair, `Swap with ${this.table.name(previous)}`, ["X"]);
    this.pair.setAttribute("aria-label", `Class in hand: ${name}. Swap with ${this.table.name(previous)}`);
    this.#press();
  }

  /** Pixels per class have changed; shown with the next frame. */
  count(counts) {
    this.counts = counts;
    this.requested ||= requestAnimationFrame(() => {
      this.requested = 0;
      if (!this.input.value.trim()) this.#showUse();
    });
  }

  /** A class was painted with. */
  used(index) {
    if (this.recents[0] === index) return;
    this.recents = [index, ...this.recents.filter((other) => other !== index)].slice(0, RECENT_MAX);
    remember("seg.recents", this.recents);
    this.#showRecents();
  }

  toggleFavourite(index = this.current) {
    const had = this.favourites.includes(index);
    this.favourites = had ? this.favourites.filter((other) => other !== index) : [...this.favourites, index];
    remember("seg.favourites", this.favourites);
    this.#showFavourites();
    this.#press();
  }

  /** The table's knowledge of the model changed. */
  relist() {
    this.all = this.#sectionsOfAll();
    this.using = new Map();
    this.order = null;
    this.#render();
    this.show(this.current, this.previous);
  }

  focusSearch() {
    this.input.focus();
    this.input.select();
  }

  // ---- building

  #build() {
    this.front = element("span", { class: "swatch" });
    this.back = element("span", { class: "swatch" });
    this.pair = element("button", { type: "button", class: "pair", "data-id": "swap", onclick: () => this.actions.swap() }, this.back,
      this.front);
    this.title = element("b", { "data-id": "class-in-hand" });
    this.meaning = element("span", {});
    this.star = iconButton({ id: "favourite", label: "Favourite", icon: "star", keys: ["S"], run: () => this.toggleFavourite() });
    this.star.classList.add("act");
    this.input = element("input", { type: "search", placeholder: "Find a class: sea, ocean…",
      "aria-label": "Find a class by name or meaning",
      "data-id": "search", autocomplete: "off", spellcheck: "false", oninput: () => this.#render() });
    this.input.addEventListener("keydown", (event) => this.#searchKey(event));
    this.list = element("div", { class: "classes", role: "region", "aria-label": "Classes", tabindex: "-1" });
    this.list.addEventListener("keydown", (event) => this.#listKey(event));
    this.found = element("span", { class: "sr", role: "status" });
    this.shell.panel.append(
      element("div", { class: "now" }, this.pair, element("div", { class: "words" }, this.title, this.meaning), this.star),
      element("div", { class: "find" }, icon("search", 16), this.input, this.found), this.list);
    // After a press with the mouse the keys belong to the canvas again; whoever came by keyboard stays.
    this.shell.panel.addEventListener("click", (event) => {
      if (event.detail && event.target !== this.input) this.shell.root.focus({ preventScroll: true });
    });
    this.inUse = element("section", { "data-id": "in-use" });
    this.mix = element("div", { class: "mix", "aria-hidden": "true" });
    this.using = new Map(); // from class to its row and its part of the bar, largest first
    this.favoured = element("section", { "data-id": "favourites" });
    this.recent = element("section", { "data-id": "recents" });
    this.all = this.#sectionsOfAll();
    this.#render();
  }

  #sectionsOfAll() {
    const listed = this.table.listed();
    const learnt = listed.filter((index) => this.table.trained.has(index));
    const rest = listed.filter((index) => !this.table.trained.has(index));
    const parts = learnt.length ? [["The model knows", learnt], ["Other classes", rest]] : [["All classes", rest]];
    return parts.filter(([, indices]) => indices.length).map(([title, indices]) =>
      this.#fill(element("section", {}), title, indices.length, indices.map((index) => this.#row(index))));
  }

  /**
   * @param {HTMLElement} section
   * @param {string} title
   * @param {number} note
   * @param {HTMLElement[]} rows
   * @param {HTMLElement | null} [above]
   */
  #fill(section, title, note, rows, above = null) {
    section.hidden = !rows.length;
    section.replaceChildren(element("h3", {}, title, element("span", {}, String(note))), ...(above ? [above] : []),
      element("div", { class: "rows" }, ...rows));
    return section;
  }

  /** `mark` tells classes that the model has seen from others: the "known" among hits, the "foreign" among those in use. */
  /**
   * @param {number} index
   * @param {{ via?: string, share?: number | null, digit?: number, inMap?: boolean, mark?: string }} [how]
   */
  #row(index, { via = "", share = null, digit = 0, inMap = false, mark = "" } = {}) {
    const learnt = this.table.trained.has(index);
    const marked = { known: learnt, foreign: this.#isForeign(index) }[mark] ? mark : "";
    const { table } = this;
    const name = element("span", { class: "name" }, table.name(index), marked ? element("span", { class: marked }) : null,
      via ? element("i", {}, via) : null);
    const part = share === null ? null : element("span", { class: "share" }, percent(share));
    const choose = element("button", { type: "button", class: "class", "data-class": index, "aria-pressed": "false",
      onclick: () => this.actions.choose(index) },
      element("span", { class: "swatch", style: `background:${table.css(index)}` }), name, part,
        digit ? element("kbd", {}, String(digit)) : null);
    choose.setAttribute("aria-label", [table.name(index), share === null ? "" : percent(share)].filter(Boolean).join(", "));
    if (marked) describe(choose, learnt ? "The model was trained on this class" : FOREIGN);
    const star = this.#act("star", "Favourite", () => this.toggleFavourite(index));
    star.dataset.star = String(index);
    const row = element("div", { class: "row" }, choose, inMap ? this.#replacer(index) : null, star);
    return Object.assign(row, { choose, share: part });
  }

  #replacer(index) {
    const button = this.#act("regions", "", () => this.actions.replace(index));
    button.dataset.replace = index;
    return button;
  }

  #act(name, label, run) {
    const button = element("button", { type: "button", class: "act", tabindex: "-1", "aria-label": label, onclick: run }, icon(name, 16));
    describe(button, label);
    return button;
  }

  // ---- showing

  #render() {
    const text = this.input.value.trim();
    this.list.scrollTop = 0;
    if (!text) {
      this.found.textContent = "";
      this.list.replaceChildren(this.inUse, this.favoured, this.recent, ...this.all);
      this.#showUse();
      this.#showFavourites();
      return this.#showRecents();
    }
    const hits = this.table.search(text);
    const nothing = element("p", { class: "none" }, `No class means “${text}”. Try a more general word: animal, plant, building, food.`);
    this.list.replaceChildren(hits.length ? this.#fill(element("section", {}), "Found", hits.length, hits.map(({ index, via }) => this.#row(index, { via, mark: "known" }))) : nothing);
    this.found.textContent = hits.length === 1 ? "1 class" : `${hits.length} classes`;
    return this.#press();
  }

  /** After every stroke, so what is there is changed rather than made anew. */
  #showUse() {
    const shares = sharesOf(this.counts);
    const known = this.using;
    this.using = new Map(shares.map(({ index }) => [index, known.get(index) ?? this.#use(index)]));
    for (const { index, count, share } of shares) {
      const { row, part } = this.using.get(index);
      part.style.flexGrow = count;
      const words = percent(share);
      if (row.share.textContent === words) continue;
      row.share.textContent = words;
      row.choose.setAttribute("aria-label", `${this.table.name(index)}, ${words}`);
    }
    const order = shares.map(({ index }) => index).join();
    if (order === this.order) return;
    this.order = order;
    const all = [...this.using.values()];
    this.mix.replaceChildren(...all.map(({ part }) => part));
    this.#fill(this.inUse, "In this map", shares.length, all.map(({ row }) => row), this.mix);
    this.#press(this.inUse);
  }

  /** What stands for a class in use: its row and its part of the bar. */
  #use(index) {
    const part = element("span", { style: `background:${this.table.css(index)}` });
    describe(part, this.table.name(index));
    return { row: this.#row(index, { share: 0, inMap: true, mark: "foreign" }), part };
  }

  #showFavourites() {
    const rows = this.favourites.map((index, i) => this.#row(index, { digit: i < 9 ? i + 1 : 0, mark: "foreign" }));
    this.#fill(this.favoured, "Favourites", this.favourites.length, rows);
    this.#press(this.favoured);
  }

  #showRecents() {
    const tiles = this.recents.map((index) => {
      const tile = element("button", { type: "button", "data-class": index, "aria-label": this.table.name(index), "aria-pressed": "false",
        onclick: () => this.actions.choose(index) }, element("span", { class: "swatch", style: `background:${this.table.css(index)}` }));
      describe(tile, this.table.name(index));
      return tile;
    });
    this.recent.hidden = !tiles.length;
    this.recent.replaceChildren(element("h3", {}, "Recent"), element("div", { class: "tiles" }, ...tiles));
    this.#press(this.recent);
  }

  /** Bring what is pressed and starred up to date, within a part of the list or everywhere. */
  #press(/** @type {HTMLElement} */ part = this.list) {
    if (this.current < 0) return; // before there is a class in hand
    for (const node of all(part, "[data-class]")) node.setAttribute("aria-pressed", String(Number(node.dataset.class) === this.current));
    for (const node of all(part, "[data-star]")) node.setAttribute("aria-pressed",
      String(this.favourites.includes(Number(node.dataset.star))));
    for (const node of all(part, "[data-replace]")) {
      const label = `Turn every ${this.table.name(Number(node.dataset.replace))} into ${this.table.name(this.current)}`;
      node.setAttribute("aria-label", label);
      describe(node, label);
      node.hidden = Number(node.dataset.replace) === this.current;
    }
    this.star.setAttribute("aria-pressed", String(this.favourites.includes(this.current)));
  }

  #isForeign(index) {
    return this.table.trained.size > 0 && !this.table.trained.has(index);
  }

  // ---- keys

  #searchKey(event) {
    const rows = all(this.list, ".class");
    if (event.key === "Enter" && this.input.value.trim() && rows[0]) {
      this.actions.choose(Number(rows[0].dataset.class));
      this.#leaveSearch();
    } else if (event.key === "Escape") this.#leaveSearch();
    else if (event.key === "ArrowDown" && rows[0]) rows[0].focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #leaveSearch() {
    this.input.value = "";
    this.#render();
    this.shell.root.focus({ preventScroll: true });
  }

  #listKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const rows = all(this.list, ".class");
    const next = rows[rows.indexOf(event.target) + step];
    (next ?? (step < 0 ? this.input : null))?.focus();
    event.preventDefault();
    event.stopPropagation();
  }
}

/**
 * What a selector finds in a part of the list.
 *
 * @param {HTMLElement} part
 * @param {string} selector
 * @returns {HTMLElement[]}
 */
function all(part, selector) {
  return [...part.querySelectorAll(selector)].filter((node) => node instanceof HTMLElement);
}
