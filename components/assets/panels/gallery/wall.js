/**
 * The picture wall: everything that was made here, in rows that fill the width; only what is on the screen is in the page, so
 * ten thousand pictures scroll like ten. Looks, finds, chooses, stars, deletes; Python hears only of "reopen".
 */

import { element, iconButton, select, tooltips } from "../../shared/controls.js";
import { focusedBeside, keepingFocus } from "../../shared/focus.js";
import { icon } from "../../shared/icons.js";
import { STYLE } from "../../shared/style.js";
import { followTheme } from "../../shared/theme.js";
import { follow } from "../../shared/events.js";
import { Collection } from "./collection.js";
import { Large } from "./large.js";
import { below, between, dayOf, layOut } from "./layout.js";
import { WALL_STYLE } from "./style.js";
import { mounted } from "../../shared/mounted.js";

const GAP = 8;
const ZOOM = { least: 96, most: 320, usual: 192 };
const SEARCH_DELAY_MS = 200;
const NOTE_MS = 6000;
const SIBLINGS = 4;
const FRAME_MS = 600_000;
const SHELVES = [["all", "All", null], ["starred", "Starred", "star"], ["bin", "Bin", "trash"]];
const NOTHING = {
  all: ["picture", "Nothing here yet",
    "What you generate is kept and appears on this page. Drop a picture that was made here to bring its settings back."],
  starred: ["star", "No stars yet", "Star a picture to find it here again."],
  bin: ["trash", "The bin is empty", "Deleted pictures wait here for seven days."],
};

export const mount = mounted(
  (host, data) => new Wall(host, data),
  (wall, _data, trigger) => {
    wall.tell = (action) => trigger("action", action);
  },
  (wall, data) => wall.data.gallery_url === data.gallery_url,
);

class Wall {
  /** @type {HTMLDivElement} */
  root;
  /** @type {HTMLDivElement} */
  scroll;
  /** @type {() => void} */
  stopTheme;
  /** @type {HTMLDivElement} */
  sheet;
  /** @type {HTMLDivElement} */
  none;
  /** @type {HTMLSpanElement} */
  count;
  /** @type {HTMLSpanElement} */
  conditions;
  /** @type {HTMLSpanElement} */
  shelves;
  /** @type {HTMLDivElement} */
  usual;
  /** @type {HTMLDivElement} */
  chosen;
  /** @type {HTMLButtonElement} */
  emptyButton;
  /** @type {{top: number, height: number, tiles?: {index: number}[]}[] | undefined} */
  lines;
  height = 0; // of all lines together
  /** Tells Python. @type {(action: object) => void} */
  tell = () => {};

  #picked = new Set();
  #last = -1; // where a range of picks begins
  #focus = 0;
  #zoom = ZOOM.usual;
  #nodes = new Map(); // line -> its element
  /** Takes the last deed back. @type {(() => void) | null} */
  #undo = null;
  /** @type {HTMLInputElement} */
  field;
  /** @type {HTMLInputElement} */
  zoom;

  constructor(host, data) {
    this.data = data;
    this.titles = data.controls;
    this.collection = new Collection(data.gallery_url, () => this.#changed());
    this.#build(host);
    this.large = new Large(this);
    this.root.append(this.large.root);
    this.sizes = new ResizeObserver(() => this.#arrange());
    this.sizes.observe(this.scroll);
    this.unfollow = follow(data.events_url, (event) => this.#heard(event), { passive: true });
    this.#search({});
  }

  destroy() {
    this.unfollow();
    this.unfollowJob?.();
    this.sizes.disconnect();
    this.stopTheme();
    clearTimeout(this.timer);
    clearTimeout(this.noteTimer);
    this.large.close();
    this.root.remove();
  }

  // ---- building

  #build(host) {
    this.field = element("input", { type: "search", placeholder: "Search prompts", "aria-label": "Search prompts", "data-id": "search",
      maxlength: 400,
      oninput: () => this.#later(() => this.#search({ text: this.field.value })) });
    this.conditions = element("span", {});
    this.shelves = element("span", { class: "shelves", role: "group", "aria-label": "Which pictures" });
    this.zoom = element("input", { type: "range", class: "zoom", min: ZOOM.least, max: ZOOM.most, value: this.#zoom,
      "aria-label": "Size of the pictures",
      oninput: () => this.#resize(Number(this.zoom.value)) });
    this.count = element("span", { class: "count", role: "status" });
    this.usual = element("div", { class: "tools" }, this.field, this.conditions, this.shelves, this.count, this.zoom,
      iconButton({ id: "download-all", label: "Download what is shown", icon: "download", run: () => this.#download(null) }));
    this.chosen = element("div", { class: "tools", hidden: true });
    this.sheet = element("div", { class: "stack", role: "group", "aria-label": "Pictures" });
    this.none = element("div", { class: "none", hidden: true });
    this.scroll = element("div", { class: "scroll" }, this.sheet, this.none);
    this.scroll.addEventListener("scroll", () => this.#draw(), { passive: true });
    this.root = element("div", { class: "studio wall", role: "region", "aria-label": "Gallery", tabindex: "-1" }, this.usual, this.chosen,
      this.scroll);
    this.root.addEventListener("keydown", (event) => this.#key(event));
    host.append(element("style", {}, STYLE + WALL_STYLE), this.root);
    this.stopTheme = followTheme(this.root);
    tooltips(this.root);
    this.#resize(this.#zoom);
  }

  #resize(zoom) {
    this.#zoom = Math.min(ZOOM.most, Math.max(ZOOM.least, zoom));
    this.zoom.value = String(this.#zoom);
    this.zoom.style.setProperty("--fill", `${((this.#zoom - ZOOM.least) / (ZOOM.most - ZOOM.least)) * 100}%`);
    this.#arrange();
  }

  // ---- finding

  #later(run) {
    clearTimeout(this.timer);
    this.timer = setTimeout(run, SEARCH_DELAY_MS);
  }

  async #search(query) {
    try {
      await this.collection.search(query);
      this.#picked.clear();
      this.scroll.scrollTop = 0;
      this.#focus = 0;
      this.#changed();
    } catch (error) {
      if (this.collection.pictures.length) this.say(error.message);
      else this.#showNone("warning", "The gallery could not be read", error.message);
    }
  }

  #heard(event) {
    if (event.kind !== "done" || !event.pictures?.length || this.collection.query.shelf !== "all") return;
    const known = new Set(this.collection.pictures.map(({ id }) => id));
    if (!event.pictures.some(({ id }) => !known.has(id))) return;
    const [top, height] = [this.scroll.scrollTop, this.height];
    this.collection.fresh().then((came) => {
      if (came && top > 0) this.scroll.scrollTop = top + (this.height - height);
    }).catch(() => {}); // the next search brings them
  }

  // ---- showing

  #changed() {
    const known = new Set(this.collection.pictures.map(({ id }) => id));
    for (const id of this.#picked) if (!known.has(id)) this.#picked.delete(id);
    keepingFocus(this.root, () => {
      this.#arrange();
      this.#showTools();
    });
    this.large?.show();
  }

  #arrange() {
    const width = this.sheet.clientWidth;
    if (!width || !this.collection) return;
    const now = new Date();
    const pictures = this.collection.pictures.map((one) => ({ width: one.width, height: one.height, day: dayOf(one.created, now) }));
    const { lines, height } = layOut(pictures, { width, target: this.#zoom, gap: GAP });
    Object.assign(this, { lines, height });
    this.sheet.style.height = `${height + 24}px`;
    for (const node of this.#nodes.values()) node.remove();
    this.#nodes.clear();
    const { query, loading } = this.collection;
    if (pictures.length || loading) this.none.hidden = true;
    else if (query.text || query.control) this.#showNone("search", "Nothing fits", "Search for other words, or all controls.");
    else this.#showNone(...NOTHING[query.shelf]);
    this.#draw();
  }

  #showNone(name, title, text) {
    this.none.replaceChildren(icon(name, 40), element("strong", {}, title), element("span", {}, text));
    this.none.hidden = false;
    this.sheet.style.height = "0";
  }

  /** Put the lines around the screen into the page, take the others out. */
  #draw() {
    if (!this.lines) return;
    const [from, screen] = [this.scroll.scrollTop, this.scroll.clientHeight];
    const wanted = new Set(between(this.lines, from - screen, from + 2 * screen));
    for (const [line, node] of this.#nodes) {
      if (wanted.has(line)) continue;
      if (node.contains(focusedBeside(this.root))) continue;
      node.remove();
      this.#nodes.delete(line);
    }
    for (const line of wanted) {
      if (this.#nodes.has(line)) continue;
      const node = line.tiles ? this.#row(line) : element("h2", { class: "line day" }, line.day);
      node.style.top = `${line.top}px`;
      node.style.height = `${line.height}px`;
      this.#nodes.set(line, node);
      this.sheet.append(node);
    }
    if (this.height - from < 3 * screen) this.collection.next().catch((error) => this.say(error.message));
  }

  #row(line) {
    return element("div", { class: "line", role: "presentation" }, ...line.tiles.map((tile) => this.#tile(tile)));
  }

  #tile({ index, left, width }) {
    const picture = this.collection.pictures[index];
    const image = element("img", { src: new URL(`${picture.url}?thumb`, document.baseURI), alt: "", loading: "lazy", decoding: "async",
      draggable: "false" });
    const words = picture.prompt || "No prompt";
    const look = element("button", { class: "look", type: "button", "aria-label": words, "data-index": index,
      tabindex: index === this.#focus ? "0" : "-1",
      onclick: (event) => this.#press(event, index), onfocus: () => (this.#focus = index) }, image,
        element("span", { class: "shade", "aria-hidden": "true" }, words));
    const mark = (kind, name, label, on, run) => element("button",
      { class: `mark ${kind}`, type: "button", "aria-label": label, "aria-pressed": String(on), tabindex: "-1", onclick: run },
      icon(name, 16));
    const picked = this.#picked.has(picture.id);
    const tile = element("div", { class: picked ? "tile picked" : "tile" }, look,
      mark("pick", "check", "Choose", picked, (event) => this.#pick(index, event.shiftKey)),
      picture.deleted ? null : mark("star", "star", "Star", picture.starred,
        () => this.act(picture.starred ? "unstar" : "star", [picture.id])));
    tile.style.left = `${left}px`;
    tile.style.width = `${width}px`;
    return tile;
  }

  #showTools() {
    const { query, total, controls, binned, loading } = this.collection;
    this.count.textContent = this.status ?? (loading ? "" : `${total.toLocaleString()} ${total === 1 ? "picture" : "pictures"}`);
    /** @type {[value: string, text: string][]} */
    const options = [["", "All controls"], ...Object.entries(this.titles).filter(([key]) => controls[key] || key === query.control)
      .map(([key, title]) => /** @type {[string, string]} */ ([key, `${title} (${controls[key] ?? 0})`]))];
    const known = JSON.stringify([options, query.control]);
    if (known !== this.conditionsKey) {
      this.conditionsKey = known;
      this.conditions.replaceChildren(select({ id: "condition", label: "Control", options, value: query.control,
        onInput: (control) => this.#search({ control }) }));
    }
    this.shelves.replaceChildren(...SHELVES.map(([key, title, name]) => element("button",
      { type: "button", "aria-pressed": String(key === query.shelf),
      "data-id": `shelf-${key}`, onclick: () => this.#search({ shelf: key }) }, name && icon(name, 16),
        key === "bin" && binned ? `${title} (${binned})` : title)));
    this.#showChosen();
  }

  #showChosen() {
    const ids = [...this.#picked];
    const bin = this.collection.query.shelf === "bin";
    this.root.classList.toggle("picking", ids.length > 0);
    this.usual.hidden = ids.length > 0;
    this.chosen.hidden = !ids.length && !(bin && this.collection.total);
    if (bin && !ids.length) this.chosen.hidden = true;
    const act = (id, label, name, run, primary) => element("button",
      { type: "button", class: primary ? "text primary" : "text", "data-id": id, onclick: run }, icon(name, 18), label);
    const deeds = bin ? [act("restore", "Put back", "undo", () => this.act("restore", ids), true)] : [
      ids.length === 2 ? act("compare", "Compare", "contrast", () => this.#comparePicked(), true) : null,
      act("star-all", "Star", "star", () => this.act("star", ids)),
      act("download-chosen", "Download", "download", () => this.#download(ids)),
      act("delete-chosen", "Delete", "trash", () => this.act("delete", ids)),
    ];
    this.chosen.replaceChildren(
      iconButton({ id: "clear", label: "Choose none", icon: "close", keys: ["Esc"], run: () => this.#clear() }),
      element("span", {}, ids.length === 1 ? "1 chosen" : `${ids.length} chosen`), element("span", { class: "spring" }),
        ...deeds.filter((one) => one !== null));
    if (bin && !ids.length && this.collection.total) {
      if (!this.usual.contains(this.emptyButton)) {
        this.emptyButton = element("button", { type: "button", class: "text", "data-id": "empty-bin", onclick: () => this.#empty() },
          icon("trash", 18), "Empty the bin");
        this.count.after(this.emptyButton);
      }
    } else this.emptyButton?.remove();
  }

  // ---- choosing

  #press(event, index) {
    const picks = event.shiftKey || event.ctrlKey || event.metaKey || (this.#picked.size && event.pointerType === "touch");
    if (picks) this.#pick(index, event.shiftKey);
    else this.large.open(index);
  }

  #pick(index, range) {
    const { pictures } = this.collection;
    const on = !this.#picked.has(pictures[index].id);
    const [from, to] = range && this.#last >= 0 ? [Math.min(this.#last, index), Math.max(this.#last, index)] : [index, index];
    for (const { id } of pictures.slice(from, to + 1)) {
      if (on || range) this.#picked.add(id);
      else this.#picked.delete(id);
    }
    this.#last = index;
    this.#refresh();
  }

  #clear() {
    this.#picked.clear();
    this.#refresh();
  }

  /** Draw the tiles again where they are. */
  #refresh() {
    const focused = focusedBeside(this.root)?.dataset.index;
    for (const [line, node] of this.#nodes) {
      if (line.tiles) node.replaceChildren(...line.tiles.map((tile) => this.#tile(tile)));
    }
    if (focused !== undefined) this.#focusOn(Number(focused));
    this.#showTools();
  }

  #comparePicked() {
    const [older, newer] = [...this.#picked].map((id) => this.collection.pictures.findIndex((one) => one.id === id)).sort((a, b) => b - a);
    this.large.open(newer, this.collection.pictures[older]);
  }

  // ---- deeds

  /** Do something with some pictures: star, unstar, delete, restore, download, vary, reopen. */
  async act(kind, ids) {
    if (kind === "download") return this.#download(ids);
    if (kind === "vary") return this.#vary(ids[0]);
    if (kind === "reopen") {
      this.large.close();
      return this.tell({ kind: "reopen", id: ids[0] });
    }
    try {
      const done = await this.collection.deed(kind, ids);
      if (!done.length) return undefined; // it has happened already
      const many = done.length === 1 ? "The picture is" : `${done.length} pictures are`;
      const back = { delete: "restore", restore: "delete" }[kind];
      if (kind === "delete") this.#picked.clear();
      if (back) this.#undo = () => this.#takeBack(back, done);
      if (kind === "delete") this.say(`${many} in the bin.`, ["Undo", () => this.undo()]);
      else if (kind === "restore") this.say(`${many} back.`);
      this.#changed();
    } catch (error) {
      this.say(error.message);
    }
    return undefined;
  }

  /** Take the last deletion (or restoring) back. */
  undo() {
    const undo = this.#undo;
    this.#undo = null;
    undo?.();
  }

  async #takeBack(deed, ids) {
    try {
      await this.collection.deed(deed, ids);
      await this.collection.search({});
      this.say(deed === "restore" ? "Taken back." : "Back in the bin.");
    } catch (error) {
      this.say(error.message);
    }
  }

  async #empty() {
    const { total } = this.collection;
    if (!window.confirm(`Remove ${total === 1 ? "this picture" : `these ${total} pictures`} for good?`)) return;
    try {
      await this.collection.empty();
    } catch (error) {
      this.say(error.message);
    }
  }

  async #vary(id) {
    try {
      const job = await this.collection.vary(id, SIBLINGS);
      this.say(`${SIBLINGS} variations with other seeds are being made.`,
        ["Show jobs", () => window.dispatchEvent(new CustomEvent("studio:jobs"))]);
      this.unfollowJob?.();
      this.unfollowJob = follow(this.data.events_url, (event) => this.#watch(event, job));
    } catch (error) {
      this.say(error.message);
    }
  }

  #watch(event, job) {
    if (event.job !== job) return;
    const over = ["done", "failed", "cancelled"].includes(event.kind);
    const share = Math.round((100 * event.step) / event.steps);
    this.status = over ? null : event.kind === "step" ? `Making variations: ${share} %` : "Variations wait their turn";
    if (event.kind === "failed") this.say(`${event.text} ${event.hint}`);
    if (over) setTimeout(() => this.unfollowJob?.(), 0);
    this.#showTools();
  }

  /** One picture is a PNG, several are a ZIP; without ids everything that is shown. */
  #download(ids) {
    const one = ids?.length === 1 ? this.collection.pictures.find(({ id }) => id === ids[0]) : null;
    if (one) {
      const link = element("a", { href: new URL(one.url, document.baseURI), download: one.name });
      this.root.append(link);
      link.click();
      link.remove();
      return;
    }
    const given = ids ? { ids: ids.join(" ") } : this.collection.query;
    const fields = Object.entries(given).filter(([, value]) => value).map(([name, value]) => element("input",
      { type: "hidden", name, value }));
    // Into a frame of its own: a refusal must not take the page's place. In the document: not every browser sends a form from
    // within a shadow root.
    const frame = element("iframe", { name: "studio-zip", hidden: true });
    const form = element("form", { method: "post", action: this.collection.zip, target: "studio-zip", hidden: true }, ...fields);
    document.body.append(frame, form);
    form.submit();
    form.remove();
    setTimeout(() => frame.remove(), FRAME_MS);
  }

  /**
   * A note at the bottom for a while, with one thing to do about it.
   *
   * @param {string} text
   * @param {[words: string, run: () => void] | null} [deed]
   */
  say(text, deed = null) {
    this.note?.remove();
    clearTimeout(this.noteTimer);
    const button = deed && element("button", { type: "button", onclick: () => {
      this.note?.remove();
      deed[1]();
    } }, deed[0]);
    this.note = element("div", { class: "note", role: "status" }, text, button);
    (this.large.isOpen ? this.large.root : this.root).append(this.note);
    this.noteTimer = setTimeout(() => this.note?.remove(), NOTE_MS);
  }

  /** The large view closed at picture `index`: that is where the keys go on. */
  shown(index) {
    if (index < 0 || !this.collection.pictures.length) return;
    this.#focusOn(Math.min(index, this.collection.pictures.length - 1));
  }

  // ---- keys

  #focusOn(index) {
    this.#focus = index;
    const line = this.lines?.find((one) => one.tiles?.some((tile) => tile.index === index));
    if (!line) return;
    const { scrollTop, clientHeight } = this.scroll;
    if (line.top < scrollTop) this.scroll.scrollTop = line.top - GAP;
    else if (line.top + line.height > scrollTop + clientHeight) this.scroll.scrollTop = line.top + line.height - clientHeight + GAP;
    this.#draw();
    for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (this.sheet.querySelectorAll("button.look"))) {
      const here = Number(button.dataset.index) === index;
      button.tabIndex = here ? 0 : -1;
      if (here) button.focus({ preventScroll: true });
    }
  }

  #key(event) {
    event.stopPropagation(); // Streamlit binds plain letters
    const typing = event.target.matches("input, select");
    if (event.target === this.field && event.key === "Escape") {
      if (this.field.value) {
        this.field.value = "";
        this.#search({ text: "" });
      } else this.field.blur();
    }
    if (typing || event.altKey || this.large.isOpen) return;
    const control = event.ctrlKey || event.metaKey;
    const { pictures } = this.collection;
    const focused = event.target.matches("button.look") ? this.#focus : -1;
    const ids = this.#picked.size ? [...this.#picked] : focused >= 0 ? [pictures[focused].id] : [];
    const run = control ? {
      a: () => {
        for (const { id } of pictures) this.#picked.add(id);
        this.#refresh();
      },
      z: () => this.undo(),
    }[event.key] : {
      "/": () => this.field.focus(), Escape: () => this.#clear(),
      "+": () => this.#resize(this.#zoom + 24), "-": () => this.#resize(this.#zoom - 24),
      ArrowLeft: () => this.#focusOn(Math.max(0, this.#focus - 1)),
        ArrowRight: () => this.#focusOn(Math.min(pictures.length - 1, this.#focus + 1)),
      ArrowUp: () => this.#focusOn(below(this.lines, this.#focus, -1)), ArrowDown: () => this.#focusOn(below(this.lines, this.#focus, 1)),
      Home: () => this.#focusOn(0), End: () => this.#focusOn(pictures.length - 1),
      x: () => focused >= 0 && this.#pick(focused, false), " ": () => focused >= 0 && this.#pick(focused, false),
      f: () => ids.length && this.act(pictures.find(({ id }) => id === ids[0])?.starred ? "unstar" : "star", ids),
      c: () => this.#picked.size === 2 && this.#comparePicked(),
      r: () => ids.length === 1 && this.act("reopen", ids), v: () => ids.length === 1 && this.#vary(ids[0]),
        s: () => ids.length && this.#download(ids),
      Delete: () => ids.length && this.act(this.collection.query.shelf === "bin" ? "restore" : "delete", ids),
    }[event.key];
    // Space and Enter press the button that has the focus, unless it is a picture.
    if (!run || !pictures.length || (event.key === " " && focused < 0)) return;
    event.preventDefault();
    run();
  }
}
