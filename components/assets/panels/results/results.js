/**
 * The result pane: the place where the next picture will be, filled in turn by a friendly word, the wait, the live preview and
 * the pictures. Listens to the job's events by itself; Python hears only of what people press, and of the end.
 */

import { COMPARE_STYLE, Compare } from "../../shared/compare.js";
import { element, iconButton, slider, tooltips } from "../../shared/controls.js";
import { keepingFocus } from "../../shared/focus.js";
import { icon } from "../../shared/icons.js";
import { STYLE } from "../../shared/style.js";
import { followTheme } from "../../shared/theme.js";
import { Following, PROGRESS_STYLE, ProgressBar } from "../../shared/following.js";
import { mounted } from "../../shared/mounted.js";
import { IDLE, pictureOf } from "../../shared/progress.js";
import { weighWords } from "../../shared/weigh.js";
import { LIVE_STYLE, LiveView } from "./live.js";
import { RESULT_STYLE } from "./style.js";

const ACTIONS = {
  keep: ["Keep this seed", "pin"], vary: ["Vary: same settings, new seed", "dice"],
  reopen: ["Bring its settings back", "reopen"], photo: ["Use as photo", "camera"],
};
const told = new Set(); // jobs whose end Python has heard of

export const mount = mounted(
  (host) => new Pane(host),
  (pane, data, trigger) => {
    pane.tell = (action) => trigger("action", action);
    pane.update(data);
  },
);

class Pane {
  /** @type {HTMLDivElement} */
  root;
  /** @type {LiveView} */
  live;
  /** @type {() => void} */
  stopTheme;
  /** @type {HTMLImageElement} */
  control;
  /** @type {HTMLImageElement} */
  image;
  /** @type {HTMLImageElement} */
  ghost;
  /** @type {HTMLDivElement} */
  words;
  /** @type {Compare} */
  compare;
  /** @type {ProgressBar} */
  bar;
  /** @type {HTMLSpanElement} */
  status;
  /** @type {HTMLButtonElement} */
  stop;
  /** @type {HTMLSpanElement} */
  elapsed;
  /** @type {HTMLDivElement} */
  strip;
  /** @type {Slider} */
  fader;
  /** @type {HTMLSpanElement} */
  buttons;
  /** Tells Python. @type {(action: object) => void} */
  tell = () => {};

  constructor(host) {
    this.following = null;
    this.index = 0;
    this.overlaid = false;
    this.comparing = false;
    this.opacity = 0.5;
    this.earlier = null; // the picture that was here before the present ones
    this.other = null; // the one that is compared with
    this.#build(host);
    weighWords(); // the prompt stands beside every pane
  }

  update(data) {
    const before = this.data;
    this.data = data;
    this.root.style.height = data.height;
    this.root.dataset.images = data.images > 1 ? "several" : "one";
    if (data.job !== before?.job || data.events_url !== before?.events_url) this.#follow();
    this.live.follow(data.live ?? null); // after that: a pane that is put up anew shows the live picture that is there
    if (before && data.job && data.job !== before.job) this.#come();
    if (JSON.stringify(data.pictures) !== JSON.stringify(before?.pictures) && this.state.phase !== "done") this.index = 0;
    this.#show();
  }

  destroy() {
    this.following?.leave();
    this.live.leave();
    this.stopTheme();
    this.root.remove();
  }

  /** Come into view: where the window is low, the pane lies below what was pressed. */
  #come() {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.root.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
  }

  // ---- listening

  #follow() {
    this.earlier = this.pictures[this.index] ?? this.earlier;
    this.other = null;
    this.comparing = false;
    this.following?.leave();
    this.root.classList.remove("away");
    this.live.yield();
    const { job, events_url: events, cancel_url: cancel } = this.data;
    this.following = job && events ? new Following(job, { events, cancel, show: () => this.#show(), tick: () => this.#tick(),
      ended: (state) => this.#ended(job, state), connected: (yes) => this.root.classList.toggle("away", !yes) }) : null;
  }

  #ended(job, { phase }) {
    this.root.classList.remove("away");
    if (phase === "done") this.index = 0;
    if (phase === "failed" || told.has(job)) return;
    told.add(job);
    this.tell({ kind: phase === "done" ? "finished" : "cancelled", picture: 0, job });
  }

  // ---- showing

  get pictures() {
    return this.state.phase === "done" ? this.state.pictures : this.data.pictures.map(pictureOf);
  }

  get state() {
    return this.following?.state ?? IDLE;
  }

  get busy() {
    return this.state.phase === "waiting" || this.state.phase === "running";
  }

  #build(host) {
    const picture = (name) => element("img", { class: name, alt: "", hidden: true });
    const image = this.image = picture("image");
    const ghost = this.ghost = picture("ghost");
    const control = this.control = picture("control");
    this.words = element("div", { class: "words" });
    this.compare = new Compare();
    const live = this.live = new LiveView(() => this.#show());
    this.frame = element("div", { class: "frame" }, image, ghost, control, this.compare.root, this.words, live.canvas);
    this.bar = new ProgressBar();
    this.strip = element("div", { class: "strip", role: "listbox", "aria-label": "Pictures", "aria-orientation": "horizontal" });
    this.status = element("span", { class: "hint", role: "status" });
    this.elapsed = element("span", { class: "elapsed" });
    this.buttons = element("span", { class: "buttons" });
    this.stop = element("button", { type: "button", class: "text stop", onclick: () => this.following?.cancel() }, icon("stop", 16),
      "Cancel");
    this.fader = slider({ id: "overlay-opacity", label: "Control", min: 0, max: 1, step: 0.05, value: this.opacity,
      format: (value) => `${Math.round(value * 100)} %`, onInput: (value) => {
        this.opacity = value;
        this.control.style.opacity = String(value);
      } });
    this.foot = element("div", { class: "foot" }, live.beat, this.status, live.under, this.fader, this.elapsed, this.stop, this.buttons);
    this.root = element("div", { class: "studio results", role: "region", "aria-label": "Result", tabindex: "0" },
      element("div", { class: "room" }, this.frame), this.strip, this.bar.root, this.foot);
    host.append(element("style", {}, STYLE + PROGRESS_STYLE + RESULT_STYLE + COMPARE_STYLE + LIVE_STYLE), this.root);
    this.stopTheme = followTheme(this.root);
    tooltips(this.root);
    for (const one of [image, ghost]) one.addEventListener("load", () => this.#show());
    image.addEventListener("error", () => {
      this.#picture(this.ghost, null);
      if (image.getAttribute("src")) this.#speak("warning", "This picture is no longer there.", "Generate it again: the recipe is kept.");
    });
    this.root.addEventListener("keydown", (event) => this.#key(event));
  }

  /** The place has the shape of what is shown in it: a picture's sides may be rounded another way than the sheet's. */
  #shape() {
    const sides = [
      this.live.canvas.hidden ? [0, 0] : [this.live.canvas.width, this.live.canvas.height],
      ...[this.image, this.ghost].map((image) => (image.hidden ? [0, 0] : [image.naturalWidth, image.naturalHeight])),
      this.data.aspect,
    ];
    const [width, height] = sides.find(([side]) => side > 0) ?? [1, 1];
    this.root.style.setProperty("--ratio", String(width / height));
  }

  #show() {
    keepingFocus(this.root, () => this.#render());
  }

  #render() {
    const { phase, preview } = this.state;
    const picture = this.busy ? null : this.pictures[this.index] ?? null;
    const failed = phase === "failed";
    this.root.dataset.phase = phase;
    const live = this.live.leads && !this.busy;
    this.live.canvas.hidden = !live;
    this.root.toggleAttribute("data-live", this.live.on && !this.busy);
    this.live.under.hidden = !this.live.on || this.busy;
    this.#picture(this.image, failed ? null : picture?.url);
    this.image.alt = picture ? `Picture ${this.index + 1} of ${this.pictures.length}` : "";
    // The last preview stays until the picture itself is there: on a slow line the place would be empty between them.
    this.#picture(this.ghost, this.busy ? preview : picture && !this.image.complete ? this.ghost.getAttribute("src") : null);
    this.#picture(this.control, this.overlaid && picture && !failed ? this.data.control_url : null);
    this.control.style.opacity = String(this.opacity);
    this.#shape();
    this.#showCompared(failed ? null : picture);
    if (failed && !live) this.#speak("warning", this.state.text, this.state.hint);
    else if (!picture && !this.busy && !live) this.#speak("picture", ...this.data.empty);
    else this.words.replaceChildren();
    this.#showProgress();
    this.#showStrip(failed || this.busy ? [] : this.pictures);
    this.#showButtons(failed ? null : picture, live);
  }

  /** The present picture against another: the one that was pointed out, a sibling, or what was here before. */
  #showCompared(picture) {
    const siblings = this.pictures.filter((one) => one.url !== picture?.url);
    const rivals = [this.other, this.earlier, ...siblings].filter((one) => one && one.url !== picture?.url);
    this.rival = rivals[0] ?? null;
    this.comparing &&= !!(picture && this.rival);
    const name = (one) => (one.seed === null ? "" : `Seed ${one.seed}`);
    const shown = (one) => (this.comparing ? { url: one.url, name: name(one) } : null);
    this.compare.show(shown(this.rival), shown(picture));
  }

  #showProgress() {
    this.bar.show(this.state.fraction, this.busy);
    this.status.textContent = this.state.phase === "failed" ? "" : this.following?.words ?? "";
    this.stop.hidden = !this.busy || !this.data.cancel_url;
    this.stop.disabled = !!this.following?.stopping;
    this.#tick();
  }

  #tick() {
    this.elapsed.hidden = !this.busy;
    if (this.busy && this.following) this.elapsed.textContent = this.following.elapsed;
  }

  #showStrip(pictures) {
    const several = pictures.length > 1;
    this.strip.classList.toggle("shown", several);
    this.strip.replaceChildren(...(several ? pictures : []).map((picture, index) => {
      const image = element("img", { src: new URL(picture.url, document.baseURI), alt: "", loading: "lazy" });
      return element("button", { type: "button", role: "option", "aria-selected": String(index === this.index),
        "data-id": `picture-${index}`,
        "aria-label": `Picture ${index + 1}`, onclick: (event) => (event.shiftKey ? this.#compareWith(picture) : this.#look(index)) },
          image);
    }));
  }

  #showButtons(picture, live) {
    const key = JSON.stringify([live, picture, this.overlaid, this.comparing, !!this.rival, this.data.actions, this.data.control_url]);
    if (key === this.buttonsKey) return;
    this.buttonsKey = key;
    if (live) {
      this.fader.hidden = true;
      return this.buttons.replaceChildren(...this.live.buttons);
    }
    this.fader.hidden = !(picture && this.overlaid) || this.live.on;
    if (!picture) return this.buttons.replaceChildren();
    const act = (kind) => this.tell({ kind, picture: this.index, job: this.data.job });
    const list = this.data.actions.filter((kind) => ACTIONS[kind]).map((kind) =>
      iconButton({ id: kind, label: ACTIONS[kind][0], icon: ACTIONS[kind][1], run: () => act(kind) }));
    if (this.data.control_url) {
      const overlay = iconButton({ id: "overlay", label: "Lay the control over it", icon: "layers", keys: ["O"],
        run: () => this.#toggleOverlay() });
      overlay.setAttribute("aria-pressed", String(this.overlaid));
      list.unshift(overlay);
    }
    if (this.rival) {
      const compare = iconButton({ id: "compare", label: "Compare with the one before", icon: "contrast", keys: ["C"],
        run: () => this.#toggleCompare() });
      compare.setAttribute("aria-pressed", String(this.comparing));
      list.unshift(compare);
    }
    list.push(iconButton({ id: "download", label: "Download PNG", icon: "download", keys: ["S"], run: () => this.#download() }));
    return this.buttons.replaceChildren(...list);
  }

  #speak(name, title, text) {
    this.words.replaceChildren(icon(name, 32), element("strong", {}, title), element("span", {}, text));
  }

  #picture(image, url) {
    const address = url ? new URL(url, document.baseURI).href : "";
    image.hidden = !address;
    if (image.getAttribute("src") === address) return;
    if (address) image.src = address;
    else image.removeAttribute("src");
  }

  // ---- doing

  #look(index) {
    const to = Math.min(Math.max(index, 0), this.pictures.length - 1);
    if (to === this.index) return;
    this.index = to;
    this.#show();
    this.tell({ kind: "open", picture: this.index, job: this.data.job });
  }

  #toggleCompare() {
    this.comparing = !this.comparing && !!this.rival;
    if (this.comparing) this.overlaid = false;
    this.#show();
  }

  #compareWith(picture) {
    this.other = picture;
    this.comparing = true;
    this.overlaid = false;
    this.#show();
  }

  #toggleOverlay() {
    this.overlaid = !this.overlaid;
    if (this.overlaid) this.comparing = false;
    this.#show();
  }

  #download() {
    const picture = this.pictures[this.index];
    if (!picture) return;
    const link = element("a", { href: new URL(picture.url, document.baseURI), download: picture.name || "picture.png" });
    this.root.append(link);
    link.click();
    link.remove();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input")) return;
    const run = {
      ArrowLeft: () => this.#look(this.index - 1), ArrowRight: () => this.#look(this.index + 1),
      o: () => this.data.control_url && this.#toggleOverlay(), c: () => this.#toggleCompare(), s: () => this.#download(),
      Escape: () => this.busy && this.data.cancel_url && this.following?.cancel(),
    }[event.key];
    if (!run) return;
    event.stopPropagation();
    event.preventDefault();
    if (event.key === "Escape" || this.pictures.length) run();
  }
}
