/**
 * What is known about a running job, from its events: pure bookkeeping for the result pane. No DOM.
 *
 * A state is {phase, fraction, text, hint, preview, pictures}: phase "idle", "waiting", "running", "done", "failed" or
 * "cancelled"; `fraction` 0..1 or null where it cannot be told.
 */

import { took } from "./amounts.js";

/** @type {Readonly<JobState>} */
export const IDLE = Object.freeze({ phase: "idle", fraction: null, text: "", hint: "", preview: null, pictures: [] });

/**
 * The state in which a job begins, before anything was heard of it.
 *
 * @returns {JobState}
 */
export function begun() {
  return { ...IDLE, phase: "waiting", text: "Starting…" };
}

/**
 * Whether nothing more will be heard of a job.
 *
 * @param {JobState} state
 */
export function over({ phase }) {
  return ["done", "failed", "cancelled"].includes(phase);
}

/**
 * The state after an event; unknown kinds change nothing.
 *
 * @param {JobState} state
 * @param {JobEvent} event
 * @returns {JobState}
 */
export function next(state, event) {
  if (over(state)) return state;
  switch (event.kind) {
    case "queued":
      return { ...state, phase: "waiting", fraction: null, text: queueWords(event.ahead) };
    case "loading":
      return { ...state, phase: "waiting", fraction: event.steps > 0 ? Math.min(1, event.step / event.steps) : null,
        text: event.text || "Loading the model…" };
    case "step": {
      const { step, steps } = event;
      const preview = event.preview ? pictureUrl(event.preview) : state.preview;
      return { ...state, phase: "running", fraction: steps > 0 ? Math.min(1, step / steps) : null, text: `Step ${step} of ${steps}`,
        preview };
    }
    case "done":
      return { ...IDLE, phase: "done", pictures: (event.pictures ?? []).map(pictureOf), text: tookWords(event.seconds) };
    case "failed":
      return { ...state, phase: "failed", fraction: null, text: event.text || "This did not work.", hint: event.hint ?? "" };
    case "cancelled":
      return { ...state, phase: "cancelled", fraction: null, text: event.text || "Stopped." };
    default:
      return state;
  }
}

/**
 * An event's picture as {url, name, seed}.
 *
 * @param {string | Picture} picture
 * @returns {Picture}
 */
export function pictureOf(picture) {
  return typeof picture === "string" ? { url: picture, name: "picture.png", seed: null } : picture;
}

/**
 * Base64 of a JPEG as an address; addresses stay as they are.
 *
 * @param {string} text
 */
export function pictureUrl(text) {
  return /^(data:|blob:|https?:|\.{0,2}\/[a-z.])/i.test(text) && !text.startsWith("/9j/") ? text : `data:image/jpeg;base64,${text}`;
}

/** @param {number} ahead */
function queueWords(ahead) {
  return ahead > 0 ? `Waiting: ${ahead} ahead` : "Next in line";
}

/** @param {number} seconds */
function tookWords(seconds) {
  return seconds > 0 ? `Took ${took(seconds)}` : "";
}
