/**
 * One line that follows a job: what it waits for, how far it is, and Cancel. Python hears of the end, once.
 */

import { element } from "../../shared/controls.js";
import { icon } from "../../shared/icons.js";
import { STYLE } from "../../shared/style.js";
import { followTheme } from "../../shared/theme.js";
import { Following, PROGRESS_STYLE, ProgressBar } from "../../shared/following.js";
import { mounted } from "../../shared/mounted.js";

const TASK_STYLE = `
.task { display: block; border-radius: 8px; }
.task .line { display: flex; align-items: center; gap: 8px; height: 38px; padding: 0 8px 0 14px; }
.task .elapsed { font-variant-numeric: tabular-nums; color: var(--soft); min-width: 32px; text-align: right; }
.task .stop { background: var(--hover); height: 26px; color: var(--text); }
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
  /** @type {Following | undefined} */
  following;
  /** Tells Python. @type {(job: string) => void} */
  tell = () => {};

  constructor(host) {
    this.text = element("span", { class: "hint", role: "status" });
    this.elapsed = element("span", { class: "elapsed" });
    this.stop = element("button", { type: "button", class: "text stop", onclick: () => this.following?.cancel() }, icon("stop", 16),
      "Cancel");
    this.bar = new ProgressBar();
    this.root = element("div", { class: "studio task", role: "region", "aria-label": "Detection" },
      element("div", { class: "line" }, this.text, this.elapsed, this.stop), this.bar.root);
    host.append(element("style", {}, STYLE + PROGRESS_STYLE + TASK_STYLE), this.root);
    this.stopTheme = followTheme(this.root);
  }

  update(data) {
    const before = this.data;
    this.data = data;
    if (data.job === before?.job && data.events_url === before?.events_url) return;
    this.following?.leave();
    this.following = new Following(data.job, { events: data.events_url, cancel: data.cancel_url, show: () => this.#show(),
      ended: () => this.#ended(data.job) });
    this.#show();
  }

  destroy() {
    this.following?.leave();
    this.stopTheme();
    this.root.remove();
  }

  #ended(job) {
    if (told.has(job)) return;
    told.add(job);
    this.tell(job);
  }

  #show() {
    const { following } = this;
    if (!following) return;
    this.text.textContent = following.words;
    this.elapsed.textContent = following.elapsed;
    this.stop.disabled = following.stopping;
    this.bar.show(following.state.fraction);
  }
}
