import assert from "node:assert/strict";
import { test } from "node:test";
import { Coverage, ellipsePoints, invert, layErase, layInk, layLabel } from "../../components/assets/canvas/raster.js";
import { fitInto, maskFromRgba, selectionFromRgba } from "../../components/assets/canvas/transform.js";

const SIZE = 48;
const sum = (bytes) => bytes.reduce((total, value) => total + value, 0);

/** Area coverage of a shape by brute force: 8 x 8 samples a pixel. */
function sampled(inside, size = SIZE) {
  const out = new Float64Array(size * size);
  for (let i = 0; i < out.length; i++) {
    for (let s = 0; s < 64; s++) {
      if (inside((i % size) + ((s % 8) + 0.5) / 8, Math.floor(i / size) + (Math.floor(s / 8) + 0.5) / 8)) out[i] += 255 / 64;
    }
  }
  return out;
}

function segmentDistance(x, y, a, b) {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const t = dx || dy ? Math.min(1, Math.max(0, ((x - a.x) * dx + (y - a.y) * dy) / (dx * dx + dy * dy))) : 0;
  return Math.hypot(x - a.x - t * dx, y - a.y - t * dy);
}

test("a thick line covers what its geometry covers", () => {
  for (const [a, b, r] of [[{ x: 10, y: 12 }, { x: 38, y: 30 }, 5], [{ x: 24, y: 24 }, { x: 24, y: 24 }, 9], [{ x: -5, y: 40 }, { x: 60, y: 41 }, 2.5]]) {
    const coverage = new Coverage(SIZE, SIZE);
    coverage.capsule(a.x, a.y, r, b.x, b.y, r);
    const wanted = sampled((x, y) => segmentDistance(x, y, a, b) <= r);
    const worst = Math.max(...wanted.map((value, i) => Math.abs(value - coverage.data[i])));
    assert.ok(worst < 40, `worst difference ${worst}`);
    assert.ok(Math.abs(sum(wanted) - sum(coverage.data)) < 0.02 * sum(wanted));
  }
});

test("a stroke that crosses itself is no darker at the crossing, whichever way it is drawn", () => {
  const [once, twice] = [new Coverage(SIZE, SIZE), new Coverage(SIZE, SIZE)];
  once.capsule(5, 5, 0.6, 40, 30, 0.6);
  twice.capsule(5, 5, 0.6, 40, 30, 0.6);
  twice.capsule(40, 30, 0.6, 5, 5, 0.6);
  const worst = Math.max(...once.data.map((value, i) => Math.abs(value - twice.data[i])));
  assert.ok(worst <= 1);
});

test("the touched rectangle holds everything that was drawn, and clear leaves nothing", () => {
  const coverage = new Coverage(SIZE, SIZE);
  const rect = coverage.polyline([{ x: 5.5, y: 8 }, { x: 30, y: 20.3 }, { x: 12, y: 44 }], 3.2, true);
  coverage.data.forEach((value, i) => {
    const [x, y] = [i % SIZE, Math.floor(i / SIZE)];
    if (value) assert.ok(x >= rect[0] && x < rect[2] && y >= rect[1] && y < rect[3]);
  });
  coverage.clear();
  assert.equal(sum(coverage.data), 0);
  assert.equal(coverage.capsule(-50, -50, 3, -40, -40, 3), null, "off the canvas");
});

test("polygons cover their area, concave and self-crossing ones by the even-odd rule", () => {
  const star = Array.from({ length: 5 }, (_, i) => ({ x: 24 + 20 * Math.sin((i * 4 * Math.PI) / 5), y: 24 - 20 * Math.cos((i * 4 * Math.PI) / 5) }));
  const shapes = [
    [{ x: 4.25, y: 3.5 }, { x: 40, y: 10 }, { x: 20, y: 44 }],
    [{ x: 4, y: 4 }, { x: 44, y: 4 }, { x: 24, y: 14 }, { x: 44, y: 44 }, { x: 4, y: 44 }],
    star,
    ellipsePoints(6, 10, 41, 33),
  ];
  for (const points of shapes) {
    const inside = (x, y) => points.reduce((odd, a, i) => {
      const b = points[(i + 1) % points.length];
      return (a.y > y) !== (b.y > y) && x < ((b.x - a.x) * (y - a.y)) / (b.y - a.y) + a.x ? !odd : odd;
    }, false);
    const coverage = new Coverage(SIZE, SIZE);
    coverage.polygon(points);
    const wanted = sampled(inside);
    assert.ok(Math.abs(sum(wanted) - sum(coverage.data)) < 0.02 * sum(wanted));
    assert.ok(Math.max(...wanted.map((value, i) => Math.abs(value - coverage.data[i]))) < 100);
  }
  assert.equal(new Coverage(8, 8).polygon([{ x: 1, y: 1 }, { x: 3, y: 3 }]), null);
});

test("flood fill takes exactly the connected region, like a plain breadth-first search", () => {
  let state = 5;
  for (let round = 0; round < 60; round++) {
    const pixels = Uint8Array.from({ length: SIZE * SIZE }, () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state / 2 ** 32 < 0.42 ? 255 : 0;
    });
    const [x, y] = [(round * 7) % SIZE, (round * 13) % SIZE];
    const coverage = new Coverage(SIZE, SIZE);
    coverage.flood(pixels, x + 0.4, y + 0.9, (value) => value < 128);
    const wanted = new Uint8Array(pixels.length);
    const queue = pixels[y * SIZE + x] < 128 ? [[x, y]] : [];
    while (queue.length) {
      const [px, py] = queue.pop();
      const i = py * SIZE + px;
      if (px < 0 || py < 0 || px >= SIZE || py >= SIZE || wanted[i] || pixels[i] >= 128) continue;
      wanted[i] = 255;
      queue.push([px + 1, py], [px - 1, py], [px, py + 1], [px, py - 1]);
    }
    assert.deepEqual(coverage.data, wanted);
  }
});

test("a fill inside a closed line leaves no pale rim and does not leak", () => {
  const coverage = new Coverage(SIZE, SIZE);
  coverage.polyline(ellipsePoints(8, 8, 40, 40), 2, true);
  const [before, out] = [new Uint8Array(SIZE * SIZE), new Uint8Array(SIZE * SIZE)];
  layInk(out, before, coverage, coverage.rect);
  const outline = out.slice();
  coverage.clear();
  const rect = coverage.flood(out, 24, 24, (value) => value < 128, true);
  layInk(out, outline, coverage, rect);
  for (let x = 10; x < 38; x++) assert.ok(out[24 * SIZE + x] > 200, `pale at ${x}`);
  assert.equal(out[0], 0);
  assert.equal(new Coverage(4, 4).flood(new Uint8Array(16), -1, 2, () => true), null);
});

test("ink, eraser and label over what was there", () => {
  const coverage = new Coverage(4, 1);
  coverage.data.set([0, 127, 128, 255]);
  const before = Uint8Array.of(100, 100, 100, 100);
  const lay = (how, ...rest) => {
    const out = new Uint8Array(4);
    how(out, before, coverage, [0, 0, 4, 1], ...rest);
    return [...out];
  };
  assert.deepEqual(lay(layInk), [100, 177, 178, 255]);
  assert.deepEqual(lay(layErase), [100, 50, 50, 0]);
  assert.deepEqual(lay(layLabel, 7), [100, 100, 7, 7]);
  const twice = Uint8Array.of(0, 1, 254, 255);
  invert(twice);
  invert(twice);
  assert.deepEqual([...twice], [0, 1, 254, 255]);
});

test("another canvas size keeps the drawing, whole and in proportion", () => {
  const pixels = new Uint8Array(64 * 32).fill(255);
  const up = fitInto({ width: 64, height: 32, pixels }, 128, 128);
  assert.equal(up.pixels[0], 0);
  assert.equal(up.pixels[64 * 128 + 64], 255);
  assert.equal(sum(up.pixels), 255 * 128 * 64);
  const back = fitInto({ ...up }, 32, 32);
  assert.ok(Math.abs(sum(back.pixels) - 255 * 32 * 16) < 255);
  const labels = fitInto({ width: 3, height: 1, pixels: Uint8Array.of(4, 9, 17) }, 300, 100, { smooth: false });
  assert.deepEqual([...new Set(labels.pixels)].sort((a, b) => a - b), [4, 9, 17]);
});

test("pictures of drawings: polarity is told by the border", () => {
  const picture = (paper, ink, alpha = 255) => {
    const bytes = new Uint8Array(20 * 20 * 4);
    for (let i = 0; i < 400; i++) {
      const line = i % 20 > 8 && i % 20 < 12;
      bytes.set(line ? [ink, ink, ink, 255] : [paper, paper, paper, alpha], i * 4);
    }
    return bytes;
  };
  for (const [bytes, found] of [[picture(250, 10), "dark on light"], [picture(0, 255), "light on dark"], [picture(0, 0, 0), "transparent"]]) {
    const result = maskFromRgba(bytes, 20, 20);
    assert.equal(result.found, found);
    assert.ok(result.pixels[10 * 20 + 10] > 240 && result.pixels[10 * 20] < 10, found);
  }
});

test("a mask is its white, or what is painted on a transparent layer, whatever lies along the border", () => {
  const grey = (values) => Uint8Array.from(values.flatMap((value) => [value, value, value, 255]));
  for (const values of [[255, 255, 255, 0], [0, 0, 0, 255], [255, 128, 0, 255]]) {
    assert.deepEqual(selectionFromRgba(grey(values)), { pixels: Uint8Array.from(values), found: "white" });
  }
  const ink = (r, g, b) => Uint8Array.of(r, g, b, 0, r, g, b, 200);
  for (const rgba of [ink(0, 0, 0), ink(255, 255, 255), ink(9, 99, 200)]) {
    assert.deepEqual(selectionFromRgba(rgba), { pixels: Uint8Array.of(0, 255), found: "painted" }, "a layer's opacity counts for nothing");
  }
});
