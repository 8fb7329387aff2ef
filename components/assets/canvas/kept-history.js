/**
 * The history in the browser's storage, beside its copy of the drawing: undo outlives a reload and a page switch.
 *
 * Every step is a record of its own, written once, and a head says in which order they come and which of them are undone. Steps
 * are differences, so they only hold for the drawing that they were made on: a fingerprint of the drawing after each says which
 * that was, and steps that do not lead to what is shown are let go. No DOM.
 */

import { documentPatch } from "./patch.js";

export const KEPT_STEPS_MAX = 200;
export const KEPT_BYTES_MAX = 16 << 20;
const HEAD = "head";

/** @typedef {{patch: Patch, bytes: number}} Step */
/** @typedef {{patch: Patch, bytes: number, print: string}} StepRecord  with the drawing's fingerprint after the step */
/** @typedef {{ids: string[], position: number, print: string}} Head  with the fingerprint of the drawing as it was last */
/** @typedef {Map<string, any>} Records */

export class KeptHistory {
  /**
   * `document()` is a copy of the present drawing; `store` as in store.js.
   *
   * @param {{slot: string, history: import("./history.js").History<any>, document: () => StudioDocument,
   *   store: {steps(slot: string): Promise<Records>, keepSteps(slot: string, put: Records, gone: string[]): Promise<boolean>}}} about
   */
  constructor({ slot, history, document, store }) {
    this.slot = slot;
    this.history = history;
    this.document = document;
    this.store = store;
    /** @type {WeakMap<Step, {id: string, print: string}>} */
    this.known = new WeakMap();
    /** @type {Set<string>} */
    this.stored = new Set();
    this.writing = Promise.resolve();
    this.waiting = false;
    history.onChange = () => this.#changed();
  }

  /** What is kept, for `restore`. */
  read() {
    return this.store.steps(this.slot);
  }

  /**
   * Take up the steps of `records` that lead to the drawing `shown`; or those that lead to `earlier`, this browser's own copy, and
   * one more from there to `shown`: somebody replaced it while no editor was open.
   *
   * @param {Records} records
   * @param {StudioDocument} shown
   * @param {StudioDocument | null} [earlier]
   */
  restore(records, shown, earlier = null) {
    this.stored = new Set([...records.keys()].filter((id) => id !== HEAD));
    const { ids, position, prints } = readable(records);
    const steps = ids.map((id, i) => {
      const { patch, bytes } = records.get(id);
      const step = { patch, bytes };
      this.known.set(step, { id, print: prints[i + 1] });
      return step;
    });
    const at = nearest(prints, fingerprint(shown), position);
    const before = at < 0 && earlier?.kind === shown.kind ? nearest(prints, fingerprint(earlier), position) : -1;
    if (at >= 0) this.history.fill(steps, at);
    else if (before >= 0) {
      this.history.fill(steps.slice(0, before), before);
      this.history.push(/** @type {any} */ (documentPatch(/** @type {StudioDocument} */ (earlier), shown)));
    }
  }

  #changed() {
    if (this.waiting) return; // several changes at once are written once
    this.waiting = true;
    this.writing = this.writing.then(() => this.#write());
  }

  async #write() {
    this.waiting = false;
    const { steps, position } = this.#latest();
    const document = this.document();
    await new Promise((resolve) => setTimeout(resolve)); // a stroke's end has other things to do first
    const print = fingerprint(document);
    const put = new Map();
    const ids = steps.map((step, i) => {
      const known = this.known.get(step) ?? { id: randomId(), print: "" };
      this.known.set(step, known);
      if (i === position - 1) known.print = print;
      if (!this.stored.has(known.id)) put.set(known.id, { patch: step.patch, bytes: step.bytes, print: known.print });
      return known.id;
    });
    const gone = [...this.stored].filter((id) => !ids.includes(id));
    if (!(await this.store.keepSteps(this.slot, new Map([...put, [HEAD, { ids, position, print }]]), gone))) return;
    for (const id of put.keys()) this.stored.add(id);
    for (const id of gone) this.stored.delete(id);
  }

  /** As many steps as may be kept: those that can be undone first, from the last one back. */
  #latest() {
    const { entries, position } = this.history;
    let [first, last, bytes] = [position, position, 0];
    const fits = (/** @type {Step} */ step) => last - first < KEPT_STEPS_MAX && bytes + step.bytes <= KEPT_BYTES_MAX;
    while (first > 0 && fits(entries[first - 1])) bytes += entries[--first].bytes;
    while (last < entries.length && fits(entries[last])) bytes += entries[last++].bytes;
    return { steps: entries.slice(first, last), position: position - first };
  }
}

/**
 * The steps around the head's position whose records are there (another tab may have taken some away), and the drawing's
 * fingerprint before the first and after each, "" where it is not known.
 *
 * @param {Records} records
 */
function readable(records) {
  /** @type {Head} */
  const { ids, position, print } = records.get(HEAD) ?? { ids: [], position: 0, print: "" };
  let [first, last] = [position, position];
  while (first > 0 && records.has(ids[first - 1])) first -= 1;
  while (last < ids.length && records.has(ids[last])) last += 1;
  const kept = ids.slice(first, last);
  const prints = ["", ...kept.map((id) => /** @type {StepRecord} */ (records.get(id)).print)];
  prints[position - first] = print;
  return { ids: kept, position: position - first, prints };
}

/**
 * Where `print` stands among `prints`, as near to `position` as can be; -1 where it does not.
 *
 * @param {string[]} prints
 * @param {string} print
 * @param {number} position
 */
function nearest(prints, print, position) {
  const places = [...prints.keys()].filter((i) => prints[i] === print);
  return places.sort((a, b) => Math.abs(a - position) - Math.abs(b - position))[0] ?? -1;
}

/**
 * A drawing in few letters: size, length and two independent 32-bit hashes (multiplicative, of Knuth's and FNV's primes).
 *
 * @param {StudioDocument} document
 */
function fingerprint(document) {
  const bytes = document.kind === "skeleton" ? new TextEncoder().encode(JSON.stringify(document.people.map(plain))) : document.pixels;
  let [a, b] = [0, 0x811c9dc5];
  for (let i = 0; i < bytes.length; i++) {
    a = (Math.imul(a, 0x9e3779b1) + bytes[i]) | 0;
    b = Math.imul(b ^ bytes[i], 0x01000193);
  }
  return `${document.kind} ${document.width} ${document.height} ${bytes.length} ${a} ${b}`;
}

/**
 * A person as lists, which do not depend on the order in which somebody wrote the names.
 *
 * @param {Person & {visible?: boolean}} person
 */
function plain({ body, left_hand, right_hand, face, hidden = [], ghosts = [], visible = true }) {
  const points = (/** @type {Joint[] | null | undefined} */ list) => list?.map(({ x, y, confidence = 1 }) => [x, y, confidence]) ?? null;
  const sorted = (/** @type {number[]} */ list) => [...list].sort((a, b) => a - b);
  return [points(body), points(left_hand), points(right_hand), points(face), sorted(hidden), sorted(ghosts), visible];
}

function randomId() {
  return `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
}
