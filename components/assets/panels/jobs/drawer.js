/**
 * The Jobs drawer: a button in the page's bar that says how many jobs are open, and a sheet with what runs, what waits and what
 * came out. Closed, it asks nothing and listens only to what others have open. It also takes dropped recipes.
 */

import { clock, took } from "../../shared/amounts.js";
import { catchDrops } from "../../shared/drop.js";
import { DRAWER_STYLE } from "./style.js";
import { element, iconButton, tooltips } from "../../shared/controls.js";
import { icon } from "../../shared/icons.js";
import { STYLE } from "../../shared/style.js";
import { followTheme } from "../../shared/theme.js";
import { follow } from "../../shared/events.js";
import { mounted } from "../../shared/mounted.js";
import { pictureUrl } from "../../shared/progress.js";
import { ask } from "../gallery/collection.js";

const OVER = ["done", "failed", "cancelled"];
const SETTLE_MS = 150;
const DOES = { ready: "free", busy: "at work", starting: "starting", stopped: "stopped", lent: "training", broken: "cannot draw",
  gone: "lost" };

export const mount = mounted(
  (host, data) => new Drawer(host, data),
  (drawer, data, trigger) => {
    drawer.tell = (action) => trigger("action", action);
    drawer.update(data);
  },
  (drawer, data) => drawer.data.jobs_url === data.jobs_url,
);

class Drawer {
  /** @type {() => void} */
  stopTheme;
  /** @type {HTMLDivElement} */
  root;
  /** @type {HTMLSpanElement} */
  badge;
  /** @type {HTMLButtonElement} */
  button;
  /** @type {HTMLDivElement} */
  list;
  fetched = performance.now(); // when the list came
  /** @type {HTMLDialogElement} */
  question;
  /** Tells Python. @type {(action: object) => void} */
  tell = () => {};

  #open = new Set(); // jobs that run or wait, as far as is known
  #live = new Map(); // job -> its newest event
  #unfollow;
  #rows = new Map(); // job -> what changes in its row

  constructor(host, data) {
    this.data = data;
    this.#build(host);
    this.onKey = (event) => this.#key(event);
    this.onCall = () => this.#show(true);
    window.addEventListener("keydown", this.onKey, true); // editors let no key of theirs go on to the page
    window.addEventListener("studio:jobs", this.onCall);
    this.stopDrops = catchDrops(() => this.data.settings_url, (told, onCanvas, goOn) => this.#dropped(told, onCanvas, goOn));
    this.#listen(false);
  }

  update(data) {
    this.data = data;
    this.#open = new Set(data.open);
    this.#badge();
  }

  destroy() {
    this.#unfollow();
    this.stopDrops();
    this.stopTheme();
    clearInterval(this.timer);
    clearTimeout(this.settling);
    window.removeEventListener("keydown", this.onKey, true);
    window.removeEventListener("studio:jobs", this.onCall);
    this.root.remove();
  }

  #build(host) {
    this.badge = element("span", { class: "badge", hidden: true });
    this.button = element("button", { type: "button", class: "opener", "aria-label": "Jobs", "aria-expanded": "false",
      "aria-haspopup": "dialog", "aria-keyshortcuts": "Alt+J", title: "Jobs (Alt+J)", "data-id": "jobs",
      onclick: () => this.#show(!this.sheet.open) }, icon("layers", 18), "Jobs", this.badge);
    this.list = element("div", { class: "list" });
    this.sheet = element("dialog", { class: "jobs", "aria-label": "Jobs" },
      element("div", { class: "head" }, element("h2", {}, "Jobs"),
        iconButton({ id: "close-jobs", label: "Close", icon: "close", keys: ["Esc"], run: () => this.#show(false) })),
      this.list);
    this.sheet.addEventListener("click", (event) => event.target === this.sheet && this.#show(false));
    this.sheet.addEventListener("close", () => this.#closed());
    this.question = element("dialog", { class: "question", "aria-label": "Bring its settings back?" });
    this.root = element("div", { class: "studio drawer" }, this.button, this.sheet, this.question);
    host.append(element("style", {}, STYLE + DRAWER_STYLE), this.root);
    this.stopTheme = followTheme(this.root);
    tooltips(this.root);
  }

  #key(event) {
    // By its place: with Alt held, a Mac types another letter there.
    if (event.code !== "KeyJ" || !event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.#show(!this.sheet.open);
  }

  // ---- listening

  #listen(awake) {
    this.#unfollow?.();
    this.#unfollow = follow(this.data.events_url, (event) => this.#heard(event), { passive: !awake });
  }

  #heard(event) {
    const known = this.#open.has(event.job);
    const last = this.#live.get(event.job);
    this.#live.set(event.job, event);
    if (OVER.includes(event.kind)) this.#open.delete(event.job);
    else this.#open.add(event.job);
    this.#badge();
    if (!this.sheet.open) return;
    if (!known || OVER.includes(event.kind) || last?.kind !== event.kind) this.#soon();
    else this.#progress(event);
  }

  #badge() {
    const count = this.#open.size;
    this.badge.textContent = String(count);
    this.badge.hidden = !count;
    this.button.classList.toggle("busy", count > 0);
    this.button.setAttribute("aria-label", count ? `Jobs, ${count} open` : "Jobs");
  }

  // ---- showing

  async #show(open) {
    if (!open) return this.sheet.close();
    if (this.sheet.open) return undefined;
    this.sheet.showModal();
    this.button.setAttribute("aria-expanded", "true");
    this.#listen(true);
    this.timer = setInterval(() => this.#tick(), 1000);
    return this.#fetch();
  }

  #closed() {
    clearInterval(this.timer);
    this.button.setAttribute("aria-expanded", "false");
    this.#listen(false);
  }

  #soon() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.#fetch(), SETTLE_MS);
  }

  async #fetch() {
    if (!this.sheet.open) return;
    try {
      const told = await ask(new URL(this.data.jobs_url, document.baseURI));
      this.#open = new Set(told.open.map(({ id }) => id));
      this.#badge();
      this.#list(told);
    } catch (error) {
      this.list.replaceChildren(element("p", { class: "empty" }, error.message));
    }
  }

  #list({ open, over, workers }) {
    this.#rows.clear();
    this.fetched = performance.now();
    const running = open.filter(({ state }) => state === "running");
    const waiting = open.filter(({ state }) => state === "queued");
    const part = (title, jobs, row) => (jobs.length ? [element("h3", {}, title), ...jobs.map(row)] : []);
    const parts = [...part("Running", running, (job) => this.#active(job)), ...part("Waiting", waiting, (job) => this.#active(job)),
      ...part("Earlier", over, (job) => this.#ended(job))];
    this.list.replaceChildren(...(parts.length ? parts : [element("div", { class: "empty" }, icon("layers", 36),
      element("strong", {}, "No jobs yet"),
      element("span", {}, "What you generate is listed here while it waits and runs, and when it is done."))]));
    this.list.append(...this.#devices(workers));
    for (const event of this.#live.values()) this.#progress(event);
  }

  /** What each device does, where there are several or one has something to say. */
  #devices(workers) {
    if (workers.length < 2 && !workers.some(({ text }) => text)) return [];
    const row = ({ device, state, text }) => element("li", { class: state, title: text }, element("span", {}, device || "A device"),
      element("span", { class: "state" }, state === "broken" && text ? text : (DOES[state] ?? state)));
    return [element("h3", {}, "Devices"), element("ul", { class: "devices" }, ...workers.map(row))];
  }

  #active(job) {
    const runs = job.state === "running";
    const state = element("span", { class: "state" }, runs ? (job.device ? `Running on ${job.device}` : "Running") : waitWords(job.ahead,
      job.wait_s));
    const bar = element("i", {});
    const thumb = element("img", { class: "thumb", alt: "", hidden: true });
    const stop = element("button", { type: "button", class: "text", onclick: () => this.#cancel(job.id, stop) }, "Cancel");
    this.#rows.set(job.id, { job, state, bar, thumb });
    return element("div", { class: "job" }, element("div", { class: "place" }, thumb),
      element("div", { class: "about" }, this.#title(job), element("div", { class: "bar", hidden: !runs }, bar), state), stop);
  }

  #ended(job) {
    const [first] = job.pictures;
    const place = first
      ? element("img", { class: "thumb", src: new URL(`${first.url}?thumb`, document.baseURI), alt: "" })
      : icon({ failed: "warning", cancelled: "stop" }[job.state] ?? "check", 22);
    const words = { done: doneWords(job), failed: [job.text, job.hint].filter(Boolean).join(" "), cancelled: "Stopped." }[job.state];
    const number = job.state === "failed" && !words.includes(job.id) ? element("code", {}, `Job ${job.id}`) : null;
    // Without a picture, what was asked for comes back: to be changed and tried again.
    const wanted = first ? { kind: "reopen", id: first.id } : job.kind === "recipe" ? { kind: "job", id: job.id } : null;
    const reopen = wanted && element("button", { type: "button", class: "text", onclick: () => this.#reopen(wanted) }, "Reopen");
    return element("div", { class: `job ${job.state}` }, element("div", { class: "place" }, place),
      element("div", { class: "about" }, this.#title(job), element("span", { class: "state" }, words), number), reopen);
  }

  #title(job) {
    const what = job.kind === "detection" ? `Detect: ${job.controls.join(", ")}` : job.prompt || "No prompt";
    return element("span", { class: "title", title: what }, what);
  }

  #progress(event) {
    const row = this.#rows.get(event.job);
    if (!row || OVER.includes(event.kind)) return;
    if (event.kind === "step") {
      row.state.textContent = `Step ${event.step} of ${event.steps}`;
      row.bar.style.width = `${(100 * event.step) / event.steps}%`;
    } else if (event.kind === "loading") row.state.textContent = event.text;
    if (!event.preview) return;
    row.thumb.src = pictureUrl(event.preview);
    row.thumb.hidden = false;
  }

  /** Waiting times run down by themselves. */
  #tick() {
    const past = (performance.now() - this.fetched) / 1000;
    for (const { job, state } of this.#rows.values()) {
      if (job.state === "queued") state.textContent = waitWords(job.ahead, job.wait_s === null ? null : job.wait_s - past);
    }
  }

  // ---- doing

  async #cancel(id, button) {
    button.disabled = true;
    button.textContent = "Stopping…";
    try {
      await ask(new URL(`${this.data.jobs_url}/cancel/${id}`, document.baseURI), { method: "POST" });
    } catch (error) {
      button.textContent = error.message;
    }
    this.#soon();
  }

  #reopen(wanted) {
    this.#show(false);
    this.tell(wanted);
  }

  /** A recipe was dropped. On a canvas the picture itself may be meant: ask. */
  #dropped({ kind, text, file }, onCanvas, goOn) {
    const take = () => this.tell({ kind, text });
    if (!onCanvas) return take();
    const url = URL.createObjectURL(file);
    const answer = (run) => () => {
      this.question.close();
      run();
    };
    this.question.addEventListener("close", () => URL.revokeObjectURL(url), { once: true });
    const whose = kind === "studio" ? "This picture was made here." : "This picture holds settings of another program.";
    this.question.replaceChildren(element("img", { src: url, alt: "" }), element("div", {},
      element("strong", {}, whose),
      element("p", {}, kind === "studio" ? "Bring its prompt, settings and drawing back?" : "Bring its prompt and settings over?"),
      element("div", { class: "answers" },
        element("button", { type: "button", class: "text primary", "data-id": "drop-reopen", onclick: answer(take) }, "Bring them back"),
        element("button", { type: "button", class: "text", "data-id": "drop-picture", onclick: answer(goOn) }, "Use the picture itself"))));
    this.question.showModal();
    return undefined;
  }
}

function waitWords(ahead, seconds) {
  const place = ahead > 0 ? `${ahead} ahead` : "Next in line";
  // What takes longer than it usually does will not be done in 0 s: then the place says all that is known.
  return seconds >= 1 ? `${place}, about ${clock(seconds)}` : place;
}

function doneWords({ kind, pictures, images, seconds }) {
  const all = images === 1 ? "1 picture" : `${images} pictures`;
  const count = kind === "detection" ? "Found"
    : pictures.length < images ? `${pictures.length} of ${images} pictures still here` : all;
  return seconds ? `${count}, took ${took(seconds)}` : count;
}
