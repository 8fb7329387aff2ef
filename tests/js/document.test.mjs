import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { deflateSync, inflateSync } from "node:zlib";
import { blank, decode, DocumentError, encode } from "../../components/assets/canvas/document.js";
import { stored } from "../../components/assets/canvas/streams.js";

const fixture = (name) => new Uint8Array(readFileSync(new URL(`fixtures/${name}.cnsd`, import.meta.url)));
const base = (x, y) => (3 * x + 5 * y) % 251;

test("reads what Python wrote: rasters", async () => {
  for (const [kind, channels, value] of [
    ["mask", 1, base],
    ["classes", 1, (x, y) => base(x, y) % 150],
    ["rgb", 3, (x, y, c) => (base(x, y) + 7 * c) % 251],
  ]) {
    const { width, height, pixels, ...rest } = await decode(fixture(kind));
    assert.deepEqual([rest.kind, width, height, pixels.length], [kind, 12, 7, 84 * channels]);
    for (let i = 0; i < pixels.length; i++) {
      const [c, x, y] = [i % channels, Math.floor(i / channels) % 12, Math.floor(i / channels / 12)];
      assert.equal(pixels[i], value(x, y, c), `${kind} ${x},${y},${c}`);
    }
  }
});

test("reads what Python wrote: people, with points off the frame and missing ones", async () => {
  const { kind, width, height, people } = await decode(fixture("skeleton"));
  assert.deepEqual([kind, width, height, people.length], ["skeleton", 640, 480, 1]);
  assert.deepEqual(people[0].body[5], { x: 15.5, y: -11.25, confidence: 0.5 });
  assert.equal(people[0].body[3].confidence, 0);
  assert.deepEqual([people[0].hidden, people[0].ghosts, people[0].left_hand], [[2], [17], null]);
});

test("writes and reads every kind without loss", async () => {
  for (const kind of ["mask", "classes", "rgb"]) {
    const document = blank(kind, 130, 67);
    document.pixels.forEach((_, i) => (document.pixels[i] = (i * 31) % 255));
    assert.deepEqual(await decode(await encode(document)), document);
  }
  const skeleton = await decode(fixture("skeleton"));
  assert.deepEqual(await decode(await encode(skeleton)), skeleton);
});

test("a large drawing is packed as it was, though the hand goes on meanwhile", async () => {
  const document = blank("mask", 2048, 1024, 3);
  document.pixels.forEach((_, i) => (document.pixels[i] = (i * 7919) >> 5));
  const before = document.pixels.slice();
  const packing = encode(document);
  let turns = 0;
  const hand = setInterval(() => document.pixels.fill(++turns), 0);
  const { pixels } = await decode(await packing);
  clearInterval(hand);
  assert.ok(turns > 0, "others had their turn");
  assert.ok(Buffer.from(pixels).equals(before));
});

test("a few bytes are packed at once, as zlib reads them", () => {
  for (const length of [0, 1, 5553, 65535]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 31) ^ (i >> 7));
    assert.ok(inflateSync(stored(bytes)).equals(bytes), String(length));
  }
});

test("refuses, in one sentence, whatever is no document", async () => {
  const good = await encode(blank("mask", 16, 16, 9));
  const header = (object, payload = new Uint8Array()) => {
    const text = new TextEncoder().encode(JSON.stringify(object));
    const bytes = new Uint8Array(9 + text.length + payload.length);
    bytes.set(good.subarray(0, 5));
    new DataView(bytes.buffer).setUint32(5, text.length, true);
    bytes.set(text, 9);
    bytes.set(payload, 9 + text.length);
    return bytes;
  };
  const bomb = new Uint8Array(deflateSync(new Uint8Array(8 << 20)));
  const bad = [
    new Uint8Array(), new Uint8Array(9), good.subarray(0, 20), good.subarray(0, good.length - 6),
    header({ kind: "mask", width: 16, height: 16 }), header({ kind: "mask", width: 0, height: 16 }),
    header({ kind: "mask", width: 4096, height: 16 }), header({ kind: "mask", width: 1.5, height: 2 }),
    header({ kind: "voxels", width: 16, height: 16 }), header(null), header({ kind: "mask", width: 8, height: 8 }, bomb),
  ];
  for (const bytes of bad) await assert.rejects(decode(bytes), DocumentError);
});
