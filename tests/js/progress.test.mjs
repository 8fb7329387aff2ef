import assert from "node:assert/strict";
import { test } from "node:test";
import { shapeSides } from "../../components/assets/canvas/size-shapes.js";
import { clock, lasted, lasting, size, sizeOfMib, took } from "../../components/assets/shared/amounts.js";
import { begun, next, pictureUrl } from "../../components/assets/shared/progress.js";

test("a job from queue to pictures", () => {
  let state = begun();
  const hear = (event) => (state = next(state, event));
  assert.equal(hear({ kind: "queued", ahead: 2 }).text, "Waiting: 2 ahead");
  assert.equal(hear({ kind: "loading", text: "Loading Paperworld" }).text, "Loading Paperworld");
  const step = hear({ kind: "step", step: 3, steps: 20, preview: "/9j/4AAQ" });
  assert.deepEqual([step.phase, step.fraction, step.text, step.preview], ["running", 0.15, "Step 3 of 20", "data:image/jpeg;base64,/9j/4AAQ"]);
  assert.equal(hear({ kind: "step", step: 4, steps: 20, preview: null }).preview, step.preview, "the last preview stays");
  assert.equal(hear({ kind: "applause" }), state);
  const done = hear({ kind: "done", pictures: ["./p/1.png", { url: "./p/2.png", seed: 7 }], seconds: 4.25 });
  assert.deepEqual([done.phase, done.pictures[0].url, done.pictures[1].seed, done.text], ["done", "./p/1.png", 7, "Took 4.3 s"]);
  assert.equal(hear({ kind: "step", step: 5, steps: 20 }).phase, "done", "late steps change nothing");
});

test("failure keeps its sentence and its hint", () => {
  const state = next(begun(), { kind: "failed", text: "Too little memory.", hint: "Choose 512 px." });
  assert.deepEqual([state.phase, state.text, state.hint], ["failed", "Too little memory.", "Choose 512 px."]);
});

test("previews as base64 or as address", () => {
  assert.equal(pictureUrl("./studio/x.jpg"), "./studio/x.jpg");
  assert.equal(pictureUrl("/studio/x.jpg"), "/studio/x.jpg");
  assert.equal(pictureUrl("https://h/x.jpg"), "https://h/x.jpg");
  assert.equal(pictureUrl("/9j/4AAQSkZJRg"), "data:image/jpeg;base64,/9j/4AAQSkZJRg");
});

test("time as people read it", () => {
  assert.deepEqual([clock(0.4), clock(59.9), clock(60), clock(125)], ["0 s", "59 s", "1:00", "2:05"]);
});

test("canvas shapes stay on the grid and within the limits", () => {
  assert.deepEqual(shapeSides(1, 1, 512), [512, 512]);
  assert.deepEqual(shapeSides(2, 3, 768), [512, 768]);
  assert.deepEqual(shapeSides(16, 9, 1024), [1024, 576]);
  for (const longest of [256, 320, 704, 1024, 4000]) {
    for (const side of shapeSides(9, 16, longest)) assert.ok(side % 64 === 0 && side >= 256 && side <= 1024);
  }
});

test("how long something took", () => {
  assert.deepEqual([0.4, 390.4, 2720, 11_300].map(lasted), ["0 ms", "390 ms", "2.7 s", "11 s"]);
});

test("amounts as people say them", () => {
  assert.deepEqual([0, 400, 5e3, 12.4e6, 3.44e9, 12e9].map(size), ["", "1 kB", "5 kB", "12 MB", "3.4 GB", "12 GB"]);
  assert.deepEqual([0.2, 28, 1536].map(sizeOfMib), ["1 MB", "28 MB", "1.5 GB"]);
  assert.deepEqual([0.2, 40, 720, 11160].map(lasting), ["1 s", "40 s", "12 min", "3.1 h"]);
  assert.deepEqual([4.25, 41.2, 65].map(took), ["4.3 s", "41 s", "1:05"]);
});
