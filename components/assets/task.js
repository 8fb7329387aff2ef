/**
 * One line that follows a job: what it waits for, how far it is, and Cancel. Python hears of the end, once.
 */

import { element } from "./engine/controls.js";
import { icon } from "./engine/icons.js";
import { STYLE } from "./engine/style.js";
import { followTheme } from "./engine/theme.js";
import { follow } from "./events.js";
import { mounted } from "./mounted.js";
import { begun, clock, next } from "./progress.js";

const TASK_STYLE = `
.task { display: block; border-radius: 8px; }
.task .line { display: flex; align-items: center; gap: 8px; height: 38px; padding: 0 8px 0 14px; }
.task .elapsed { font-variant-numeric: tabular-nums; color: var(--soft); min-width: 32px; text-align: right; }
.task .stop { background: var(--hover); height: 26px; color: var(--text); }
.task .bar { height: 2px; background: var(--faint); overflow: hidden; }
.task .bar i { display: block; height: 100%; background: var(--accent); transform-origin: 0 0; transition: transform .18s ease-out; }
.task .bar.vague i { width: 30%; animation: pass 1.4s ease-in-out infinite; }
@keyframes pass { 0% { translate: -100% 0; } 100% { translate: 340% 0; } }
@media (prefers-reduced-motion: reduce) { .task .bar.vague i { animation: none; } }
`;
const told = new Set(); // jobs whose end Python has heard of

export const mount = mounted(
  (host) => new Task(host),
  (task, data, trigger) => {
    task.tell = (job) => trigger("ended", job);
    task.update(data);
  },
);

class Task {
  constructor(host) {
    this.text = element("span", { class: "hint", role: "status" });
    this.elapsed = element("span", { class: "elapsed" });
    this.stop = element("button", { type: "button", class: "text stop", onclick: () => this.#cancel() }, icon("stop", 16), "Cancel");
    this.bar = element("div", { class: "bar", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100 }, element("i"));
    this.root = element("div", { class: "studio task", role: "region", "aria-label": "Detection" },
      element("div", { class: "line" }, this.text, this.elapsed, this.stop), this.bar);
    host.append(element("style", {}, STYLE + TASK_STYLE), this.root);
    this.stopTheme = followTheme(this.root);
  }

  update(data) {
    const before = this.data;
    this.data = data;
    if (data.job === before?.job && data.events_url === before?.events_url) return;
    this.#unfollow();
    this.state = begun();
    this.stopping = false;
    this.started = performance.now();
    this.timer = setInterval(() => this.#show(), 250);
    this.endStream = follow(data.events_url, (event) => event.job === this.data.job && this.#heard(event));
    this.#show();
  }

  destroy() {
    this.#unfollow();
    this.stopTheme();
    this.root.remove();
  }

  #unfollow() {
    clearInterval(this.timer);
    this.endStream?.();
    this.endStream = null;
  }

  #heard(event) {
    this.state = next(this.state, event);
    this.#show();
    if (!["done", "failed", "cancelled"].includes(this.state.phase)) return;
    this.#unfollow();
    if (told.has(event.job)) return;
    told.add(event.job);
    this.tell(event.job);
  }

  async #cancel() {
    this.stopping = true;
    this.#show();
    try {
      const answer = await fetch(new URL(this.data.cancel_url, document.baseURI), { method: "POST" });
      if (!answer.ok && answer.status !== 404) throw new Error(String(answer.status));
    } catch {
      this.stopping = false;
      this.state = { ...this.state, text: "Could not reach the server to stop it." };
      this.#show();
    }
  }

  #show() {
    const { fraction, text } = this.state;
    this.text.textContent = this.stopping ? "Stopping…" : text;
    this.elapsed.textContent = clock((performance.now() - this.started) / 1000);
    this.stop.disabled = this.stopping;
    this.bar.classList.toggle("vague", fraction === null);
    this.bar.firstChild.style.transform = fraction === null ? "" : `scaleX(${fraction})`;
    if (fraction === null) this.bar.removeAttribute("aria-valuenow");
    else this.bar.setAttribute("aria-valuenow", Math.round(fraction * 100));
  }
}
