import assert from "node:assert/strict";
import { test } from "node:test";
import { History } from "../../components/assets/canvas/history.js";
import { KEPT_BYTES_MAX, KEPT_STEPS_MAX, KeptHistory } from "../../components/assets/canvas/kept-history.js";
import { applyPixels, diffPixels, patchedDocument } from "../../components/assets/canvas/patch.js";
import { blank } from "../../components/assets/canvas/document.js";

const SIDE = 32;

/** What a browser keeps, and how many records were ever put. */
class Records {
  all = new Map();
  puts = 0;
  broken = false;
  steps = async () => structuredClone(this.all);
  keepSteps = async (slot, put, gone) => {
    if (this.broken) return false;
    this.puts += put.size;
    for (const name of gone) this.all.delete(name);
    for (const [name, record] of put) this.all.set(name, structuredClone(record));
    return true;
  };
}

/** One visit of a page: a drawing, its history, and what is kept of it. */
class Visit {
  constructor(store, drawing = blank("mask", SIDE, SIDE)) {
    this.drawing = drawing;
    this.history = new History((patch, direction) => {
      if (patch.type === "document") this.drawing = patchedDocument(patch, direction);
      else applyPixels(this.drawing.pixels, SIDE, patch);
    });
    this.kept = new KeptHistory({ slot: "a", store, history: this.history, document: () => ({ ...this.drawing, pixels: this.drawing.pixels.slice() }) });
  }

  static async again(store, drawing, earlier = null) {
    const visit = new Visit(store, structuredClone(drawing));
    visit.kept.restore(await visit.kept.read(), visit.drawing, earlier);
    return visit;
  }

  async dot(i) {
    const before = this.drawing.pixels.slice();
    this.drawing.pixels[i] = 255;
    this.history.push(diffPixels(before, this.drawing.pixels, SIDE, [0, 0, SIDE, SIDE]));
    await this.written();
  }

  async written() {
    let last = null;
    while (last !== this.kept.writing) await (last = this.kept.writing);
  }

  get dots() {
    return this.drawing.pixels.reduce((sum, value) => sum + (value > 0), 0);
  }
}

test("undo and redo go on after a reload, from where they were", async () => {
  const store = new Records();
  const first = new Visit(store);
  for (let i = 0; i < 6; i++) await first.dot(i);
  first.history.undo();
  first.history.undo();
  await first.written();
  const second = await Visit.again(store, first.drawing);
  assert.equal(second.dots, 4);
  while (second.history.redo());
  assert.equal(second.dots, 6);
  while (second.history.undo());
  assert.equal(second.dots, 0);
  await second.written();
  const third = await Visit.again(store, second.drawing);
  assert.equal(third.history.canUndo, false);
  while (third.history.redo());
  assert.equal(third.dots, 6);
});

test("a new step after a reload forgets what could be redone, on the disk too", async () => {
  const store = new Records();
  const first = new Visit(store);
  for (let i = 0; i < 4; i++) await first.dot(i);
  const second = await Visit.again(store, first.drawing);
  second.history.undo();
  await second.dot(20);
  assert.equal(store.all.size, 1 + 4);
  const third = await Visit.again(store, second.drawing);
  assert.equal(third.history.canRedo, false);
  while (third.history.undo());
  assert.equal(third.dots, 0);
});

test("each step is written once, however many there are", async () => {
  const store = new Records();
  const visit = new Visit(store);
  for (let i = 0; i < 30; i++) await visit.dot(i);
  assert.equal(store.puts, 2 * 30); // the step and the head
});

test("steps are bounded by number and by bytes, and those kept are the last", async () => {
  const store = new Records();
  const visit = new Visit(store);
  for (let i = 0; i < KEPT_STEPS_MAX + 50; i++) await visit.dot(i);
  assert.equal(store.all.size, 1 + KEPT_STEPS_MAX);
  const again = await Visit.again(store, visit.drawing);
  while (again.history.undo());
  assert.equal(again.dots, 50);
  for (const { bytes } of [0, 1, 2].map(() => ({ bytes: KEPT_BYTES_MAX / 2 - 100 }))) visit.history.push({ type: "pixels", rect: [0, 0, 1, 1], packed: new Uint8Array(2), bytes });
  await visit.written();
  const head = store.all.get("head");
  assert.equal(head.ids.length, 2);
  assert.equal(store.all.size, 3);
});

test("steps that lead to another drawing are let go, and no pixel is touched by them", async () => {
  const store = new Records();
  const first = new Visit(store);
  for (let i = 0; i < 3; i++) await first.dot(i);
  const other = blank("mask", SIDE, SIDE, 9);
  const second = await Visit.again(store, other);
  assert.equal(second.history.canUndo, false);
  await second.dot(0);
  assert.equal(store.all.size, 2);
});

test("what replaced the drawing while nobody looked is one step that undo takes back", async () => {
  const store = new Records();
  const first = new Visit(store);
  for (let i = 0; i < 3; i++) await first.dot(i);
  const second = await Visit.again(store, blank("mask", SIDE, SIDE, 9), first.drawing);
  second.history.undo();
  assert.equal(second.dots, 3);
  while (second.history.undo());
  assert.equal(second.dots, 0);
});

test("a drawing kept one stroke behind or ahead of its history is met where it is", async () => {
  const store = new Records();
  const first = new Visit(store);
  await first.dot(0);
  await first.dot(1);
  const early = structuredClone(first.drawing);
  await first.dot(2);
  const second = await Visit.again(store, early);
  assert.equal(second.dots, 2);
  second.history.redo();
  assert.equal(second.dots, 3);
  while (second.history.undo());
  assert.equal(second.dots, 0);
});

test("two tabs of one drawing cannot mix their steps up", async () => {
  const store = new Records();
  const first = new Visit(store);
  await first.dot(0);
  const [one, two] = [await Visit.again(store, first.drawing), await Visit.again(store, first.drawing)];
  await one.dot(1);
  await two.dot(2);
  await one.dot(3);
  const again = await Visit.again(store, one.drawing);
  while (again.history.undo());
  assert.equal(again.dots, 0);
  const stranger = await Visit.again(store, two.drawing);
  while (stranger.history.undo());
  assert.ok(stranger.dots <= 2 && stranger.drawing.pixels.every((value) => value === 0 || value === 255));
});

test("a browser that stores nothing keeps the history of the page", async () => {
  const store = new Records();
  store.broken = true;
  const visit = new Visit(store);
  await visit.dot(0);
  assert.equal(visit.history.undo(), true);
  assert.equal(visit.dots, 0);
});
