import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ClassTable } from "../../components/assets/editors/seg/classes.js";
import { placeLabels } from "../../components/assets/editors/seg/labels.js";
import { drawLayout, LAYOUTS } from "../../components/assets/editors/seg/layouts.js";
import { decodePng, encodePng } from "../../components/assets/editors/seg/png.js";
import { use } from "../../components/assets/editors/seg/files.js";
import { cleaned, greyOf, growInto, mapFromNumbers, mapFromPng, mapFromRgba } from "../../components/assets/editors/seg/repair.js";
import { canvasFor, fitExtended, stretch } from "../../components/assets/editors/seg/scale.js";

const TABLE = new ClassTable(JSON.parse(readFileSync(new URL("../../annotator/ade20k.json", import.meta.url))).classes);
const PALETTE = Uint8Array.from(TABLE.rows.flatMap(({ rgb }) => rgb));

function coloured(indices, width, change = (rgb) => rgb) {
  const rgba = new Uint8Array(indices.length * 4).fill(255);
  indices.forEach((index, i) => rgba.set(change(TABLE.rgb(index), i), 4 * i));
  return { rgba, width, height: indices.length / width };
}

test("a clean colour map comes back class for class, and nothing counts as changed", () => {
  const indices = Array.from({ length: 150 }, (_, i) => i);
  const map = mapFromRgba(coloured(indices, 15), TABLE);
  assert.equal(map.changed, 0);
  assert.deepEqual([...map.pixels], indices.map((i) => (i === 48 ? 6 : i)));
  assert.deepEqual(map.shared, [{ classes: [6, 48], count: 2 }]);
});

test("stray colours go to the nearest class and are counted", () => {
  const indices = Array.from({ length: 900 }, (_, i) => (i * 7) % 150);
  const noisy = coloured(indices, 30, (rgb, i) => (i % 3 ? rgb : rgb.map((v) => (v > 127 ? v - 1 : v + 1))));
  const map = mapFromRgba(noisy, TABLE);
  assert.equal(map.changed, 300);
  assert.ok(Math.abs(map.far - Math.sqrt(3)) < 1e-6);
  map.pixels.forEach((value, i) => assert.ok(value === indices[i] || TABLE.sharing(value).includes(indices[i]), `pixel ${i}`));
});

test("5,000 colours and one pixel are maps too", () => {
  const rgba = new Uint8Array(5000 * 4).fill(255);
  for (let i = 0; i < 5000; i++) rgba.set([(i * 37) % 256, (i * 101) % 256, (i * 17) % 256], 4 * i);
  const map = mapFromRgba({ rgba, width: 100, height: 50 }, TABLE);
  for (let i = 0; i < 5000; i += 97) {
    const distance = ({ rgb }) => rgb.reduce((sum, value, c) => sum + (value - rgba[4 * i + c]) ** 2, 0);
    const least = Math.min(...TABLE.rows.map(distance));
    assert.equal(distance(TABLE.rows[map.pixels[i]]), least);
  }
  assert.deepEqual([...mapFromRgba({ rgba: Uint8Array.of(5, 231, 229, 255), width: 1, height: 1 }, TABLE).pixels], [2]);
});

test("mixed colours between two regions can be cleaned up to the regions' own", () => {
  const [width, height] = [40, 10];
  const rgba = new Uint8Array(width * height * 4).fill(255);
  for (let i = 0; i < width * height; i++) {
    const share = Math.min(1, Math.max(0, ((i % width) - 17) / 5)); // five columns run from sky over to person
    rgba.set([0, 1, 2].map((c) => Math.round(TABLE.rgb(2)[c] * (1 - share) + TABLE.rgb(12)[c] * share)), 4 * i);
  }
  const map = mapFromRgba({ rgba, width, height }, TABLE);
  assert.ok(new Set(map.pixels).size > 2);
  const clean = cleaned(map);
  assert.deepEqual(new Set(clean.pixels), new Set([2, 12]));
  clean.pixels.forEach((value, i) => assert.ok(i % width < 18 ? value === 2 : i % width > 21 ? value === 12 : true, `pixel ${i}`));
  assert.equal(mapFromRgba(coloured([2, 2, 12, 12], 2), TABLE).unsure, null);
});

test("a map is opened cleaned, as the command line reads it, and its guesses can be had", () => {
  const [width, height] = [64, 64];
  const rgba = new Uint8Array(width * height * 4).fill(255);
  for (let i = 0; i < width * height; i++) {
    const share = Math.min(1, Math.max(0, ((i % width) - 29) / 5));
    rgba.set([0, 1, 2].map((c) => Math.round(TABLE.rgb(2)[c] * (1 - share) + TABLE.rgb(12)[c] * share)), 4 * i);
  }
  const shown = [];
  const said = [];
  const shell = { options: { sizes: { min: 64, max: 1024, step: 64 } }, toast: (text, actions) => said.push([text, actions]) };
  use(shell, TABLE, mapFromRgba({ rgba, width, height }, TABLE), { show: (map) => shown.push(new Set(map.pixels)), recolour: () => {} });
  assert.deepEqual(shown, [new Set([2, 12])]);
  assert.match(said[0][0], /became that beside them/);
  said[0][1].find(([words]) => words.startsWith("Take the nearest"))[1]();
  assert.ok(shown[1].size > 2);
});

test("an indexed PNG gives back every index, road and skyscraper apart", async () => {
  const pixels = Uint8Array.from({ length: 37 * 11 }, (_, i) => (i * 13) % 150);
  const bytes = await encodePng({ width: 37, height: 11, pixels, palette: PALETTE });
  const png = await decodePng(bytes);
  assert.deepEqual([png.kind, png.width, png.height], ["indexed", 37, 11]);
  const map = mapFromPng(png, TABLE);
  assert.deepEqual(map.pixels, pixels);
  assert.deepEqual([map.changed, map.shared], [0, []]);
});

test("an indexed PNG with a palette of its own goes by its colours", async () => {
  const palette = Uint8Array.from([...TABLE.rgb(26), ...TABLE.rgb(2), 1, 2, 3]);
  const png = await decodePng(await encodePng({ width: 3, height: 1, pixels: Uint8Array.of(0, 1, 2), palette }));
  const map = mapFromPng(png, TABLE);
  assert.deepEqual([...map.pixels.slice(0, 2)], [26, 2]);
  assert.equal(map.changed, 1);
});

test("class numbers count from 0 or 1, and pixels of no class take the class beside them", () => {
  const grey = (values) => ({ kind: "grey", width: values.length, height: 1, pixels: Uint8Array.from(values) });
  assert.deepEqual(mapFromPng(grey([3, 27, 3]), TABLE), { numbers: [0, 1] });
  assert.deepEqual(mapFromPng(grey([3, 150, 3]), TABLE), { numbers: [1] });
  assert.deepEqual([...mapFromNumbers(grey([3, 27, 3]), 0).pixels], [3, 27, 3]);
  const map = mapFromNumbers(grey([0, 3, 0, 0, 0, 27]), 1);
  assert.deepEqual([...map.pixels], [2, 2, 2, 2, 26, 26]);
  assert.equal(map.changed, 4);
  assert.equal(mapFromPng(grey([140, 120, 230]), TABLE).changed, 0); // exact grey class colours are colours
  assert.ok(mapFromPng(grey([0, 255, 200]), TABLE).changed > 0); // and a photo is none of either
});

test("class numbers with 255 for nothing, in a grey palette and in three equal channels, are class numbers", () => {
  const grey = (values) => ({ kind: "grey", width: values.length, height: 1, pixels: Uint8Array.from(values) });
  assert.deepEqual(mapFromPng(grey([3, 255, 27]), TABLE), { numbers: [0] });
  const map = mapFromNumbers(grey([3, 255, 27, 27]), 0);
  assert.deepEqual([[...map.pixels].filter((value) => value === 3 || value === 27).length, map.changed], [4, 1]);
  const palette = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
  assert.deepEqual(mapFromPng({ ...grey([3, 27, 3]), kind: "indexed", palette }, TABLE), { numbers: [0, 1] });
  const rgba = Uint8Array.of(3, 3, 3, 255, 27, 27, 27, 255);
  assert.deepEqual(mapFromPng(greyOf({ rgba, width: 2, height: 1 }), TABLE), { numbers: [0, 1] });
  assert.equal(greyOf({ rgba: Uint8Array.of(3, 4, 3, 255), width: 1, height: 1 }), null);
});

test("holes without any class beside them stay", () => {
  const map = { width: 2, height: 2, pixels: Uint8Array.of(1, 1, 1, 1) };
  assert.equal(growInto(map, () => true), 4);
  assert.deepEqual([...map.pixels], [1, 1, 1, 1]);
});

test("what is no such PNG is left to the browser; a damaged one is told", async () => {
  const good = await encodePng({ width: 8, height: 8, pixels: new Uint8Array(64), palette: PALETTE });
  assert.equal(await decodePng(new Uint8Array(100)), null);
  assert.equal(await decodePng(await encodePng({ width: 2, height: 2, pixels: new Uint8Array(12) })), null);
  await assert.rejects(decodePng(good.slice(0, good.length - 30)), /damaged/);
  const broken = good.slice();
  broken[broken.length - 30] ^= 255;
  await assert.rejects(decodePng(broken), /damaged/);
  const enormous = good.slice();
  new DataView(enormous.buffer).setUint32(16, 100_000);
  new DataView(enormous.buffer).setUint32(20, 100_000);
  await assert.rejects(decodePng(enormous), /megapixels/);
});

test("another size takes the nearest pixel, never a mixture, and the edge goes on", () => {
  const map = { width: 2, height: 1, pixels: Uint8Array.of(3, 9) };
  assert.deepEqual([...stretch(map, 4, 2).pixels], [3, 3, 9, 9, 3, 3, 9, 9]);
  assert.deepEqual([...fitExtended(map, 2, 3).pixels], [3, 9, 3, 9, 3, 9]);
  assert.deepEqual([...fitExtended(map, 6, 1).pixels], [3, 3, 3, 9, 9, 9]);
});

test("a map is opened at the nearest canvas size that is allowed", () => {
  const limits = { min: 256, max: 1024, step: 64 };
  assert.deepEqual(canvasFor({ width: 512, height: 768 }, limits), [512, 768]);
  assert.deepEqual(canvasFor({ width: 683, height: 512 }, limits), [704, 512]);
  assert.deepEqual(canvasFor({ width: 4000, height: 2000 }, limits), [1024, 512]);
  assert.deepEqual(canvasFor({ width: 1, height: 1 }, limits), [256, 256]);
});

test("names stand inside the regions they name, with room around them", () => {
  const [width, height] = [512, 320];
  const pixels = new Uint8Array(width * height).fill(2);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const ring = Math.hypot(x - 256, y - 160); // a ring: its centroid lies in the hole
      if (ring < 120) pixels[y * width + x] = ring < 60 ? 9 : 26;
    }
  }
  pixels[3] = 100; // a speck gets no name
  const places = placeLabels({ width, height, pixels });
  assert.deepEqual(places.map(({ index }) => index), [2, 26, 9]);
  for (const { index, x, y, radius } of places) {
    for (let angle = 0; angle < 6.3; angle += 0.4) {
      const [px, py] = [Math.floor(x + 0.85 * radius * Math.cos(angle)), Math.floor(y + 0.85 * radius * Math.sin(angle))];
      assert.equal(pixels[py * width + px], index);
    }
  }
  assert.ok(Math.hypot(places[2].x - 256, places[2].y - 160) < 8);
});

test("layouts hold only classes that they name, at any size", () => {
  for (const layout of LAYOUTS) {
    const wanted = new Set([layout.base, ...layout.areas.map(([name]) => name)].map((name) => TABLE.byName.get(name)));
    assert.ok(!wanted.has(undefined), layout.id);
    for (const [width, height] of [[104, 78], [512, 512], [320, 1024]]) {
      const map = drawLayout(layout, TABLE, width, height);
      assert.equal(map.pixels.length, width * height);
      assert.deepEqual(new Set(map.pixels), wanted, `${layout.id} ${width} x ${height}`);
    }
  }
});
