import assert from "node:assert/strict";
import { test } from "node:test";
import { View, ZOOM_MAX, ZOOM_MIN } from "../../components/assets/canvas/view.js";

function view(width = 512, height = 512, ratio = 1) {
  const it = new View();
  it.resize(800, 600, ratio);
  it.setDocumentSize(width, height);
  return it;
}
const near = (a, b, tolerance = 0.51) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not near ${b}`);

test("fit shows the whole document in the middle", () => {
  for (const [w, h] of [[512, 512], [1024, 256], [256, 1024], [7, 3], [2048, 2048]]) {
    const it = view(w, h);
    const [a, b] = [it.toStage(0, 0), it.toStage(w, h)];
    assert.ok(a.x >= 0 && a.y >= 0 && b.x <= 800 && b.y <= 600);
    near(a.x, 800 - b.x, 1);
    near(a.y, 600 - b.y, 1);
  }
});

test("stage and document coordinates are inverse at any zoom", () => {
  const it = view();
  for (const zoom of [0.1, 0.37, 1, 2.5, 32]) {
    it.zoomTo(zoom, 123, 456);
    const there = it.toStage(17.25, 400.5);
    const back = it.toDocument(there.x, there.y);
    near(back.x, 17.25, 1e-9);
    near(back.y, 400.5, 1e-9);
  }
});

test("zooming keeps the point under the pointer, to a device pixel", () => {
  const it = view();
  const before = it.toDocument(300, 250);
  for (const factor of [1.3, 1.3, 2, 0.7]) {
    it.zoomBy(factor, 300, 250);
    const now = it.toStage(before.x, before.y);
    near(now.x, 300, 2);
    near(now.y, 250, 2);
  }
});

test("zoom stays within its limits", () => {
  const it = view();
  for (let i = 0; i < 50; i++) it.zoomBy(3);
  assert.equal(it.zoom, ZOOM_MAX);
  for (let i = 0; i < 50; i++) it.zoomBy(0.2);
  assert.equal(it.zoom, ZOOM_MIN);
});

test("however far one pans, a strip of the document stays in sight", () => {
  const it = view();
  for (const [dx, dy] of [[1e5, 0], [-1e5, 0], [0, 1e5], [0, -1e5]]) {
    it.panBy(dx, dy);
    const [a, b] = [it.toStage(0, 0), it.toStage(512, 512)];
    assert.ok(b.x >= 47 && a.x <= 753 && b.y >= 47 && a.y <= 553, JSON.stringify([a, b]));
  }
});

test("the corner lies on a device pixel", () => {
  const it = view(333, 217, 1.5);
  it.zoomTo(1.2345, 11, 13);
  for (const value of [it.x * 1.5, it.y * 1.5]) near(value, Math.round(value), 1e-9);
});

test("a fitted view follows the stage, one that was moved keeps its place", () => {
  const it = view();
  it.resize(400, 400, 1);
  assert.ok(it.zoom * 512 <= 400);
  it.zoomTo(2);
  it.resize(900, 700, 1);
  assert.equal(it.zoom, 2);
});
