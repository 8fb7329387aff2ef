/**
 * Poses as files: the JSON of OpenPose, in and out. No DOM.
 *
 *     {"people": [{"pose_keypoints_2d": [x, y, c] * 18, "face_keypoints_2d": [...] | null, "hand_left_keypoints_2d": [...] | null,
 *      "hand_right_keypoints_2d": [...] | null}], "animals": [], "canvas_height": H, "canvas_width": W}
 *
 * Read are also coordinates from 0 to 1, a list of such objects per frame (the first counts) and 25 body keypoints (BODY_25).
 */

import { DocumentError } from "../../canvas/document.js";
import { COORDINATE_MAX, drawn, MISSING, nobody, PEOPLE_MAX, present } from "./skeleton.js";

const SIDE_MAX_PX = 2048;
const UNSURE = 0.3;
const FROM_BODY_25 = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18];
const PARTS = [["left_hand", "hand_left_keypoints_2d", [21]], ["right_hand", "hand_right_keypoints_2d", [21]], ["face", "face_keypoints_2d", [70, 68]]];

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

/**
 * The skeleton document in a file's text. `present` {width, height} is the canvas where the file names none.
 * Throws a DocumentError, one sentence, for everything that is no pose. Joints of little confidence become ghosts.
 */
export function fromOpenPose(text, fallback) {
  const frame = frameOf(parse(text));
  const raw = frame.people;
  if (raw.length > PEOPLE_MAX) throw new DocumentError(`This pose file holds ${raw.length} people; at most ${PEOPLE_MAX} fit on a canvas.`);
  const lists = raw.map((person, i) => readPerson(person, i + 1));
  const points = lists.flatMap(({ body, left_hand, right_hand, face }) => [body, left_hand, right_hand, face].flatMap((part) => part ?? []).filter(present));
  const largest = Math.max(0, ...points.map(({ x, y }) => Math.max(Math.abs(x), Math.abs(y))));
  const normalised = largest <= 2;
  const size = canvasOf(frame, fallback, normalised ? [] : points);
  const shrink = Math.min(1, SIDE_MAX_PX / Math.max(size.width, size.height));
  const [sx, sy] = normalised ? [size.width * shrink, size.height * shrink] : [shrink, shrink];
  if (largest * Math.max(1, sx, sy) > COORDINATE_MAX) throw new DocumentError("This pose file holds joints far outside any picture.");
  for (const point of points) Object.assign(point, { x: point.x * sx, y: point.y * sy });
  const side = (value) => Math.max(1, Math.round(value * shrink));
  return { kind: "skeleton", width: side(size.width), height: side(size.height), people: lists };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new DocumentError("This is not a pose file: export the pose again and retry.");
  }
}

function frameOf(value) {
  const frame = Array.isArray(value) ? value[0] : value;
  if (!frame || typeof frame !== "object" || !Array.isArray(frame.people)) throw new DocumentError("This file holds no poses: a list called “people” is missing.");
  return frame;
}

function readPerson(person, number) {
  if (!person || typeof person !== "object") throw new DocumentError(`Person ${number} of this pose file is damaged.`);
  const result = nobody();
  const body = numbers(person.pose_keypoints_2d, [18, 25], `the body of person ${number}`);
  if (body) result.body = body.length === 25 ? FROM_BODY_25.map((i) => body[i]) : body;
  for (const [part, key, counts] of PARTS) {
    const points = numbers(person[key], counts, `the ${part.replace("_", " ")} of person ${number}`);
    if (!points?.some(present)) continue;
    while (part === "face" && points.length < 70) points.push({ ...MISSING });
    result[part] = points.map((point) => (present(point) ? { ...point, confidence: 1 } : point));
  }
  result.ghosts = result.body.flatMap(({ confidence }, i) => (confidence > 0 && confidence < UNSURE ? [i] : []));
  return result;
}

/** Points of a flat list x, y, c; null where there is none. */
function numbers(list, counts, what) {
  if (list === null || list === undefined || (Array.isArray(list) && list.length === 0)) return null;
  if (!Array.isArray(list) || !counts.some((count) => list.length === 3 * count)) {
    throw new DocumentError(`In this pose file ${what} needs ${counts.map((count) => 3 * count).join(" or ")} numbers.`);
  }
  if (!list.every((value) => typeof value === "number" && Number.isFinite(value))) throw new DocumentError(`In this pose file ${what} holds something that is no number.`);
  return Array.from({ length: list.length / 3 }, (_, i) => {
    const [x, y, c] = list.slice(3 * i, 3 * i + 3);
    if (c < 0) throw new DocumentError(`In this pose file ${what} holds a negative confidence.`);
    return c === 0 ? { ...MISSING } : { x, y, confidence: Math.min(1, c) };
  });
}

function canvasOf(frame, fallback, points) {
  const sides = [frame.canvas_width, frame.canvas_height];
  if (sides.every((side) => side === undefined || side === null)) {
    const fits = points.every(({ x, y }) => x <= fallback.width && y <= fallback.height);
    if (fits) return fallback;
    const upTo = (values) => Math.ceil(Math.max(64, ...values) / 64) * 64;
    return { width: upTo(points.map(({ x }) => x)), height: upTo(points.map(({ y }) => y)) };
  }
  if (!sides.every((side) => typeof side === "number" && side >= 1 && side <= COORDINATE_MAX)) throw new DocumentError("The canvas size in this pose file is not usable.");
  return { width: sides[0], height: sides[1] };
}
