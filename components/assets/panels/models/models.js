/**
 * The models: what is on this machine and what could be, in groups, with search. Fetches, checks and deletes by itself through
 * `models_url`; Python hears only which base model shall be used. Files that appear in the folder appear here by themselves.
 */

import { lasting, size } from "../../shared/amounts.js";
import { element, toast } from "../../shared/controls.js";
import { focusedBeside } from "../../shared/focus.js";
import { icon } from "../../shared/icons.js";
import { STYLE } from "../../shared/style.js";
import { followTheme } from "../../shared/theme.js";
import { MODELS_STYLE } from "./style.js";
import { mounted } from "../../shared/mounted.js";

const BUSY_MS = 500; // how often to look while something is being done
const IDLE_MS = 8000; // how often to look for files that were put into the folder
const UNDO_MS = 12000;
const OVER = ["done", "failed", "stopped"];
const KINDS = [
  ["base", "Base models", "What draws. Every picture is made by one of them."],
  ["controlnet", "ControlNets", "Each makes a base model follow one kind of drawing."],
  ["detector", "Detectors", "Find edges, poses, depth and regions in photos."],
  ["lora", "LoRAs", "Small additions: a style, a subject, fewer steps."],
  ["ip_adapter", "IP-Adapters", "Show a base model pictures that the result is to be like."],
  ["image_encoder", "Image encoders", "What IP-Adapters look through."],
  ["vae", "VAEs", "Turn what a base model made into pixels; previews use the tiny one."],
  ["embedding", "Textual inversions", "New words for a prompt."],
  ["tokenizer", "Vocabulary", "What base models in a single file need to read a prompt."],
];

const PREDICTIONS = [["", "as its file says"], ["epsilon", "noise (epsilon)"], ["v_prediction", "velocity (v)"],
  ["sample", "the picture (sample)"]];

export const mount = mounted(
  (host) => new Models(host),
  (page, data, trigger) => {
    page.tell = (id) => trigger("use", id);
    page.update(data);
  },
);

class Models {
  /** @type {() => void} */
  stopTheme;
  /** @type {HTMLDivElement} */
  box;
  /** @type {HTMLDivElement} */
  root;
  /** @type {HTMLDivElement} */
  list;
  /** @type {HTMLInputElement} */
  search;
  /** @type {HTMLButtonElement} */
  opener;
  /** @type {HTMLButtonElement} */
  adder;
  /** @type {HTMLDivElement} */
  room;
  /** @type {HTMLDivElement} */
  kinds;
  /** @type {HTMLDivElement} */
  toasts;
  /** @type {HTMLFormElement} */
  add;
  /** @type {HTMLInputElement} */
  pasted;
  /** @type {HTMLParagraphElement} */
  addSays;
  /** @type {HTMLSelectElement} */
  what;
  /** Tells Python. @type {(id: string) => void} */
  tell = () => {};

  constructor(host) {
    this.rows = [];
    this.sets = [];
    this.works = new Map();
    this.says = new Map(); // id -> [text, class]: what a check or a deed answered
    this.kind = "";
    this.query = "";
    this.adding = false;
    this.#build(host);
    this.wake = () => document.visibilityState === "visible" && this.#load();
    document.addEventListener("visibilitychange", this.wake);
    window.addEventListener("focus", this.wake);
  }

  update(data) {
    const first = !this.data;
    this.data = data;
    if (first) this.#load();
    else this.#show();
  }

  destroy() {
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.wake);
    window.removeEventListener("focus", this.wake);
    this.stopTheme();
    this.box.remove();
  }

  #build(host) {
    this.search = element("input", { type: "search", placeholder: "Find a model", "aria-label": "Find a model", oninput: () => {
      this.query = this.search.value.trim().toLowerCase();
      this.#show();
    } });
    this.room = element("div", { class: "room" });
    const open = this.#button("Add a model", "add", () => this.#open(!this.adding), "push");
    open.setAttribute("aria-expanded", "false");
    this.opener = open;
    this.kinds = element("div", { class: "kinds", role: "group", "aria-label": "Kinds" });
    this.#buildAdd();
    this.list = element("div", { class: "list" });
    this.toasts = element("div", { class: "toasts" });
    this.root = element("div", { class: "studio models", role: "region", "aria-label": "Models" },
      element("div", { class: "head" }, element("div", { class: "find" }, icon("search", 18), this.search), open, this.room),
      this.add, this.kinds, this.list, this.toasts);
    this.box = element("div", { class: "models-box" }, element("style", {}, STYLE + MODELS_STYLE), this.root);
    host.append(this.box);
    this.stopTheme = followTheme(this.root);
  }

  #buildAdd() {
    this.pasted = element("input", { type: "text", "aria-label": "Name, address or path", spellcheck: "false",
      placeholder: "author/model, an address on huggingface.co, or a path in the models folder" });
    this.what = element("select", { "aria-label": "What it is" }, element("option", { value: "" }, "What it is: find out"),
      ...KINDS.filter(([kind]) => !["detector", "tokenizer"].includes(kind)).map(([kind, title]) => element("option", { value: kind },
        title)));
    this.addSays = element("p", { role: "status" });
    this.adder = this.#button("Add", null, () => this.#add(), "push primary");
    this.add = element("form", { class: "add", hidden: true, onsubmit: (event) => {
      event.preventDefault();
      this.#add();
    } }, this.pasted, this.what, this.adder, this.addSays);
  }

  // ---- hearing

  async #load() {
    clearTimeout(this.timer);
    const found = await this.#ask("");
    if (!this.box.isConnected) return;
    if (found) {
      this.rows = found.rows;
      this.sets = found.sets;
      this.where = found.room;
      this.#take(found.works);
      this.#show();
    }
    this.#plan();
  }

  async #look() {
    const before = this.#busy();
    const found = await this.#ask("/works");
    if (!found || !this.box.isConnected) return this.#plan();
    const over = found.works.some((work) => OVER.includes(work.phase) && !OVER.includes(this.works.get(work.id)?.phase ?? "done"));
    this.#take(found.works);
    if (over || before !== this.#busy()) return this.#load();
    for (const work of found.works) this.#showWork(work);
    return this.#plan();
  }

  #plan() {
    clearTimeout(this.timer);
    if (!this.box.isConnected) return;
    const busy = this.#busy();
    this.timer = setTimeout(() => {
      if (document.visibilityState !== "visible") return this.#plan();
      return busy ? this.#look() : this.#load();
    }, busy ? BUSY_MS : IDLE_MS);
  }

  #take(works) {
    this.works = new Map(works.map((work) => [work.id, work]));
  }

  #busy() {
    return [...this.works.values()].filter((work) => !OVER.includes(work.phase)).length;
  }

  /**
   * @param {string} path
   * @param {object | null} [told]  what is sent; null: it only asks
   */
  async #ask(path, told = null) {
    try {
      const url = new URL(this.data.models_url + path, document.baseURI);
      const answer = await fetch(url, told ? { method: "POST", body: JSON.stringify(told) } : {});
      const found = await answer.json();
      if (answer.ok) return found;
      if (!told) return null;
      return { error: `${found.error} ${found.hint}`.trim() };
    } catch {
      return told ? { error: "The studio does not answer. Is it still running?" } : null;
    }
  }

  // ---- showing

  #show() {
    const focused = focusedBeside(this.root)?.dataset.focus;
    if (this.list.querySelector("select:focus")) return; // its list may be open, and would close
    this.#showRoom();
    const matching = this.rows.filter((row) => this.#matches(row));
    this.#showKinds(matching);
    const groups = KINDS.filter(([kind]) => !this.kind || kind === this.kind)
      .map(([kind, title, about]) => [title, about, matching.filter((row) => row.kind === kind)])
      .filter(([, , rows]) => rows.length);
    const sets = this.#setsShown();
    const sections = groups.map((group) => this.#group(...group));
    // Who has none comes for a base model; who has one has to find it again at once.
    const after = this.rows.some((row) => row.kind === "base" && row.here && !row.trouble && (row.hub || row.own)) ? 1 : 0;
    if (sets.length) sections.splice(after, 0, this.#setGroup(sets));
    this.list.replaceChildren(...sections);
    if (!groups.length && !sets.length && this.rows.length) {
      this.list.append(element("p", { class: "none" }, `Nothing here is called "${this.search.value}".`));
    }
    /** @type {HTMLElement | null} */
    const again = focused ? this.root.querySelector(`[data-focus="${CSS.escape(focused)}"]`) : null;
    again?.focus({ preventScroll: true });
  }

  #matches(row) {
    const text = [row.title, row.id, row.note, row.licence, row.family, row.hub, row.place].join(" ").toLowerCase();
    return this.query.split(/\s+/).every((word) => text.includes(word));
  }

  #showRoom() {
    if (!this.where) return;
    const { folder, data, free, bin } = this.where;
    this.room.replaceChildren(element("span", {}, element("code", {}, folder), ` · ${size(free)} free`));
    if (data) this.room.append(element("span", {}, "Drawings and pictures: ", element("code", {}, data)));
    if (bin.count) {
      this.room.append(this.#button(`Empty the bin (${size(bin.size)})`, "trash", () => this.#sure(
        `Remove ${bin.count === 1 ? "one model" : `${bin.count} models`} for good?`, "Remove", () => this.#do("/empty")), "quiet"));
    }
  }

  #showKinds(matching) {
    const chip = (kind, title, count) => element("button", { type: "button", "aria-pressed": String(this.kind === kind),
      "data-focus": `kind.${kind}`,
      onclick: () => {
        this.kind = kind;
        this.#show();
      } }, title, element("span", { class: "count" }, String(count)));
    this.kinds.replaceChildren(chip("", "All", matching.length), chip("set", "Starter sets", this.#setsMatching().length),
      ...KINDS.map(([kind, title]) => [kind, title, matching.filter((row) => row.kind === kind).length])
      .filter(([kind, , count]) => count || kind === this.kind).map(([kind, title, count]) => chip(kind, title, count)));
  }

  #setsMatching() {
    return this.sets.filter((one) => this.#matches({ ...one, hub: "", place: one.parts.map((part) => part.title).join(" "),
      licence: one.licences.join(" ") }));
  }

  /** Among all models, a set that is here whole only takes room. */
  #setsShown() {
    if (this.kind && this.kind !== "set") return [];
    return this.#setsMatching().filter((one) => this.kind === "set" || this.query || !one.here || this.works.has(`set:${one.id}`));
  }

  #setGroup(sets) {
    return element("section", { "aria-label": "Starter sets" },
      element("h2", {}, "Starter sets", element("span", {}, "All that one draws with, in one go.")),
      element("ul", { class: "sets" }, ...sets.map((one) => this.#set(one))));
  }

  #set(one) {
    const id = `set:${one.id}`;
    const work = this.works.get(id);
    const active = work && !OVER.includes(work.phase);
    const bar = element("div", { class: "bar", hidden: true });
    const parts = one.parts.map((part) => element("li", { class: part.here ? "here" : "" }, part.title,
      element("small", {}, part.size ? size(part.size) : "")));
    const lines = [];
    if (work?.phase === "failed") lines.push([`${work.text} ${work.hint}`.trim(), "bad"]);
    if (this.says.has(id)) lines.push(this.says.get(id));
    else if (one.lack && !active) lines.push([one.lack, "warn"]);
    const node = element("li", { class: one.here ? "here" : "", "data-set": one.id },
      element("span", { class: "mark", role: "img", "aria-label": one.here ? "on this machine" : "not here" }),
      element("div", {}, element("div", { class: "name" }, one.title, element("span", { class: "badge" }, one.family)),
        element("div", { class: "facts" }, one.note), element("ul", { class: "parts" }, ...parts),
        element("div", { class: "facts" }, one.licences.join(" · ")),
        ...lines.map(([text, kind]) => element("p", { class: `says ${kind}`, role: "status" }, text))),
      element("div", { class: "deeds" }, ...this.#setDeeds(one, work, active)));
    node.append(bar);
    const line = Object.assign(node, { work: bar });
    this.#fillBar(line, one, work);
    return line;
  }

  #setDeeds(one, work, active) {
    const button = (title, name, run) => {
      const node = this.#button(title, name, run, "push");
      node.dataset.focus = `set:${one.id}`; // Stop and Go on stand in one place, and keys go on there
      node.setAttribute("aria-label", `${title}: ${one.title}`);
      return node;
    };
    if (active && !work.stopping) return [button("Stop", "stop", () => this.#setDeed(one, "stop"))];
    if (one.here) return [];
    const some = one.parts.some((part) => part.here);
    const words = one.begun ? "Go on" : some ? "Download the rest" : "Download";
    const node = button(`${words} (${size(one.size)})`, "download", () => this.#setDeed(one, "download"));
    node.disabled = Boolean(one.lack);
    return [node];
  }

  #group(title, about, rows) {
    const here = rows.filter((row) => row.here && !row.trouble).length;
    const order = (row) => (row.here && !row.trouble ? 0 : this.works.has(row.id) || row.begun ? 1 : row.here ? 2 : 3);
    const sorted = [...rows].sort((one, two) => order(one) - order(two));
    return element("section", { "aria-label": title }, element("h2", {}, title,
      element("span", {}, `${here} of ${rows.length} here · ${about}`)),
      element("ul", {}, ...sorted.map((row) => this.#row(row))));
  }

  #row(row) {
    const work = this.works.get(row.id);
    const classes = [row.here && "here", row.trouble && "troubled"].filter(Boolean).join(" ");
    const facts = [row.size ? size(row.size) : "", row.licence].filter(Boolean).join(" · ");
    const place = row.here ? ["in ", element("b", {}, row.place)] : [row.hub ? `from ${row.hub}` : ""];
    const bar = element("div", { class: "bar", hidden: true });
    const node = element("li", { class: classes, "data-model": row.id },
      element("span", { class: "mark", role: "img", "aria-label": row.here ? "on this machine" : "not here" }),
      element("div", {}, element("div", { class: "name" }, row.title, ...this.#badges(row)),
        row.note ? element("div", { class: "facts" }, row.note) : null,
        element("div", { class: "facts" }, facts, facts ? " · " : "", ...place), this.#predicts(row), ...this.#saying(row, work)),
      element("div", { class: "deeds" }, ...this.#deeds(row, work)));
    node.append(bar);
    const line = Object.assign(node, { work: bar });
    this.#fillBar(line, row, work);
    return line;
  }

  /** What a base model in a single file predicts is chosen in its row: the file itself may not tell. */
  #predicts(row) {
    if (row.predicts === null) return null;
    const choice = element("select", { "aria-label": `What it predicts: ${row.title}`, "data-focus": `${row.id}.predicts`,
      title: "If pictures come out as noise alone, this is the wrong one.", onblur: () => this.#show(), onchange: async () => {
        const answer = await this.#ask(`/${encodeURIComponent(row.id)}/predicts`, { prediction: choice.value });
        this.says.set(row.id, answer.error ? [answer.error, "bad"] : [answer.text, "good"]);
        choice.blur();
        await this.#load();
      } },
    ...PREDICTIONS.map(([value, words]) => element("option", { value, selected: value === row.predicts }, words)));
    return element("label", { class: "facts predicts" }, "Predicts ", choice);
  }

  #badges(row) {
    const badge = (text, kind = "") => element("span", { class: `badge ${kind}` }, text);
    return [row.kind === "base" && row.id === this.data.chosen && badge("In use", "use"), row.family && badge(row.family),
      row.restricted && badge("Non-commercial", "limit"), row.own && badge("Yours")].filter(Boolean);
  }

  #saying(row, work) {
    const says = (text, kind) => element("p", { class: `says ${kind}`, role: "status" }, text);
    const lines = [];
    if (row.trouble) lines.push(says(row.trouble, "warn"));
    if (row.lacks) {
      const fetching = this.works.has(row.lacks.id) && !OVER.includes(this.works.get(row.lacks.id).phase);
      const fetch = this.#button(fetching ? "Coming…" : `Download it (${size(row.lacks.size)})`, null,
        () => this.#deed(row.lacks, "download"), "push small");
      fetch.disabled = fetching;
      lines.push(element("p", { class: "says warn", role: "status" },
        `${row.kind === "base" ? "It cannot read a prompt yet." : "It cannot look at a picture yet."} Missing: ${row.lacks.title}. `,
        fetch));
    }
    if (work?.phase === "failed" && !row.trouble) lines.push(says(`${work.text} ${work.hint}`.trim(), "bad"));
    const said = this.says.get(row.id);
    if (said) lines.push(says(...said));
    return lines;
  }

  #deeds(row, work) {
    const active = work && !OVER.includes(work.phase);
    const button = (deed, title, name, run, kind) => {
      const node = this.#button(title, name, run, kind);
      node.dataset.focus = `${row.id}.${deed}`;
      node.setAttribute("aria-label", `${title}: ${row.title}`);
      return node;
    };
    if (active && !work.stopping) return [button("fetch", "Stop", "stop", () => this.#deed(row, "stop"), "push")];
    if (!row.here) {
      if (!row.hub) return [];
      const deeds = [button("fetch", row.begun || active ? "Go on" : "Download", "download", () => this.#deed(row, "download"), "push")];
      if (row.begun && !active) deeds.unshift(button("discard", "Discard", null, () => this.#deed(row, "discard"), "quiet"));
      return deeds;
    }
    const deeds = [button("check", "Check", null, () => this.#check(row), "quiet")];
    if (row.removable) deeds.push(button("delete", "Delete", "trash", () => this.#delete(row), "quiet"));
    if (row.kind === "base" && row.id !== this.data.chosen && !row.trouble) {
      deeds.push(button("use", "Use this", null, () => this.tell(row.id), "push primary"));
    }
    return deeds;
  }

  #showWork(work) {
    const set = this.sets.find((one) => `set:${one.id}` === work.id);
    const shown = set && this.list.querySelector(`[data-set="${CSS.escape(set.id)}"]`);
    if (shown) this.#fillBar(shown, set, work);
    const node = this.list.querySelector(`[data-model="${CSS.escape(work.id)}"]`);
    const row = this.rows.find((one) => one.id === work.id);
    if (node && row) this.#fillBar(node, row, work);
  }

  #fillBar(node, row, work) {
    const active = work && !OVER.includes(work.phase);
    const begun = !active && !row.here && row.begun;
    node.work.hidden = !active && !begun;
    if (node.work.hidden) return;
    const [done, total] = active ? [work.done, work.total] : row.begun;
    if (!node.track) {
      node.track = element("div", { class: "track", role: "progressbar", "aria-label": `Download of ${row.title}`,
        "aria-valuemin": 0, "aria-valuemax": 100 }, element("i"));
      node.words = element("span");
      node.work.append(node.track, node.words);
    }
    node.work.classList.toggle("paused", !active);
    node.track.classList.toggle("vague", active && !total);
    node.track.firstChild.style.transform = total ? `scaleX(${done / total})` : "";
    if (total) node.track.setAttribute("aria-valuenow", Math.round((100 * done) / total));
    node.words.textContent = progressText(work, active, done, total);
  }

  #button(title, name, run, kind) {
    return element("button", { type: "button", class: kind, onclick: run }, name ? icon(name, 16) : null, title);
  }

  // ---- doing

  async #deed(row, deed) {
    this.says.delete(row.id);
    const answer = await this.#ask(`/${encodeURIComponent(row.id)}/${deed}`, {});
    if (answer.error) this.says.set(row.id, [answer.error, "bad"]);
    await this.#load();
    return !answer.error;
  }

  async #setDeed(one, deed) {
    this.says.delete(`set:${one.id}`);
    const answer = await this.#ask(`/sets/${encodeURIComponent(one.id)}/${deed}`, {});
    if (answer.error) this.says.set(`set:${one.id}`, [answer.error, "bad"]);
    await this.#load();
  }

  async #check(row) {
    this.says.set(row.id, ["Looking…", ""]);
    this.#show();
    const answer = await this.#ask(`/${encodeURIComponent(row.id)}/check`, {});
    this.says.set(row.id, answer.error ? [answer.error, "bad"] : [answer.text, "good"]);
    this.#show();
  }

  #delete(row) {
    this.#sure(`Delete ${row.title} (${size(row.size)})?`, "Delete", async () => {
      if (!(await this.#deed(row, "delete"))) return;
      this.closeUndo?.(); // what can be undone is the last deletion alone
      this.closeUndo = toast(this.toasts, `${row.title} is in the bin.`, [["Undo", () => this.#do("/undo")]], UNDO_MS);
    });
  }

  #sure(question, yes, run) {
    this.closeQuestion?.();
    this.closeQuestion = toast(this.toasts, question, [[yes, run], ["Keep", () => {}]]);
    this.toasts.querySelector("button")?.focus();
  }

  async #do(path) {
    const answer = await this.#ask(path, {});
    toast(this.toasts, answer.error ?? answer.text);
    await this.#load();
  }

  #open(adding) {
    this.adding = adding;
    this.add.hidden = !adding;
    this.opener.setAttribute("aria-expanded", String(adding));
    this.#sayAdd(
      "The files stay where they are; what you drop into checkpoints, controlnet, loras, embeddings, vae or ip_adapters " +
        "appears by itself.",
    );
    if (adding) this.pasted.focus();
  }

  #sayAdd(text, bad = false) {
    this.addSays.textContent = text;
    this.addSays.classList.toggle("bad", bad);
  }

  async #add() {
    this.adder.disabled = true;
    this.#sayAdd("Looking…");
    const answer = await this.#ask("/add", { text: this.pasted.value, kind: this.what.value });
    this.adder.disabled = false;
    if (answer.error) return this.#sayAdd(answer.error, true);
    this.#sayAdd(answer.text);
    this.pasted.value = this.search.value = this.query = this.kind = "";
    if (!answer.here) await this.#ask(`/${encodeURIComponent(answer.id)}/download`, {});
    await this.#load();
    this.list.querySelector(`[data-model="${CSS.escape(answer.id)}"]`)?.scrollIntoView({ block: "nearest" });
    return undefined;
  }
}

function progressText(work, active, done, total) {
  const share = total ? `${size(done) || "0 MB"} of ${size(total)}` : "";
  if (!active) return `stopped at ${share}`;
  if (work.stopping) return `stopping · ${share}`;
  if (work.phase === "waiting") return "waiting for others";
  if (!total) return "starting";
  if (done >= total) return "checking";
  const parts = [share, work.speed ? `${size(work.speed)}/s` : "", work.left_s ? `${lasting(work.left_s)} left` : ""];
  return parts.filter(Boolean).join(" · ");
}
