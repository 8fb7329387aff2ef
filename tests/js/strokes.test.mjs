import assert from "node:assert/strict";
import { test } from "node:test";
import { STEADY, steadiness } from "../../components/assets/canvas/hand.js";
import { Coverage } from "../../components/assets/canvas/raster.js";
import { pressureRadius, StrokeSmoother } from "../../components/assets/canvas/smoothing.js";
import { shapeCorners, snapAngle, Stroke } from "../../components/assets/canvas/strokes.js";
import { remember } from "../../components/assets/shared/memory.js";

const run = (points, options) => {
  const smoother = new StrokeSmoother(options);
  return [...points.flatMap((point) => smoother.add(point)), ...smoother.finish()];
};
const at = (x, y, radius = 3) => ({ x, y, radius });

test("a curve starts and ends where the hand did, in small steps", () => {
  const points = Array.from({ length: 30 }, (_, i) => at(i * 9, 80 + 60 * Math.sin(i / 4)));
  const curve = run(points);
  assert.deepEqual([curve[0].x, curve[0].y], [points[0].x, points[0].y]);
  assert.ok(Math.hypot(curve.at(-1).x - points[29].x, curve.at(-1).y - points[29].y) < 1e-6);
  for (let i = 1; i < curve.length; i++) assert.ok(Math.hypot(curve[i].x - curve[i - 1].x, curve[i].y - curve[i - 1].y) <= 3);
});

test("a trembling straight line comes out straighter, a straight one stays straight", () => {
  const tremble = Array.from({ length: 60 }, (_, i) => at(i * 4, 50 + (i % 2 ? 2 : -2)));
  const off = (curve) => Math.max(...curve.slice(10, -10).map(({ y }) => Math.abs(y - 50)));
  assert.ok(off(run(tremble)) < 0.6, `${off(run(tremble))}`);
  const straight = run(Array.from({ length: 60 }, (_, i) => at(i * 4, 50)));
  assert.ok(off(straight) < 1e-9);
});

test("directions of a drawn corner turn gradually", () => {
  const curve = run([at(0, 0), at(20, 0), at(40, 0), at(40, 20), at(40, 40)]);
  let sharpest = 0;
  for (let i = 2; i < curve.length - 1; i++) {
    const [a, b, c] = curve.slice(i - 2, i + 1);
    const turn = Math.abs(Math.atan2(c.y - b.y, c.x - b.x) - Math.atan2(b.y - a.y, b.x - a.x));
    sharpest = Math.max(sharpest, turn);
  }
  assert.ok(sharpest < 0.7, `${sharpest}`);
});

test("degenerate input: nothing, a dot, the same point again, points that are no numbers", () => {
  assert.deepEqual(run([]), []);
  assert.deepEqual(run([at(5, 5)]), [at(5, 5)]);
  assert.deepEqual(run([at(5, 5), at(5, 5), at(5, 5)]), [at(5, 5)]);
  const strange = run([at(NaN, 1), at(5, 5), at(Infinity, 2), at(6, 5)]);
  assert.ok(strange.length > 1 && strange.every(({ x, y }) => Number.isFinite(x) && Number.isFinite(y)));
});

test("pressure narrows within limits", () => {
  assert.equal(pressureRadius(20, 1), 10);
  assert.ok(pressureRadius(20, 0.5) < 10 && pressureRadius(20, 0.5) > pressureRadius(20, 0.1));
  assert.ok(pressureRadius(1, 0) >= 0.35);
  assert.equal(pressureRadius(20, 7), 10);
});

test("a mirrored stroke is the mirror image, pixel for pixel", () => {
  const coverage = new Coverage(64, 40);
  const stroke = new Stroke(coverage, { size: 5, mirror: true });
  stroke.add([{ x: 8, y: 8 }, { x: 20, y: 30 }, { x: 28, y: 12 }]);
  stroke.finish();
  let drawn = 0;
  for (let y = 0; y < 40; y++) {
    for (let x = 0; x < 32; x++) {
      const [left, right] = [coverage.data[y * 64 + x], coverage.data[y * 64 + 63 - x]];
      assert.ok(Math.abs(left - right) <= 1);
      drawn += left;
    }
  }
  assert.ok(drawn > 255 * 100);
});

test("a pen pressed softly draws thinner than one pressed hard; a mouse draws full width", () => {
  const ink = (pen, pressure) => {
    const coverage = new Coverage(80, 40);
    const stroke = new Stroke(coverage, { size: 20 });
    stroke.add([{ x: 15, y: 20, pen, pressure }, { x: 60, y: 20, pen, pressure }]);
    stroke.finish();
    return coverage.data.reduce((total, value) => total + value, 0);
  };
  assert.ok(ink(true, 0.2) < 0.6 * ink(true, 1));
  assert.equal(ink(false, 0.2), ink(true, 1));
});

test("Shift: straight on from the last point to the press, with a sharp corner, wherever the hand goes from there", () => {
  const [drawn, wanted] = [new Coverage(120, 120), new Coverage(120, 120)];
  const stroke = new Stroke(drawn, { size: 4 });
  stroke.straightOn({ x: 100, y: 10 }, { x: 20, y: 90 });
  stroke.add(Array.from({ length: 8 }, (_, i) => ({ x: 30 + 10 * i, y: 90 })));
  stroke.finish();
  wanted.capsule(100, 10, 2, 20, 90, 2);
  wanted.capsule(20, 90, 2, 100, 90, 2);
  const off = drawn.data.reduce((worst, value, i) => Math.max(worst, Math.abs(value - wanted.data[i])), 0);
  assert.ok(off <= 40, `differs by ${off} of 255`); // at the edges, from the many short pieces
});

test("square brushes cover whole pixels only", () => {
  const coverage = new Coverage(40, 40);
  const stroke = new Stroke(coverage, { size: 6, round: false });
  stroke.add([{ x: 10.3, y: 10.7 }, { x: 25, y: 20 }]);
  stroke.finish();
  assert.deepEqual([...new Set(coverage.data)].sort(), [0, 255]);
  const thin = new Coverage(40, 40);
  const line = new Stroke(thin, { size: 1, round: false });
  line.add([{ x: 2, y: 2 }, { x: 38, y: 5 }]);
  line.finish();
  for (let x = 2; x < 38; x++) assert.ok([2, 3, 4, 5].some((y) => thin.data[y * 40 + x]), `gap at ${x}`);
});

test("Shift: squares, circles, angles of 15 degrees", () => {
  const [from, to] = shapeCorners("rectangle", { x: 10, y: 10 }, { x: 4, y: 30 }, true);
  assert.deepEqual([from, to], [{ x: 10, y: 10 }, { x: -10, y: 30 }]);
  const end = snapAngle({ x: 0, y: 0 }, { x: 100, y: 7 });
  assert.ok(Math.abs(end.y) < 1e-9 && Math.abs(end.x - Math.hypot(100, 7)) < 1e-9);
});

test("the hand is followed as closely as was chosen: from exactly to calm", () => {
  const tremble = Array.from({ length: 200 }, (_, i) => at(i * 2, 50 + (i % 2 ? 3 : -3)));
  const off = (damping) => Math.max(...run(tremble, { damping }).slice(60, -60).map(({ y }) => Math.abs(y - 50)));
  const [exact, usual, calm] = [STEADY.min, STEADY.usual, STEADY.max].map(off);
  assert.ok(exact > 0.9 && usual < exact / 1.5 && calm < usual / 2, `${exact}, ${usual}, ${calm}`);
  const last = run(tremble, { damping: STEADY.max }).at(-1);
  assert.deepEqual([last.x, last.y], [398, 53], "and ends where the hand left");
});

test("what was chosen is kept; without a choice, and of rubbish, the usual", () => {
  const kept = new Map();
  globalThis.localStorage = { getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => kept.set(name, value) };
  assert.equal(steadiness(), STEADY.usual);
  remember("hand.steady", 0);
  assert.equal(steadiness(), 0);
  for (const rubbish of [7, -1, "0.5", null]) {
    remember("hand.steady", rubbish);
    assert.equal(steadiness(), STEADY.usual);
  }
  delete globalThis.localStorage;
  assert.equal(steadiness(), STEADY.usual, "where a browser stores nothing");
});
