import assert from "node:assert/strict";
import { test } from "node:test";
import { BYTES_MAX, History } from "../../components/assets/canvas/history.js";
import { applyPixels, applyValue, clip, diffPixels, diffValue, packRuns, replacedRaster, replaceRaster, union, unpackRuns } from "../../components/assets/canvas/patch.js";

/** A small generator of numbers, the same in every run. */
function random(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

test("run-length code gives back every byte", () => {
  const pick = random(1);
  for (let round = 0; round < 200; round++) {
    const bytes = [];
    while (bytes.length < pick(3000)) {
      const [length, value] = [pick(3) ? pick(6) + 1 : pick(900), pick(3) ? pick(256) : 0];
      for (let i = 0; i < length; i++) bytes.push(value);
    }
    const input = Uint8Array.from(bytes);
    assert.deepEqual(unpackRuns(packRuns(input), input.length), input);
  }
  const zeros = new Uint8Array(4 << 20);
  assert.ok(packRuns(zeros).length <= 6);
  assert.deepEqual(unpackRuns(packRuns(zeros), zeros.length), zeros);
});

test("600 random strokes on 512 x 512 undo to the beginning and redo to the end, in a few megabytes", () => {
  const [pick, width] = [random(7), 512];
  const pixels = new Uint8Array(width * width);
  const states = [];
  const history = new History((patch) => applyPixels(pixels, width, patch));
  for (let step = 0; step < 600; step++) {
    const before = pixels.slice();
    const [x, y, size] = [pick(480), pick(480), 4 + pick(28)];
    for (let row = y; row < y + size; row++) pixels.fill(pick(256), row * width + x, row * width + x + size);
    history.push(diffPixels(before, pixels, width, [x, y, x + size, y + size]));
    if (step % 50 === 0) states.push([step, pixels.slice()]);
  }
  const last = pixels.slice();
  let undone = 600;
  while (history.undo()) {
    undone -= 1;
    const known = states.find(([step]) => step === undone - 1);
    if (known) assert.deepEqual(pixels, known[1]);
  }
  assert.equal(undone, 0);
  assert.ok(pixels.every((value) => value === 0));
  while (history.redo());
  assert.deepEqual(pixels, last);
  assert.ok(history.bytes < 8 << 20, `${history.bytes} bytes`);
});

test("memory stays bounded when every step is as large as can be", () => {
  const history = new History(() => {});
  for (let step = 0; step < 500; step++) history.push({ bytes: 1 << 20 });
  assert.ok(history.bytes <= BYTES_MAX);
  assert.ok(history.entries.length > 50);
  history.push({ bytes: BYTES_MAX * 2 });
  assert.equal(history.entries.length, 1, "one step can always be undone");
  const small = new History(() => {});
  for (let step = 0; step < 5000; step++) small.push({ bytes: 100 });
  assert.ok(small.entries.length >= 500 && small.entries.length <= 2000);
});

test("a new step forgets what could be redone, and its memory", () => {
  const applied = [];
  const history = new History((patch, direction) => applied.push([patch.id, direction]));
  for (const id of [1, 2, 3]) history.push({ id, bytes: 10 });
  history.undo();
  history.undo();
  history.push({ id: 4, bytes: 10 });
  assert.equal(history.canRedo, false);
  assert.equal(history.bytes, 2 * 74);
  history.undo();
  history.redo();
  assert.deepEqual(applied, [[3, -1], [2, -1], [4, -1], [4, 1]]);
  assert.equal(new History(() => {}).undo(), false);
});

test("no change makes no patch", () => {
  assert.equal(diffPixels(new Uint8Array(16), new Uint8Array(16), 4, [0, 0, 4, 4]), null);
  assert.equal(diffPixels(new Uint8Array(16), new Uint8Array(16), 4, null), null);
  assert.equal(diffValue({ a: 1 }, { a: 1 }), null);
});

test("values: undo and redo of edits to people", () => {
  const pick = random(3);
  const people = Array.from({ length: 5 }, () => ({ body: Array.from({ length: 18 }, () => ({ x: pick(500), y: pick(500) })) }));
  let value = structuredClone(people);
  const patches = [];
  for (let step = 0; step < 100; step++) {
    const next = structuredClone(value);
    if (pick(10) === 0) next.splice(pick(next.length + 1), pick(2), { body: [] });
    else if (next.length) Object.assign(next[pick(next.length)], { body: [{ x: pick(9999) / 7, y: pick(500) }] });
    const patch = diffValue(value, next);
    if (patch) patches.push(patch);
    value = next;
  }
  const last = value;
  for (const patch of [...patches].reverse()) value = applyValue(value, patch, -1);
  assert.deepEqual(value, people);
  for (const patch of patches) value = applyValue(value, patch, 1);
  assert.deepEqual(value, last);
});

test("replacing a raster by one of another size", () => {
  const before = { width: 4, height: 2, pixels: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) };
  const after = { width: 1, height: 3, pixels: Uint8Array.of(9, 9, 9) };
  const patch = replaceRaster(before, after);
  assert.deepEqual(replacedRaster(patch, -1), before);
  assert.deepEqual(replacedRaster(patch, 1), after);
});

test("rectangles", () => {
  assert.deepEqual(union(null, [1, 2, 3, 4]), [1, 2, 3, 4]);
  assert.deepEqual(union([0, 5, 2, 6], [1, 2, 3, 4]), [0, 2, 3, 6]);
  assert.deepEqual(clip([-3.2, 1.5, 2.1, 99], 10, 8), [0, 1, 3, 8]);
  assert.equal(clip([20, 0, 30, 5], 10, 8), null);
});
