import assert from "node:assert/strict";
import { test } from "node:test";
import { Collection } from "../../components/assets/panels/gallery/collection.js";
import { between, below, dayOf, layOut } from "../../components/assets/panels/gallery/layout.js";

const RULES = { width: 1000, target: 200, gap: 8 };
const picture = (width = 512, height = 512, day = "Today") => ({ width, height, day });

test("full rows fill the width exactly and keep every picture once, in order", () => {
  const pictures = Array.from({ length: 500 }, (_, k) => picture(256 + 64 * ((k * 7) % 12), 256 + 64 * ((k * 5) % 9)));
  const { lines, height } = layOut(pictures, RULES);
  const rows = lines.filter((line) => line.tiles);
  assert.deepEqual(rows.flatMap((row) => row.tiles.map((tile) => tile.index)), pictures.map((_, k) => k));
  for (const row of rows.slice(0, -1)) {
    const last = row.tiles.at(-1);
    assert.ok(Math.abs(last.left + last.width - RULES.width) < 1e-6);
    assert.ok(row.height <= RULES.target + 1e-6);
  }
  for (let k = 1; k < lines.length; k++) assert.ok(lines[k].top >= lines[k - 1].top + lines[k - 1].height);
  assert.equal(height, lines.at(-1).top + lines.at(-1).height);
});

test("every day has one heading, and no row mixes days", () => {
  const pictures = ["a", "a", "b", "b", "b", "c"].map((day) => picture(512, 512, day));
  const { lines } = layOut(pictures, RULES);
  assert.deepEqual(lines.filter((line) => line.day).map((line) => line.day), ["a", "b", "c"]);
  for (const line of lines.filter((one) => one.tiles)) assert.equal(new Set(line.tiles.map(({ index }) => pictures[index].day)).size, 1);
});

test("degenerate pictures still get a place", () => {
  const { lines } = layOut([picture(1, 4000), picture(4000, 1), picture(0, 0)], RULES);
  for (const tile of lines.flatMap((line) => line.tiles ?? [])) assert.ok(tile.width > 40 && Number.isFinite(tile.width));
  assert.deepEqual(layOut([], RULES), { lines: [], height: 0 });
});

test("between finds what a look at every line finds", () => {
  const { lines, height } = layOut(Array.from({ length: 300 }, () => picture()), RULES);
  for (const from of [-100, 0, 137, height / 2, height - 1, height + 50]) {
    const slow = lines.filter((line) => line.top + line.height >= from && line.top <= from + 900);
    assert.deepEqual(between(lines, from, from + 900), slow);
  }
});

test("up and down stay in the column and end at the ends", () => {
  const { lines } = layOut(Array.from({ length: 20 }, () => picture()), RULES);
  const across = lines.find((line) => line.tiles).tiles.length;
  assert.equal(below(lines, 1, 1), 1 + across);
  assert.equal(below(lines, 1 + across, -1), 1);
  assert.equal(below(lines, 1, -1), 1);
  assert.equal(below(lines, 19, 1), 19);
});

test("days by their names", () => {
  const now = new Date(2026, 4, 20, 12);
  const at = (...date) => new Date(...date).getTime() / 1000;
  assert.equal(dayOf(at(2026, 4, 20, 0, 1), now), "Today");
  assert.equal(dayOf(at(2026, 4, 19, 23, 59), now), "Yesterday");
  assert.equal(dayOf(at(2026, 4, 3), now, "en-GB"), "Sunday 3 May");
  assert.equal(dayOf(at(2024, 4, 3), now, "en-GB"), "3 May 2024");
});

test("a silent studio is a sentence, what was found stays, and the next question is asked", async (context) => {
  const answers = [];
  context.mock.method(globalThis, "fetch", async () => {
    const answer = answers.shift();
    if (!answer) throw new TypeError("Failed to fetch");
    return { ok: true, json: async () => answer };
  });
  globalThis.document = { baseURI: "http://studio/" };
  context.after(() => delete globalThis.document);
  const collection = new Collection("./gallery", () => {});
  answers.push({ pictures: [{ id: "a" }], total: 2, controls: {}, binned: 0, more: true });
  await collection.search({});
  await assert.rejects(collection.search({ text: "dog" }), /The studio does not answer/);
  assert.deepEqual([collection.pictures, collection.loading], [[{ id: "a" }], false]);
  answers.push({ pictures: [{ id: "b" }], more: false });
  await collection.next();
  assert.deepEqual(collection.pictures, [{ id: "a" }, { id: "b" }]);
});
