/** A job as a part of the page follows it: where it stands, for how long, and Cancel; and the bar that shows how far it is. */

import { clock } from "./amounts.js";
import { element } from "./controls.js";
import { follow } from "./events.js";
import { begun, next, over } from "./progress.js";

const TICK_MS = 250;

export const PROGRESS_STYLE = `
.progress { height: 2px; flex: none; overflow: hidden; }
.progress.shown { background: var(--faint); }
.progress i { display: block; height: 100%; background: var(--accent); transform-origin: 0 0; transition: transform .18s ease-out;
  visibility: hidden; }
.progress.shown i { visibility: visible; }
.progress.vague i { width: 30%; animation: pass 1.4s ease-in-out infinite; transform: none; }
@keyframes pass { 0% { translate: -100% 0; } 100% { translate: 340% 0; } }
@media (prefers-reduced-motion: reduce) { .progress.vague i { animation: none; } }
`;

/** `state` is that of progress.js; it stays when the job is over, or when nobody follows it any more. */
export class Following {
  state = begun();
  stopping = false;
  #since = performance.now();
  #timer;
  #end;

  /**
   * `show()` is called with every change, `tick()` four times a second, `ended(state)` once; `connected(yes)` as the stream of
   * events at `events` comes and goes. A POST to `cancel` stops the job.
   *
   * @param {string} job
   * @param {{events: string, cancel?: string, show: () => void, tick?: () => void, ended?: (state: JobState) => void,
   *   connected?: (yes: boolean) => void}} about
   */
  constructor(job, { events, cancel = "", show, tick = show, ended = () => {}, connected = () => {} }) {
    this.job = job;
    this.cancelUrl = cancel;
    this.show = show;
    this.ended = ended;
    this.#timer = setInterval(tick, TICK_MS);
    this.#end = follow(events, (event) => event.job === job && this.#heard(event), { state: connected });
  }

  get words() {
    return this.stopping && !over(this.state) ? "Stopping…" : this.state.text;
  }

  get elapsed() {
    return clock((performance.now() - this.#since) / 1000);
  }

  leave() {
    clearInterval(this.#timer);
    this.#end();
  }

  async cancel() {
    this.stopping = true;
    this.show();
    try {
      const answer = await fetch(new URL(this.cancelUrl, document.baseURI), { method: "POST" });
      if (!answer.ok && answer.status !== 404) throw new Error(String(answer.status));
    } catch {
      this.stopping = false;
      this.state = { ...this.state, text: "Not stopped: the studio does not answer. Try again." };
      this.show();
    }
  }

  /** @param {JobEvent} event */
  #heard(event) {
    this.state = next(this.state, event);
    if (over(this.state)) {
      this.leave();
      this.ended(this.state);
    }
    this.show();
  }
}

/** The line that fills; where nobody can tell how far it is, something runs along it. */
export class ProgressBar {
  #fill = element("i");
  root = element("div", { class: "progress", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100 },
    this.#fill);


  /**
   * @param {number | null} fraction  0..1; null where nobody can tell
   * @param {boolean} [shown]
   */
  show(fraction, shown = true) {
    this.root.classList.toggle("shown", shown);
    this.root.classList.toggle("vague", shown && fraction === null);
    this.#fill.style.transform = fraction === null ? "" : `scaleX(${fraction})`;
    if (fraction === null) this.root.removeAttribute("aria-valuenow");
    else this.root.setAttribute("aria-valuenow", String(Math.round(fraction * 100)));
  }
}
