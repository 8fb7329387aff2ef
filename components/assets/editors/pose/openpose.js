/**
 * Poses as files: the JSON of OpenPose, in and out. No DOM.
 *
 *     {"people": [{"pose_keypoints_2d": [x, y, c] * 18, "face_keypoints_2d": [...] | null, "hand_left_keypoints_2d": [...] | null,
 *      "hand_right_keypoints_2d": [...] | null}], "animals": [], "canvas_height": H, "canvas_width": W}
 *
 * Read are also coordinates from 0 to 1, a list of such objects per frame (the first with somebody counts), 25 body keypoints (BODY_25)
 * and a canvas size that is written as text.
 */

import { DocumentError, SIDE_MAX_PX } from "../../canvas/document.js";
import { COORDINATE_MAX, drawn, MISSING, nobody, PEOPLE_MAX, present } from "./skeleton.js";

const UNSURE = 0.3;
const FROM_BODY_25 = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18];
const UNIT_MAX = 2;
const SIDE = /^ *[0-9]{1,6}(\.[0-9]{1,20})? *$/;
/** @type {[part: "body" | "left_hand" | "right_hand" | "face", key: string, counts: number[]][]} */
const PARTS = [
  ["body", "pose_keypoints_2d", [18, 25]],
  ["left_hand", "hand_left_keypoints_2d", [21]],
  ["right_hand", "hand_right_keypoints_2d", [21]],
  ["face", "face_keypoints_2d", [68, 70]],
];

/** The file's content as an object. What is hidden or unsure is not in the picture, and so not in the file. */
export function toOpenPose({ width, height, people }, { normalised = false } = {}) {
  const [across, down] = normalised ? [width, height] : [1, 1];
  const flat = (points, there) => points.flatMap((point, i) => (there(point, i) ? [point.x / across, point.y / down, 1.0] : [0, 0, 0]));
  const part = (points) => points && flat(points, present);
  return {
    people: people.filter(({ visible }) => visible !== false).map((person) => ({
      pose_keypoints_2d: flat(person.body, (_, i) => drawn({ ...person, visible: true }, i)),
      face_keypoints_2d: part(person.face),
      hand_left_keypoints_2d: part(person.left_hand),
      hand_right_keypoints_2d: part(person.right_hand),
    })),
    animals: [],
    canvas_height: height,
    canvas_width: width,
  };
}

/** The document of `readOpenPose` alone. */
export function fromOpenPose(text, fallback) {
  return readOpenPose(text, fallback).document;
}

/**
 * A file's text as {document, lost}: the skeleton of its first frame with somebody in it, and a sentence for every part (body,
 * hand, face) that is wrong and was left out, and for an unusable canvas. Each part has its own unit, pixels or shares of the canvas;
 * `fallback` {width, height} is the canvas where the file names none that can be used and everybody fits on it. Joints of little
 * confidence become ghosts.
 * Throws a DocumentError, one sentence, where nothing can be read. `annotator/formats/openpose_json.py` reads alike.
 */
export function readOpenPose(text, fallback) {
  const frame = frameOf(parse(text));
  const raw = frame.people;
  if (raw.length > PEOPLE_MAX) throw new DocumentError(`This pose file holds ${raw.length} people; at most ${PEOPLE_MAX} fit on a canvas.`);
  const lost = [];
  const people = raw.map((person, i) => readPerson(person, i + 1, lost)).filter(Boolean);
  if (lost.length && !people.length) throw new DocumentError(`This pose file cannot be read. ${lost[0]}`);
  const parts = people.flatMap(({ body, left_hand, right_hand, face }) => [body, left_hand, right_hand, face].filter(Boolean));
  const size = canvasOf(frame, fallback, parts.filter((part) => !isUnit(part)).flat().filter(present), lost);
  const shrink = Math.min(1, SIDE_MAX_PX / Math.max(size.width, size.height));
  for (const part of parts) {
    const [sx, sy] = isUnit(part) ? [size.width * shrink, size.height * shrink] : [shrink, shrink];
    for (const point of part.filter(present)) Object.assign(point, { x: point.x * sx, y: point.y * sy });
  }
  const side = (value) => Math.max(1, Math.round(value * shrink));
  return { document: { kind: "skeleton", width: side(size.width), height: side(size.height), people }, lost };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new DocumentError("This is not a pose file: export the pose again and retry.");
  }
}

function frameOf(value) {
  const frames = (Array.isArray(value) ? value : [value]).filter((one) => one && typeof one === "object" && !Array.isArray(one));
  const frame = frames.find(({ people }) => people?.length) ?? frames[0];
  if (!Array.isArray(frame?.people)) throw new DocumentError("This file holds no poses: a list called “people” is missing.");
  return frame;
}

/** A person; null, with a sentence in `lost`, when none of the parts can be read. */
function readPerson(person, number, lost) {
  if (!person || typeof person !== "object" || Array.isArray(person)) {
    lost.push(`Person ${number} was left out: it has no named points.`);
    return null;
  }
  const found = {};
  let wrong = 0;
  for (const [part, key, counts] of PARTS) {
    const { points, why } = numbers(person[key], counts);
    if (why) {
      lost.push(`The ${part.replace("_", " ")} of person ${number} was left out: ${why}.`);
      wrong += 1;
    } else if (points && part === "body") found.body = points.length === 25 ? FROM_BODY_25.map((i) => points[i]) : points;
    else if (points?.some(present)) {
      while (points.length < Math.max(...counts)) points.push({ ...MISSING });
      found[part] = points.map((point) => (present(point) ? { ...point, confidence: 1 } : point));
    }
  }
  if (wrong && !Object.keys(found).length) return null;
  const result = Object.assign(nobody(), found);
  result.ghosts = result.body.flatMap(({ confidence }, i) => (confidence > 0 && confidence < UNSURE ? [i] : []));
  return result;
}

/** {points} of a flat list x, y, c, none where there is no list; {why} says what is wrong with it. */
function numbers(list, counts) {
  if (list === null || list === undefined || (Array.isArray(list) && list.length === 0)) return {};
  if (!Array.isArray(list)) return { why: "it is no list" };
  if (!counts.some((count) => list.length === 3 * count)) {
    const count = list.length % 3 ? `${list.length} numbers` : `${list.length / 3} points`;
    return { why: `it has ${count}, and ${counts.join(" or ")} points are read` };
  }
  if (!list.every((value) => typeof value === "number")) return { why: "it holds something that is no number" };
  if (!list.every((value) => Math.abs(value) <= COORDINATE_MAX)) return { why: "it holds joints far outside any picture" };
  if (list.some((value, i) => i % 3 === 2 && value < 0)) return { why: "it holds a negative confidence" };
  return {
    points: Array.from({ length: list.length / 3 }, (_, i) => {
      const [x, y, c] = list.slice(3 * i, 3 * i + 3);
      return c === 0 ? { ...MISSING } : { x, y, confidence: Math.min(1, c) };
    }),
  };
}

/** Whether a part's coordinates are shares of the canvas: a face of two pixels does not exist. */
function isUnit(points) {
  return points.filter(present).every(({ x, y }) => Math.abs(x) < UNIT_MAX && Math.abs(y) < UNIT_MAX);
}

function canvasOf(frame, fallback, points, lost) {
  const given = [frame.canvas_width, frame.canvas_height];
  const [width, height] = given.map(sideOf);
  if (width && height) return { width, height };
  if (given.some((side) => side !== undefined && side !== null)) lost.push("The canvas size of the file was left out: it cannot be used.");
  const fits = points.every(({ x, y }) => x <= fallback.width && y <= fallback.height);
  if (fits) return fallback;
  const upTo = (values) => Math.ceil(Math.max(64, ...values) / 64) * 64;
  return { width: upTo(points.map(({ x }) => x)), height: upTo(points.map(({ y }) => y)) };
}

/** A side of the canvas in pixels, from a number or a number as text; null for one that cannot be used. */
function sideOf(given) {
  const side = typeof given === "string" && SIDE.test(given) ? Number(given) : given;
  return typeof side === "number" && side >= 1 && side <= COORDINATE_MAX ? side : null;
}
