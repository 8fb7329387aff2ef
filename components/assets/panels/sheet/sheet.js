/**
 * A contact sheet: pictures in rows and columns that fill while their jobs run. A click chooses one; Python hears of that, of
 * Stop, and once of the end.
 */

import { element } from "../../shared/controls.js";
import { icon } from "../../shared/icons.js";
import { STYLE } from "../../shared/style.js";
import { followTheme } from "../../shared/theme.js";
import { follow } from "../../shared/events.js";
import { mounted } from "../../shared/mounted.js";
import { pictureOf, pictureUrl } from "../../shared/progress.js";

const SHEET_STYLE = `
.sheet-of { display: block; border: 0; border-radius: 0; overflow: visible; background: none; }
.sheet-of .grid { display: grid; margin: 0 auto;
  max-width: calc(40px + var(--columns) * var(--ratio) * max(96px, (100vh - 440px) / var(--rows))); gap: 6px;
  grid-template-columns: 40px repeat(var(--columns), minmax(0, 1fr)); align-items: center; }
.sheet-of .name { color: var(--soft); font-variant-numeric: tabular-nums; text-align: center; }
.sheet-of .name.corner { text-align: left; font-size: 11px; line-height: 1.2; }
.sheet-of button.cell { all: unset; box-sizing: border-box; position: relative; aspect-ratio: var(--ratio); background: var(--hover);
  border-radius: 6px;
  overflow: hidden; cursor: pointer; }
.sheet-of button.cell[disabled] { cursor: default; }
.sheet-of button.cell:not([disabled]):hover { outline: 2px solid var(--accent); outline-offset: 1px; }
.sheet-of .cell img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: cover; }
.sheet-of .cell[data-state=running] img { filter: saturate(.7); }
.sheet-of .cell i { position: absolute; left: 0; bottom: 0; height: 3px; width: 100%; background: var(--accent); transform-origin: 0 0;
  transform: scaleX(0); }
.sheet-of .cell span { position: absolute; inset: 0; display: grid; place-items: center; color: var(--soft); font-size: 12px;
  text-align: center; padding: 4px; }
.sheet-of .foot { display: flex; align-items: center; gap: 8px; height: 40px; color: var(--soft); }
.sheet-of .stop { background: var(--hover); height: 28px; color: var(--text); }
`;
const WORDS = { waiting: "", queued: "", failed: "did not work", "left out": "–" };
const told = new Set(); // sheets whose end Python has heard of

export const mount = mounted(
  (host) => new Sheet(host),
  (sheet, data, trigger) => {
    sheet.tell = (action) => trigger("action", action);
    sheet.update(data);
  },
);

class Sheet {
  /** Tells Python. @type {(action: object) => void} */
  tell = () => {};

  cells = new Map(); // job -> its cell
  stopping = false;

  constructor(host) {
    this.grid = element("div", { class: "grid" });
    this.status = element("span", { class: "hint", role: "status" });
    this.stop = element("button", { type: "button", class: "text stop", onclick: () => this.#stop() }, icon("stop", 16), "Stop");
    this.root = element("div", { class: "studio sheet-of", role: "region", "aria-label": "Contact sheet" },
      this.grid, element("div", { class: "foot" }, this.status, this.stop));
    host.append(element("style", {}, STYLE + SHEET_STYLE), this.root);
    this.stopTheme = followTheme(this.root);
  }

  update(data) {
    const fresh = data.id !== this.data?.id;
    this.data = data;
    if (fresh) this.#build();
    for (const cell of data.cells) this.#take(cell.job, { state: cell.state, url: cell.url, text: cell.text });
    this.#tally();
    if (this.over) this.#unfollow();
    else this.endStream ??= follow(data.events_url, (event) => this.#hear(event));
  }

  destroy() {
    this.#unfollow();
    this.stopTheme();
    this.root.remove();
  }

  get over() {
    return [...this.cells.values()].every(({ state }) => ["done", "failed", "left out"].includes(state));
  }

  #build() {
    const { columns, rows, corner, cells, ratio } = this.data;
    this.stopping = false;
    this.root.style.setProperty("--columns", columns.length);
    this.root.style.setProperty("--rows", rows.length);
    this.root.style.setProperty("--ratio", ratio);
    this.cells = new Map();
    const name = (text, more = "") => element("div", { class: `name ${more}` }, text);
    this.grid.replaceChildren(name(corner, "corner"), ...columns.map((text) => name(text)));
    cells.forEach((cell, index) => {
      if (index % columns.length === 0) this.grid.append(name(rows[index / columns.length]));
      const image = element("img", { alt: "", hidden: true });
      const [bar, words] = [element("i"), element("span")];
      const node = element("button", { type: "button", class: "cell", disabled: true, "aria-label": cell.label,
        onclick: () => this.tell({ kind: "adopt", cell: index }) }, image, words, bar);
      this.grid.append(node);
      this.cells.set(cell.job, { node, image, bar, words, state: "waiting" });
    });
  }

  /**
   * What is newly known of a cell; what came to an end stays so. `share` 0..1 is how far it is.
   *
   * @param {string} job
   * @param {{state: string, url?: string, text?: string, preview?: string | null, share?: number}} news
   */
  #take(job, { state, url, text = "", preview, share }) {
    const cell = this.cells.get(job);
    if (!cell || (["done", "failed", "left out"].includes(cell.state) && state !== "done")) return;
    if (cell.state === "running" && state === "queued") return; // Python knows less of a running job than we do
    cell.state = state;
    cell.node.dataset.state = state;
    const address = url ? new URL(url, document.baseURI).href : preview ?? null;
    if (address && cell.image.src !== address) cell.image.src = address;
    cell.image.hidden = !cell.image.getAttribute("src");
    cell.node.disabled = state !== "done";
    cell.node.title = state === "failed" ? text : "";
    cell.words.textContent = state === "running" ? "" : WORDS[state] ?? "";
    cell.bar.style.transform = `scaleX(${state === "running" ? share ?? 0 : 0})`;
  }

  #tally() {
    const states = [...this.cells.values()].map(({ state }) => state);
    const done = states.filter((state) => state === "done").length;
    this.stop.hidden = this.over;
    this.stop.disabled = this.stopping;
    this.status.textContent = this.over ? (done ? "Click a picture to use its strength and end." : "No picture came.")
      : this.stopping ? "Stopping…" : `${done} of ${states.length}`;
    if (!this.over || told.has(this.data.id) || this.data.over) return;
    told.add(this.data.id);
    this.tell({ kind: "over", cell: 0 });
  }

  #hear(event) {
    if (!this.cells.has(event.job)) return;
    const { kind, job } = event;
    if (kind === "step") {
      const preview = event.preview ? pictureUrl(event.preview) : null;
      this.#take(job, { state: "running", preview, share: event.steps ? event.step / event.steps : 0 });
    } else if (kind === "done" && event.pictures?.length) this.#take(job,
      { state: "done", url: `${pictureOf(event.pictures[0]).url}?thumb` });
    else if (kind === "failed") this.#take(job, { state: "failed", text: event.text });
    else if (kind === "cancelled") this.#take(job, { state: "left out" });
    this.#tally();
    if (this.over) this.#unfollow();
  }

  #stop() {
    this.stopping = true;
    this.#tally();
    this.tell({ kind: "stop", cell: 0 });
  }

  #unfollow() {
    this.endStream?.();
    this.endStream = null;
  }
}
