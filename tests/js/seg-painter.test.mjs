import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { History } from "../../components/assets/canvas/history.js";
import { replacedRaster, replaceRaster } from "../../components/assets/canvas/patch.js";
import { ClassTable, sharesOf } from "../../components/assets/editors/seg/classes.js";
import { drawLayout, LAYOUTS } from "../../components/assets/editors/seg/layouts.js";
import { Painter } from "../../components/assets/editors/seg/painter.js";
import { fitExtended } from "../../components/assets/editors/seg/scale.js";
import { fitted, Reference } from "./seg-reference.mjs";

const CLASSES = JSON.parse(readFileSync(new URL("../../annotator/ade20k.json", import.meta.url))).classes;
const TABLE = new ClassTable(CLASSES);

/** Numbers in [0, 1) that are the same in every run (mulberry32). */
function randomOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Painter and history as the shell ties them together. */
class Desk {
  constructor(width, height, pixels) {
    this.marked = 0;
    this.painter = new Painter(() => (this.marked += 1));
    this.painter.load({ width, height, pixels }, TABLE.size);
    this.history = new History((patch, direction) => {
      if (patch.type === "pixels") this.painter.apply(patch);
      else this.painter.load(replacedRaster(patch, direction), TABLE.size);
    });
  }

  keep(patch) {
    if (patch) this.history.push(patch);
  }

  replace(next) {
    this.keep(replaceRaster(this.painter, next));
    this.painter.load(next, TABLE.size);
  }
}

function someAction(random, { width, height }) {
  const whole = (n) => Math.floor(random() * n);
  const point = () => {
    // Some on pixel corners, some far outside, most anywhere.
    const [x, y] = [(random() * 1.4 - 0.2) * width, (random() * 1.4 - 0.2) * height];
    return random() < 0.2 ? { x: Math.round(x), y: Math.round(y) } : { x, y };
  };
  const points = (least, most) => Array.from({ length: least + whole(most - least + 1) }, () => ({ ...point(), pen: random() < 0.5, pressure: random() }));
  const options = {
    label: whole(TABLE.size), size: random() < 0.3 ? 1 + whole(3) : 1 + random() * 14, round: random() < 0.6,
    mirror: random() < 0.3, solid: random() < 0.7, pressure: random() < 0.5,
  };
  const kinds = ["stroke", "stroke", "stroke", "gone", "line", "rectangle", "ellipse", "polygon", "fill", "fill", "replace", "undo", "undo", "redo", "resize", "layout"];
  const kind = kinds[whole(kinds.length)];
  if (kind === "stroke" || kind === "gone") return { kind, points: points(1, 12), options };
  if (kind === "polygon") return { kind, points: points(3, 9), options };
  if (kind === "resize") return { kind, width: 12 + whole(36), height: 12 + whole(36) };
  if (kind === "layout") return random() < 0.2 ? { kind, layout: LAYOUTS[whole(LAYOUTS.length)] } : { kind: "undo" };
  return { kind, points: points(2, 2), options };
}

function paint(desk, action) {
  const { painter, history } = desk;
  const { kind, points, options } = action;
  if (kind === "stroke" || kind === "gone") {
    painter.beginStroke(options);
    for (let i = 0; i < points.length; i += 3) painter.drawStroke(points.slice(i, i + 3));
    if (kind === "gone") painter.cancelStroke();
    else desk.keep(painter.endStroke());
  } else if (kind === "fill") desk.keep(painter.fill(points[0].x, points[0].y, options));
  else if (kind === "replace") desk.keep(painter.replace(painter.classAt(points[0].x, points[0].y), options.label));
  else if (kind === "undo") history.undo();
  else if (kind === "redo") history.redo();
  else if (kind === "resize") desk.replace(fitExtended(painter, action.width, action.height));
  else if (kind === "layout") desk.replace(drawLayout(action.layout, TABLE, painter.width, painter.height));
  else desk.keep(painter.shape(kind, points, options));
}

function paintPlainly(reference, action) {
  const { kind, points, options } = action;
  const { width, height } = reference;
  const at = ({ x, y }) => (x >= 0 && y >= 0 && x < width && y < height ? reference.pixels[Math.floor(y) * width + Math.floor(x)] : -1);
  if (kind === "undo") reference.undo();
  else if (kind === "redo") reference.redo();
  else if (kind === "resize" || kind === "layout") {
    const next = kind === "resize" ? { width: action.width, height: action.height, pixels: fitted(reference, action.width, action.height) }
      : drawLayout(action.layout, TABLE, width, height);
    reference.past.push(reference.state());
    reference.future = [];
    reference.set({ width: next.width, height: next.height, pixels: [...next.pixels] });
  } else if (kind !== "gone") {
    reference.step(() => {
      if (kind === "stroke") reference.stroke(points, options);
      else if (kind === "fill") reference.fill(points[0].x, points[0].y, options);
      else if (kind === "replace") reference.replace(at(points[0]), options.label);
      else reference.shape(kind, points, options);
    });
  }
}

test("1,000 random actions paint what the plain rules paint, and never a pixel that is no class", () => {
  const random = randomOf(20260);
  const start = Uint8Array.from({ length: 40 * 30 }, (_, i) => (i < 40 * 15 ? 2 : 9));
  const desk = new Desk(40, 30, start);
  const reference = new Reference(40, 30, start);
  const done = new Map();
  for (let n = 0; n < 1000; n++) {
    const action = someAction(random, desk.painter);
    paint(desk, action);
    paintPlainly(reference, action);
    const { painter } = desk;
    assert.deepEqual([painter.width, painter.height], [reference.width, reference.height], `action ${n}, ${action.kind}`);
    const wrong = painter.pixels.findIndex((value, i) => value !== reference.pixels[i]);
    assert.equal(wrong, -1, `action ${n}, ${JSON.stringify(action)}: pixel ${wrong}`);
    assert.ok(painter.pixels.every((value) => value < TABLE.size));
    const counts = new Uint32Array(256);
    for (const value of painter.pixels) counts[value] += 1;
    assert.deepEqual(painter.counts, counts, `counts after action ${n}, ${action.kind}`);
    assert.equal(desk.history.canUndo, reference.past.length > 0);
    assert.equal(desk.history.canRedo, reference.future.length > 0);
    done.set(action.kind, (done.get(action.kind) ?? 0) + 1);
  }
  assert.ok([...done.values()].every((count) => count >= 5), JSON.stringify([...done]));
  while (desk.history.undo());
  assert.deepEqual(desk.painter.pixels, start);
});

test("600 strokes on a large map stay undoable in little memory", () => {
  const side = 768;
  const desk = new Desk(side, side, new Uint8Array(side * side).fill(2));
  const random = randomOf(7);
  for (let n = 0; n < 600; n++) {
    const from = { x: random() * side, y: random() * side };
    const points = Array.from({ length: 10 }, (_, i) => ({ x: from.x + i * 20 * (random() - 0.4), y: from.y + i * 20 * (random() - 0.4) }));
    desk.painter.beginStroke({ label: n % 150, size: 32 });
    desk.painter.drawStroke(points);
    desk.keep(desk.painter.endStroke());
  }
  assert.ok(desk.history.bytes < 16 << 20, `${desk.history.bytes} bytes`);
  let steps = 0;
  while (desk.history.undo()) steps += 1;
  assert.ok(steps >= 500, `${steps} steps`);
  assert.ok(desk.painter.pixels.every((value) => value === 2));
});

test("an action that changes nothing is no step", () => {
  const desk = new Desk(16, 16, new Uint8Array(256).fill(4));
  assert.equal(desk.painter.fill(3, 3, { label: 4 }), null);
  assert.equal(desk.painter.replace(7, 9), null);
  assert.equal(desk.painter.shape("rectangle", [{ x: 40, y: 40 }, { x: 60, y: 60 }], { label: 1, size: 3 }), null);
  assert.equal(desk.painter.fill(-1, 99, { label: 1 }), null);
});

test("indices that are no class are repaired and counted when a map is loaded", () => {
  const painter = new Painter();
  assert.equal(painter.load({ width: 4, height: 1, pixels: Uint8Array.of(3, 150, 255, 149) }, 150), 2);
  assert.deepEqual([...painter.pixels], [3, 0, 0, 149]);
});

test("shares add up and come largest first", () => {
  const painter = new Painter();
  painter.load({ width: 10, height: 1, pixels: Uint8Array.of(2, 2, 2, 2, 2, 2, 9, 9, 9, 26) });
  assert.deepEqual(sharesOf(painter.counts).map(({ index, share }) => [index, share]), [[2, 0.6], [9, 0.3], [26, 0.1]]);
});
