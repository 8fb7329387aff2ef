/** The result pane while Live is on: the newest picture, one honest dot, and what can be done with it. */

import { contextOf } from "../../shared/context.js";
import { describe, element, iconButton, slider } from "../../shared/controls.js";
import { liveLink } from "../../shared/live.js";
import { lasted } from "../../shared/amounts.js";
import { Film } from "./film.js";

/** @type {Record<import("../../shared/live.js").LivePhase, string>} */
const WORDS = {
  off: "", rest: "Live: draw, and the picture follows", drawn: "drawn", sent: "sent", drawing: "drawing", waiting: "waiting",
    loading: "loading",
  done: "done", failed: "", away: "Line cut, goes on by itself",
};

export const LIVE_STYLE = `
.results .live { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
.results:has(.live:not([hidden])) .frame { background: none; box-shadow: var(--shadow); }
.results:has(.live:not([hidden])) .frame > img { visibility: hidden; }
.results .beat { display: none; align-items: center; gap: 8px; flex: 1; min-width: 0; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.results[data-live] .beat { display: inline-flex; }
.results[data-live] :is(.hint, .elapsed) { display: none; }
/* Ten times a second it says something else: nothing around it is laid out anew for that. */
.results .beat .word { flex: 1; height: 1.5em; line-height: 1.5; contain: strict; text-overflow: ellipsis; }
.results .beat i { width: 8px; height: 8px; border-radius: 50%; flex: none; background: var(--soft); box-sizing: border-box; }
.results .beat[data-phase=done] i { background: #22a06b; }
.results .beat:is([data-phase=drawn], [data-phase=sent]) i { background: none; border: 2px solid var(--accent); }
.results .beat:is([data-phase=drawing], [data-phase=loading]) i { background: var(--accent); }
.results .beat:is([data-phase=waiting], [data-phase=away], [data-phase=failed]) i { background: #d97706; }
.results .under.none { display: none; }
.results .under { margin-left: auto; }
/* Then there is a sentence to read. */
.results .beat:is([data-phase=away], [data-phase=failed]) ~ .under { display: none; }
@container (max-width: 440px) { .results .under :is(span, output) { display: none; } .results .foot .under input { width: 56px; } }
`;

export class LiveView {
  /** @type {import("../../shared/live.js").LiveLink | null} */
  link = null;
  /** Whether a live picture is newer than whatever else the pane has. */
  leads = false;
  #deaf = () => {};
  #show;
  /** @type {ImageBitmap | null} */
  #shown = null;
  /** @type {Film | null} */
  #film = null;

  /** @param {() => void} show  called when the pane has something else to show */
  constructor(show) {
    this.#show = show;
    this.canvas = element("canvas", { class: "live", hidden: true, role: "img", "aria-label": "Live picture" });
    this.word = element("span", { class: "word" });
    this.beat = element("span", { class: "beat" }, element("i"), this.word);
    this.under = slider({ id: "live-under", label: "Under the lines", min: 0, max: 1, step: 0.05, value: 0,
      format: (value) => `${Math.round(value * 100)} %`, onInput: (value) => this.link?.showUnder(value) });
    this.under.classList.add("under");
    this.record = iconButton({ id: "live-film", label: "Record a film", icon: "record", run: () => this.#record() });
    this.buttons = [
      this.record,
      iconButton({ id: "live-keep", label: "Keep: make it for the gallery", icon: "pin", keys: ["Shift+Enter"],
        run: () => this.link?.keep() }),
      iconButton({ id: "live-seed", label: "Next seed", icon: "dice", keys: ["Shift+N"], run: () => this.link?.nextSeed() }),
    ];
  }

  get on() {
    return !!this.link;
  }

  /**
   * Follow the drawing at an address; null: Live is off.
   *
   * @param {string | null} url
   */
  follow(url) {
    const link = url ? liveLink(url) : null;
    if (link === this.link) return;
    this.#deaf();
    this.#film?.stop();
    this.link = link;
    this.leads = false;
    this.#shown = null;
    this.#deaf = link ? link.listen(() => this.#heard()) : () => {};
    if (!link) return;
    this.under.show(link.under);
    this.#heard();
  }

  /** Something else came that is newer: a picture that was asked for. */
  yield() {
    this.leads = false;
  }

  leave() {
    this.#deaf();
    this.#film?.stop();
  }

  /** From the first press to the second: the sheet and the picture, as a film to download. */
  #record() {
    if (this.#film) return this.#film.stop();
    if (!this.link?.picture || !this.link.hasPaper) return undefined;
    this.#film = new Film(this.link, this.link.picture, (film) => {
      this.#film = null;
      this.#showRecording();
      const link = element("a", { href: URL.createObjectURL(film), download: "live.webm" });
      this.canvas.after(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    });
    return this.#showRecording();
  }

  #showRecording() {
    const on = !!this.#film;
    this.record.setAttribute("aria-pressed", String(on));
    this.record.setAttribute("aria-label", on ? "Stop and download the film" : "Record a film");
    describe(this.record, on ? "Stop and download the film" : "Record a film");
  }

  #heard() {
    if (!this.link) return;
    const { phase, picture, age, text, hint } = this.link;
    if (this.beat.dataset.phase !== phase) this.beat.dataset.phase = phase;
    this.beat.dataset.seed = String(this.link.seed ?? "");
    const word = phase === "failed" ? [text, hint].filter(Boolean).join(" ") : text || WORDS[phase];
    const amount = age === null ? "" : lasted(age);
    const told = age === null || ["rest", "failed", "away"].includes(phase) ? word : `${word} · ${amount}`;
    if (this.word.textContent !== told) this.word.textContent = told;
    this.under.classList.toggle("none", !this.link.hasPaper);
    this.record.hidden = !Film.possible || !this.link.hasPaper;
    this.beat.title = phase === "failed" || phase === "away" ? word : "";
    if (phase !== "done") this.#film?.touch();
    if (picture === this.#shown) return;
    this.#shown = picture;
    this.#film?.touch();
    const { canvas } = this;
    const reshaped = !!picture && (canvas.width !== picture.width || canvas.height !== picture.height);
    if (picture) {
      if (reshaped) Object.assign(canvas, { width: picture.width, height: picture.height });
      contextOf(canvas).drawImage(picture, 0, 0);
    }
    if (this.leads === !!picture && !reshaped) return;
    this.leads = !!picture;
    this.#show();
  }
}
