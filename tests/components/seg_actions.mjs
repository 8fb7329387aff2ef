/**
 * Runs random actions through the painter and tells what it did: reads {seed, actions, width, height} from the arguments,
 * writes one JSON line an action, [action, width, height, base64 of the map], for a reference in another language to follow.
 */

import { readFileSync } from "node:fs";
import { History } from "../../components/assets/canvas/history.js";
import { replacedRaster, replaceRaster } from "../../components/assets/canvas/patch.js";
import { ClassTable } from "../../components/assets/editors/seg/classes.js";
import { Painter } from "../../components/assets/editors/seg/painter.js";
import { fitExtended } from "../../components/assets/editors/seg/scale.js";

const { seed, actions, width, height } = JSON.parse(process.argv[2]);
const table = new ClassTable(JSON.parse(readFileSync(new URL("../../annotator/ade20k.json", import.meta.url))).classes);
const painter = new Painter();
painter.load({ width, height, pixels: new Uint8Array(width * height).fill(table.named("sky")) }, table.size);
const history = new History((patch, direction) => {
  if (patch.type === "pixels") painter.apply(patch);
  else painter.load(replacedRaster(patch, direction), table.size);
});

let state = seed;
/** Numbers in [0, 1) that are the same in every run (mulberry32). */
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

const whole = (n) => Math.floor(random() * n);

function some() {
  const point = () => ({ x: (random() * 1.4 - 0.2) * painter.width, y: (random() * 1.4 - 0.2) * painter.height, pen: random() < 0.5, pressure: random() });
  const points = (least, most) => Array.from({ length: least + whole(most - least + 1) }, point);
  const options = { label: whole(table.size), size: random() < 0.3 ? 1 + whole(3) : 1 + random() * 24, round: random() < 0.6, mirror: random() < 0.3, solid: random() < 0.7, pressure: random() < 0.5 };
  const kinds = ["stroke", "stroke", "stroke", "given-up", "line", "rectangle", "ellipse", "polygon", "fill", "fill", "replace", "undo", "undo", "redo", "resize"];
  const kind = kinds[whole(kinds.length)];
  const count = { stroke: [1, 12], "given-up": [1, 12], polygon: [3, 9] }[kind] ?? [2, 2];
  return { kind, points: points(...count), options, size: [24 + whole(72), 24 + whole(72)] };
}

function run({ kind, points, options, size }) {
  const keep = (patch) => patch && history.push(patch);
  const [{ x, y }] = points;
  if (kind === "stroke" || kind === "given-up") {
    painter.beginStroke(options);
    for (let i = 0; i < points.length; i += 3) painter.drawStroke(points.slice(i, i + 3));
    if (kind === "stroke") return keep(painter.endStroke());
    return painter.cancelStroke();
  }
  if (kind === "fill") return keep(painter.fill(x, y, options));
  if (kind === "replace") return keep(painter.replace(painter.classAt(x, y), options.label));
  if (kind === "undo") return history.undo();
  if (kind === "redo") return history.redo();
  if (kind !== "resize") return keep(painter.shape(kind, points, options));
  const next = fitExtended(painter, ...size);
  keep(replaceRaster(painter, next));
  return painter.load(next, table.size);
}

for (let n = 0; n < actions; n++) {
  const action = some();
  run(action);
  process.stdout.write(`${JSON.stringify([action, painter.width, painter.height, Buffer.from(painter.pixels).toString("base64")])}\n`);
}
