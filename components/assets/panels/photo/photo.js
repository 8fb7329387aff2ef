/**
 * The photo view: a photo, a detector with its parameters, and the map that it gives, under a divider.
 *
 * Detectors without weights answer while a slider is being dragged; the others are jobs, followed here. The map lies in the
 * drawing on the server as soon as it is found; Python hears of it ("changed") and of the wish to edit it ("edit").
 */

import { sizeOfMib } from "../../shared/amounts.js";
import { element, iconButton, select, slider, textButton, tooltips } from "../../shared/controls.js";
import { icon } from "../../shared/icons.js";
import { STYLE } from "../../shared/style.js";
import { followTheme } from "../../shared/theme.js";
import { Following, ProgressBar } from "../../shared/following.js";
import { Compare } from "./compare.js";
import { LiveMap } from "./live.js";
import { defaults, fillPanel } from "./params.js";
import { PHOTO_STYLE } from "./style.js";
import { catchPictures, chooser, galleryButton, invitation, post, send } from "./take.js";
import { mounted } from "../../shared/mounted.js";
import { IDLE } from "../../shared/progress.js";

const SETTLED_MS = 350;
const followed = new Set(); // jobs whose end was heard

export const mount = mounted(
  (host, data) => new PhotoView(host, data),
  (view, data, trigger) => {
    view.tell = trigger;
    view.update(data);
  },
);

class PhotoView {
  /** @type {HTMLDivElement} */
  root;
  /** @type {() => void} */
  stopCatching;
  /** @type {() => void} */
  stopTheme;
  /** @type {HTMLDivElement} */
  chooser;
  /** @type {HTMLButtonElement} */
  go;
  /** @type {HTMLDivElement} */
  invite;
  /** @type {HTMLButtonElement} */
  galleryButton;
  /** @type {HTMLButtonElement} */
  undo;
  /** @type {ProgressBar} */
  bar;
  /** @type {HTMLSpanElement} */
  words;
  /** @type {HTMLSpanElement} */
  elapsed;
  /** @type {HTMLButtonElement} */
  stop;
  /** @type {HTMLDivElement} */
  stage;
  /** Tells Python. @type {Trigger} */
  tell = () => {};

  constructor(host, data) {
    this.data = data;
    /** @type {JobState} */
    this.own = IDLE; // what is shown while no job runs
    this.photo = data.look.photo;
    this.values = structuredClone(data.look.values);
    this.shorter = data.look.shorter;
    this.compare = new Compare(data.words.found);
    this.live = new LiveMap((seed) => this.tell("keep", { seed }));
    this.#build(host);
    this.#choose(data.look.detector || this.#best(), false);
    this.compare.shape(...data.size);
    if (this.photo) this.#showPhoto();
    this.rev = data.rev;
    if (!this.photo || data.look.found) this.#showMap(data.rev);
    this.live.update(data);
    if (data.look.job && !followed.has(data.look.job)) this.#follow(data.look.job);
  }

  update(data) {
    const before = this.data;
    this.data = data;
    this.live.update(data);
    this.root.style.height = data.height;
    this.aside = data.look.aside;
    if (data.look.photo !== before.look.photo && data.look.photo !== this.photo) {
      this.photo = data.look.photo;
      this.#showPhoto();
    }
    if (data.rev > this.rev) {
      this.compare.shape(...data.size);
      if (!this.photo || data.look.found) this.#showMap(data.rev);
    } else this.data = { ...data, size: before.size };
    if (JSON.stringify(data.detectors) !== JSON.stringify(before.detectors)) this.#choose(this.detector.key, false);
    this.#show();
  }

  destroy() {
    this.#unfollow();
    this.live.leave();
    clearTimeout(this.settling);
    this.stopCatching();
    this.stopTheme();
    this.root.remove();
  }

  // ---- building

  #build(host) {
    const take = (file, example = "") => this.#take(file, example);
    const file = chooser(take, this.data.accepts_json ? ",application/json" : "");
    this.chooser = element("div");
    this.galleryButton = galleryButton(() => this.root, () => this.data.gallery, take);
    this.undo = iconButton({ id: "bring-back", label: "Bring back what was drawn before", icon: "undo", run: () => this.#bringBack() });
    this.go = textButton("Detect", () => this.#detect(), { id: "detect", primary: true });
    const edit = element("button", { type: "button", class: "text", "data-id": "edit", onclick: () => this.#edit() }, icon("brush", 18),
      this.data.words.edit);
    const top = element("div", { class: "top" },
      element("button", { type: "button", class: "text", "data-id": "choose", onclick: file.open }, icon("camera", 18),
        element("span", {}, "Photo…")),
      this.galleryButton, element("span", { class: "separator" }), this.chooser, element("span", { class: "spring" }), this.undo, edit,
        this.go);
    this.panel = element("aside", { class: "panel", "aria-label": "Parameters" });
    this.invite = invitation(this.data.words.invite, file.open, this.data.examples, take);
    this.stage = element("div", { class: "stage" }, this.compare.frame, this.invite);
    this.bar = new ProgressBar();
    this.words = element("span", { class: "hint", role: "status" });
    this.elapsed = element("span", { class: "elapsed" });
    this.stop = element("button", { type: "button", class: "text", onclick: () => this.following?.cancel() }, icon("stop", 16), "Cancel");
    this.root = element("div", { class: "studio photo", role: "region", "aria-label": "Photo and map", tabindex: "0" },
      file.node, top, this.stage, this.panel, this.bar.root, element("div", { class: "status" }, this.words, this.elapsed, this.stop));
    this.mapSize = element("div", { class: "param", title: "The shorter side; the shape is the photo's." },
      slider({ id: "map-size", label: this.data.words.size, min: this.data.sizes.min, max: this.data.sizes.max, step: this.data.sizes.step,
        value: this.shorter,
        format: (px) => `${px} px`, onInput: (px) => {
          this.shorter = px;
          this.#changed();
        } }));
    host.append(element("style", {}, STYLE + PHOTO_STYLE), this.root);
    this.stopTheme = followTheme(this.root);
    tooltips(this.root);
    this.stopCatching = catchPictures(this.root, take);
  }

  // ---- detectors

  /** The first detector of photos that can look without a download; else the first. */
  #best() {
    const { detectors } = this.data;
    return (detectors.find((one) => one.reads === "photo" && one.needs.every((need) => need.here)) ?? detectors[0]).key;
  }

  get instant() {
    return this.detector.needs.length === 0;
  }

  get missing() {
    return this.detector.needs.filter((need) => !need.here);
  }

  #choose(key, look = true) {
    this.detector = this.data.detectors.find((one) => one.key === key) ?? this.data.detectors[0];
    const values = (this.values[this.detector.key] ??= defaults(this.detector));
    const words = (one) => one.needs.every((need) => need.here) ? one.title : `↓ ${one.title}`;
    this.chooser.replaceChildren(select({ id: "detector", label: "Detector", value: this.detector.key,
      options: this.data.detectors.map((one) => [one.key, words(one)]), onInput: (next) => this.#choose(next) }));
    fillPanel(this.panel, this.detector, values, { onInput: () => this.#changed(), mapSize: this.mapSize });
    const total = this.missing.reduce((sum, need) => sum + need.size_mib, 0);
    this.go.textContent = this.missing.length ? `Download ${sizeOfMib(total)} and detect` : "Detect";
    if (look) this.#changed(true);
    else this.#show();
  }

  /** A parameter has changed: detectors without weights answer at once; the others wait for Detect. */
  #changed(anew = false) {
    if (this.instant || (anew && !this.missing.length)) this.#detect();
    else if (this.photo) this.compare.late(true);
    this.#show();
  }

  // ---- photos

  /** Photos are taken one after the other: of two that come at once the last one stays, here and on the server. */
  #take(file, example) {
    const taking = this.taking = (this.taking ?? Promise.resolve()).then(() => this.#takeNow(file, example)).catch(() => {}).then(() => {
      if (this.taking !== taking) return;
      this.taking = null;
      if (this.leaving) this.#edit();
    });
  }

  async #takeNow(file, example) {
    this.#problem(null);
    this.#busy("Reading the photo…");
    const answer = await send(this.data.photo_url, file);
    if (answer.error) {
      this.leaving = false;
      return this.#problem(answer.error, answer.hint);
    }
    this.photo = answer.photo;
    this.example = example;
    this.fresh = true;
    this.compare.showMap(null);
    this.#shape(answer.width, answer.height);
    if (answer.rev) return this.#given(answer);
    this.#idle("");
    if (this.instant || !this.missing.length) return this.#detect();
    return this.#idle("Press Download, or choose another detector.");
  }

  /** What came was a finished map: it is the drawing now, and no detector looks at it unless somebody asks. */
  async #given({ rev, aside, said }) {
    this.aside = aside;
    this.#unfollow();
    await this.#showMap(rev);
    this.#idle(said);
    return this.#settle();
  }

  #shape(width, height) {
    this.data = { ...this.data, size: [width, height] };
    this.compare.shape(width, height);
    if (this.photo) this.#showPhoto();
  }

  #showPhoto() {
    const [width, height] = this.data.size;
    this.compare.showPhoto(new URL(`${this.data.photo_url}/${this.photo}/stretch-${width}x${height}.jpg`, document.baseURI).href);
    this.#show();
  }

  /** Show the map as it is on the server: at revision `rev`, or after the job `job`. */
  #showMap(rev, job = "") {
    this.rev = rev;
    this.live.touch();
    return this.compare.showMap(new URL(`${this.data.control_url}?rev=${rev}${job}`, document.baseURI).href);
  }

  // ---- looking

  /** Ask for the map. One question is on its way at a time; of those that come meanwhile only the last is asked. */
  async #detect() {
    if (!this.photo) return;
    if (this.asking) {
      this.again = true;
      return;
    }
    this.asking = true;
    this.#problem(null);
    const started = performance.now();
    try {
      const values = this.values[this.detector.key];
      const body = JSON.stringify({ control: this.data.control, detector: this.detector.key, values, shorter: this.shorter });
      const answer = await post(this.data.detect_url, body);
      if (answer.error) this.#problem(answer.error, answer.hint);
      else await this.#answered(answer, started);
    } finally {
      this.asking = false;
      if (this.again) {
        this.again = false;
        this.#detect();
      } else if (this.leaving) this.#edit();
    }
  }

  async #answered({ width, height, rev, job, aside }, started) {
    this.aside = aside;
    if (width !== this.data.size[0] || height !== this.data.size[1]) this.#shape(width, height);
    if (job) return this.#follow(job);
    this.#unfollow();
    await this.#showMap(rev);
    this.#idle(`${width} × ${height} px, found in ${Math.max(1, Math.round(performance.now() - started))} ms`);
    return this.#settle();
  }

  /** Tell Python of the new drawing, once the slider rests; the first map of a photo may go straight to its editor. */
  #settle() {
    const event = this.fresh && this.data.opens_editor ? "edit" : "changed";
    this.fresh = false;
    clearTimeout(this.settling);
    if (this.leaving) return;
    if (event === "edit") this.leaving = true;
    this.settling = setTimeout(() => this.#tell(event), SETTLED_MS);
  }

  /** Python hears with the first word which example was taken: its prompt goes with it. */
  #tell(event) {
    this.tell(event, { rev: this.rev, example: this.example ?? "" });
    this.example = "";
  }

  /** Leave for the editor: with the map of the newest photo, and without another word, which would overtake this one. */
  #edit() {
    this.leaving = true;
    clearTimeout(this.settling);
    if (!this.asking && !this.taking) this.#tell("edit");
  }

  async #bringBack() {
    const answer = await post(`${this.data.detect_url}/undo`, "{}");
    if (answer.error) return this.#problem(answer.error, answer.hint);
    this.aside = false;
    this.#shape(answer.width, answer.height);
    await this.#showMap(answer.rev);
    this.#idle("Your earlier drawing is back.");
    return this.#tell("changed");
  }

  // ---- a job

  #follow(job) {
    this.following?.leave();
    this.compare.late(true);
    this.following = new Following(job, { events: this.data.events_url, cancel: `${this.data.cancel_url}/${job}`, show: () => this.#show(),
      ended: (state) => this.#ended(job, state) });
    this.#show();
  }

  #unfollow() {
    this.following?.leave();
    this.following = null;
  }

  #ended(job, { phase, text, hint }) {
    this.#unfollow();
    followed.add(job);
    if (phase === "failed") {
      this.#problem(text, hint);
      this.#tell("changed"); // weights may have come all the same
    } else if (phase === "cancelled") {
      this.#idle("Stopped.");
    } else {
      this.#showMap(this.rev, job).then(() => this.#settle());
      this.#idle(text);
    }
  }

  // ---- showing

  #busy(text) {
    this.own = { ...IDLE, phase: "waiting", text };
    this.#show();
  }

  #idle(text) {
    this.own = { ...IDLE, text };
    this.#show();
  }

  #show() {
    const { phase, fraction } = this.following?.state ?? this.own;
    const text = this.following?.words ?? this.own.text;
    const busy = phase === "waiting" || phase === "running";
    this.invite.hidden = !!this.photo || busy;
    this.galleryButton.hidden = !this.data.gallery.length;
    this.undo.hidden = !this.aside;
    this.go.hidden = this.instant || !this.photo;
    this.go.disabled = busy;
    this.bar.show(fraction, busy);
    this.words.textContent = text || (this.photo ? "" : this.data.help);
    this.elapsed.textContent = this.following?.elapsed ?? "";
    this.stop.hidden = !this.following;
    this.stop.disabled = !!this.following?.stopping;
  }

  /** Say what is wrong, and offer what works without a network: another detector, or the editor. */
  #problem(text, hint = "") {
    this.trouble?.remove();
    this.trouble = null;
    if (!text) return;
    this.own = IDLE;
    const instant = this.instant ? [] : this.data.detectors.filter((one) => !one.needs.length && one.reads === "photo");
    const offers = instant.slice(0, 2).map((one) => textButton(`Use ${one.title}`, () => {
      this.#problem(null);
      this.#choose(one.key);
    }, { primary: one === instant[0] }));
    const draw = element("button", { type: "button", class: "text plain", onclick: () => this.#edit() }, "Make it by hand");
    const close = element("button", { type: "button", class: "text plain", onclick: () => this.#problem(null) }, "Close");
    this.trouble = element("div", { class: "problem", role: "alert" }, icon("warning", 28), element("strong", {}, text),
      hint ? element("span", {}, hint) : null, element("div", { class: "row" }, ...offers, draw, close));
    this.stage.append(this.trouble);
    this.#show();
  }
}
