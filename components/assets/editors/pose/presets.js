/**
 * Ready poses: reading pose-presets.json, and putting one onto a canvas or in the place of somebody. No DOM.
 *
 * The file is a list of {name, label, points}; points are the 18 body keypoints as [x, y] or null, in standing heights, y down, from
 * the middle of the pose's box.
 */

import { heightOf, pelvisOf } from "./anatomy.js";
import { copy, nobody, personBounds, present } from "./skeleton.js";

const SHARE = 0.8; // of the canvas height that somebody standing takes
const MARGIN = 0.04;

/** A preset as a person around (x, y) whose standing height would be `height`. */
export function personOf(preset, { x, y }, height) {
  const person = nobody();
  person.body = preset.points.map((point) =>
    (point ? { x: x + point[0] * height, y: y + point[1] * height, confidence: 1 } : { x: 0, y: 0, confidence: 0 }));
  return person;
}

/** A preset on a canvas beside the people that are there, whole and as tall as they are. */
export function placed(preset, { width, height, people }) {
  const unit = personOf(preset, { x: 0, y: 0 }, 1);
  const [x0, y0, x1, y1] = personBounds(unit) ?? [0, 0, 1, 1];
  const tallest = people.length ? median(people.map((person) => heightOf(person, height * SHARE))) : height * SHARE;
  const fits = Math.min((width * (1 - 2 * MARGIN)) / (x1 - x0), (height * (1 - 2 * MARGIN)) / (y1 - y0));
  const tall = Math.min(tallest, fits);
  const half = ((x1 - x0) / 2) * tall;
  const feet = people.length ? Math.max(...people.map((person) => personBounds(person)?.[3] ?? 0)) : height / 2 + ((y1 - y0) / 2) * tall;
  const y = Math.min(height - (y1 * tall), Math.max(-y0 * tall, feet - y1 * tall));
  return personOf(preset, { x: freeColumn(people, width, half), y }, tall);
}

/** Somebody in the pose of a preset: same size, same pelvis (or middle), same hands and face left out. */
export function reposed(person, preset, frame) {
  const height = heightOf(person, frame.height * SHARE);
  const result = { ...copy(person), ...pick(personOf(preset, { x: 0, y: 0 }, height)) };
  const anchor = pelvisOf(person.body) ?? middle(personBounds(person)) ?? { x: frame.width / 2, y: frame.height / 2 };
  const now = pelvisOf(result.body) ?? { x: 0, y: 0 };
  const [dx, dy] = [anchor.x - now.x, anchor.y - now.y];
  result.body = result.body.map((point) => (present(point) ? { ...point, x: point.x + dx, y: point.y + dy } : point));
  return result;
}

/** The x at which somebody of half width `half` overlaps the others least; the middle where nobody is. */
function freeColumn(people, width, half) {
  const boxes = people.map(personBounds).filter(Boolean);
  const room = Math.min(width * MARGIN, Math.max(0, width / 2 - half));
  const [low, high] = half * 2 < width ? [half + room, width - half - room] : [width / 2, width / 2];
  let best = { x: width / 2, cost: Infinity };
  for (let i = 0; i <= 24; i++) {
    const x = low + ((high - low) * i) / 24;
    const overlap = boxes.reduce((sum, [x0, , x1]) => sum + Math.max(0, Math.min(x + half, x1) - Math.max(x - half, x0)), 0);
    const cost = overlap + Math.abs(x - width / 2) * 0.1;
    if (cost < best.cost) best = { x, cost };
  }
  return best.x;
}

function pick({ body, left_hand, right_hand, face, hidden, ghosts }) {
  return { body, left_hand, right_hand, face, hidden, ghosts };
}

function middle(box) {
  return box && { x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2 };
}

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)];
}
