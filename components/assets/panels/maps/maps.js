/**
 * All maps of one photo, side by side: a card for every condition, with its detectors and the ways to its editor and to a
 * picture. Maps without weights come at once, the others one job after the other.
 */

import { sizeOfMib } from "../../shared/amounts.js";
import { element, select, textButton, tooltips } from "../../shared/controls.js";
import { icon } from "../../shared/icons.js";
import { STYLE } from "../../shared/style.js";
import { followTheme } from "../../shared/theme.js";
import { Following, ProgressBar } from "../../shared/following.js";
import { PHOTO_STYLE } from "../photo/style.js";
import { catchPictures, chooser, galleryButton, invitation, post, send } from "../photo/take.js";
import { mounted } from "../../shared/mounted.js";

const MAPS_STYLE = `
.studio.maps { display: block; border: none; background: none; border-radius: 0; overflow: visible; min-height: 320px; margin-top: 12px; }
.maps .head { display: flex; align-items: center; gap: 8px; padding-bottom: 16px; flex-wrap: wrap; }
.maps .head p { margin: 0; color: var(--soft); flex: 1; min-width: 200px; }
.maps .grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(248px, 1fr)); gap: 16px; }
.maps .card { border: 1px solid var(--faint); border-radius: 12px; overflow: hidden; background: var(--surface); display: flex;
  flex-direction: column; }
.maps .card header { display: flex; align-items: center; gap: 8px; height: 44px; padding: 0 8px 0 14px; }
.maps .card header strong { font-weight: 600; flex: 1 0 auto; white-space: nowrap; }
.maps .say button.text { white-space: nowrap; height: 32px; padding: 0 14px; border-radius: 8px; background: var(--surface);
  color: var(--text); border: 1px solid var(--faint); }
.maps .card select { max-width: 156px; min-width: 0; flex: 0 1 auto; text-overflow: ellipsis; }
.maps .shown { position: relative; aspect-ratio: var(--ratio); background: var(--stage); display: grid; place-items: center;
  overflow: hidden; }
.maps .shown img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: fill; }
.maps .shown .say { padding: 16px; text-align: center; color: var(--soft); text-wrap: balance; display: flex; flex-direction: column;
  gap: 10px; align-items: center; max-height: 100%; overflow: auto; }
.maps .shown .say strong { color: var(--text); font-weight: 600; }
.maps .shown .progress { position: absolute; inset: auto 0 0; height: 3px; }
.maps .card footer { display: flex; gap: 8px; padding: 8px; }
.maps .card footer button { flex: 1; height: 32px; border-radius: 8px; background: var(--hover); color: var(--text);
  justify-content: center; }
.maps .card footer button:disabled { background: none; }
.maps .invite { position: static; margin: 48px auto; }
.maps .trouble { color: #b45309; }
.maps.dark .trouble { color: #fbbf24; }
.maps .drop { inset: -8px; }
`;

export const mount = mounted(
  (host, data) => new Maps(host, data),
  (page, data, trigger) => {
    page.want = (wish) => trigger("wanted", wish);
    page.data = data;
  },
);

class Maps {
  /** Tells Python. @type {(wish: object) => void} */
  want = () => {};

  constructor(host, data) {
    this.data = data;
    this.waiting = [];
    const take = (file) => this.#take(file);
    const file = chooser(take);
    this.words = element("p", { role: "status" });
    this.grid = element("div", { class: "grid" });
    const gallery = galleryButton(() => this.root, () => this.data.gallery, take);
    gallery.hidden = !data.gallery.length;
    this.head = element("div", { class: "head" },
      element("button", { type: "button", class: "text plain", "data-id": "choose", onclick: file.open }, icon("camera", 18),
        "Another photo…"), gallery, this.words);
    this.invite = invitation("or paste it, and see every control that can be found in it.", file.open, data.examples, take);
    this.root = element("div", { class: "studio photo maps", role: "region", "aria-label": "All maps of a photo", tabindex: "0" },
      file.node, this.head, this.invite, this.grid);
    host.append(element("style", {}, STYLE + PHOTO_STYLE + MAPS_STYLE), this.root);
    this.stopTheme = followTheme(this.root);
    this.stopCatching = catchPictures(this.root, take);
    tooltips(this.root);
    this.#show(data.photo, ...data.size);
  }

  destroy() {
    for (const card of this.cards ?? []) card.destroy();
    this.stopCatching();
    this.stopTheme();
    this.root.remove();
  }

  async #take(file) {
    this.words.textContent = "Reading the photo…";
    const answer = await send(this.data.photo_url, file);
    this.words.classList.toggle("trouble", !!answer.error);
    if (answer.error) {
      this.head.hidden = false;
      this.words.textContent = `${answer.error} ${answer.hint}`;
      return;
    }
    this.#show(answer.photo, answer.width, answer.height);
    if (answer.said) this.words.textContent = answer.said;
    this.want({ kind: "photo", photo: answer.photo });
  }

  #show(photo, width, height) {
    this.invite.hidden = !!photo;
    this.head.hidden = !photo;
    for (const card of this.cards ?? []) card.destroy();
    this.waiting = [];
    if (!photo) return;
    this.words.textContent = `${width} × ${height} px. Every map opens in its editor, or makes a picture at once.`;
    this.root.style.setProperty("--ratio", String(width / height));
    const original = element("article", { class: "card" }, element("header", {}, element("strong", {}, "Photo")),
      element("div", { class: "shown" }, element("img", { alt: "The photo",
        src: new URL(`${this.data.shown_url}/${photo}/stretch-${width}x${height}.jpg`, document.baseURI) })));
    this.cards = this.data.controls.map((control) => new Card(this, control, photo));
    this.grid.replaceChildren(original, ...this.cards.map((card) => card.node));
  }

  /** Networks look one after the other: the queue takes only a few jobs of a session. */
  enqueue(card) {
    if (!this.waiting.includes(card)) this.waiting.push(card);
    this.#work();
  }

  async #work() {
    if (this.working || !this.waiting.length) return;
    this.working = true;
    await this.waiting.shift().look().catch(() => {});
    this.working = false;
    this.#work();
  }
}

class Card {
  constructor(page, control, photo) {
    this.page = page;
    this.control = control;
    this.photo = photo;
    this.shown = element("div", { class: "shown" });
    const act = (kind) => page.want({ kind, photo, control: control.key, detector: this.detector.key, at: Date.now() });
    this.buttons = [textButton("Edit", () => act("edit"), { name: `Edit the ${control.title} map` }),
      textButton("Generate", () => act("generate"), { name: `Generate from the ${control.title} map` })];
    const best = control.detectors.find((one) => one.needs.every((need) => need.here)) ?? control.detectors[0];
    const words = (one) => one.needs.every((need) => need.here) ? one.title : `↓ ${one.title}`;
    const choice = select({ id: control.key, label: `Detector of ${control.title}`, value: best.key,
      options: control.detectors.map((one) => [one.key, words(one)]), onInput: (key) => this.#choose(key) });
    this.node = element("article", { class: "card", "data-control": control.key },
      element("header", {}, element("strong", {}, control.title), choice),
      this.shown, element("footer", {}, ...this.buttons));
    this.#choose(best.key);
  }

  destroy() {
    this.gone = true;
    this.following?.leave();
    this.leave?.(); // or the next photo's networks would wait for this one's for ever
  }

  get url() {
    return `${this.page.data.photo_url}/${this.photo}/${this.control.key}/${this.detector.key}`;
  }

  #choose(key) {
    this.detector = this.control.detectors.find((one) => one.key === key);
    this.#ready(false);
    const missing = this.detector.needs.filter((need) => !need.here);
    if (!this.detector.needs.length) return this.#picture();
    if (!missing.length) return this.#wait();
    const total = missing.reduce((sum, need) => sum + need.size_mib, 0);
    const go = textButton(`Download ${sizeOfMib(total)}`, () => this.#wait());
    const licences = [...new Set(missing.map((need) => need.licence))].join(", ");
    return this.#say("", this.detector.help, licences, go);
  }

  #wait() {
    this.#say("", "Waiting for its turn…");
    this.page.enqueue(this);
  }

  /** Ask for the map of a network and wait until it is there, or until it failed. */
  async look() {
    const { detector } = this;
    const left = () => this.gone || detector !== this.detector;
    const answer = await post(this.url, "");
    if (this.gone) return null;
    if (answer.error) return left() ? null : this.#say(answer.error, answer.hint);
    if (answer.job) {
      const ended = await this.#follow(answer.job, left);
      if (!ended) return null;
      if (ended.phase !== "done") return left() ? null : this.#say(ended.text, ended.hint);
    }
    for (const need of detector.needs) need.here = true;
    return left() ? null : this.#picture();
  }

  /** Resolves to how the job ended, or to nothing once the card is gone. */
  #follow(job, left) {
    return new Promise((/** @type {(state?: JobState) => void} */ resolve) => {
      this.leave = resolve;
      const text = element("span", {});
      const bar = new ProgressBar();
      if (!left()) this.shown.replaceChildren(element("div", { class: "say" }, text), bar.root);
      const show = () => {
        text.textContent = following.words;
        bar.show(following.state.fraction);
      };
      const following = (this.following = new Following(job, { events: this.page.data.events_url, show, ended: resolve }));
    });
  }

  async #picture() {
    const { detector } = this;
    const answer = await fetch(new URL(`${this.url}.png`, document.baseURI)).catch(() => null);
    if (this.gone || detector !== this.detector) return;
    if (!answer) return this.#say("The studio does not answer.", "Is it still running?");
    if (!answer.ok) {
      const { error, hint } = await answer.json().catch(() => ({}));
      return this.#say(error ?? "The studio did not answer.", hint ?? "");
    }
    const address = URL.createObjectURL(await answer.blob());
    const image = element("img", { src: address, alt: `${this.control.title} map`, onload: () => URL.revokeObjectURL(address) });
    this.shown.replaceChildren(image);
    this.#ready(true);
  }

  #say(title, text, ...more) {
    this.#ready(false);
    const rest = more.map((one) => typeof one === "string" ? element("small", {}, one) : one);
    this.shown.replaceChildren(element("div", { class: "say" }, title ? element("strong", {}, title) : null, text || null, ...rest));
  }

  #ready(on) {
    for (const button of this.buttons) button.disabled = !on;
  }
}
