/**
 * What a person is made of: names, limbs and colours of the 18 body keypoints, hands and faces, and safe access to them. No DOM.
 *
 * A person is that of controlnet_core/document.py: {body, left_hand, right_hand, face, hidden, ghosts, visible}; a point is
 * {x, y, confidence}, confidence 0 = missing. A `ref` names one point of a person: "b4" (body), "l0" (left hand), "r20" (right
 * hand), "f69" (face). Functions here never change what they are given unless their name says `set`.
 */

export const NAMES = ["Nose", "Neck", "Right shoulder", "Right elbow", "Right wrist", "Left shoulder", "Left elbow", "Left wrist",
  "Right hip",
  "Right knee", "Right ankle", "Left hip", "Left knee", "Left ankle", "Right eye", "Left eye", "Right ear", "Left ear"];

/** The 17 drawn connections in drawing order; limb i has colour i. */
export const LIMBS = [[1, 2], [1, 5], [2, 3], [3, 4], [5, 6], [6, 7], [1, 8], [8, 9], [9, 10], [1, 11], [11, 12], [12, 13], [1, 0], [0, 14],
  [14, 16], [0, 15], [15, 17]];

/** @type {[red: number, green: number, blue: number][]} */
export const COLOURS = [[255, 0, 0], [255, 85, 0], [255, 170, 0], [255, 255, 0], [170, 255, 0], [85, 255, 0], [0, 255, 0], [0, 255, 85],
  [0, 255, 170], [0, 255, 255], [0, 170, 255], [0, 85, 255], [0, 0, 255], [85, 0, 255],
  [170, 0, 255], [255, 0, 255], [255, 0, 170], [255, 0, 85]];

/** Wrist to fingertip, thumb first; edge i has hue i / 20. */
export const HAND_EDGES = Array.from({ length: 20 }, (_, i) => [i % 4 === 0 ? 0 : i, i + 1]);

/** The joint that each body keypoint hangs on; the neck hangs on nothing. */
export const PARENT = [1, -1, 1, 2, 3, 1, 5, 6, 1, 8, 9, 1, 11, 12, 0, 0, 14, 15];
export const CHILDREN = PARENT.map((_, i) => PARENT.flatMap((parent, child) => (parent === i ? [child] : [])));
/** The same joint on the other side. */
export const TWIN = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16];
export const HEAD = [0, 14, 15, 16, 17];
/** The order in which Tab visits joints: head, trunk, arms, legs, from the image's left for somebody facing us. */
export const TAB_ORDER = [0, 14, 16, 15, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

/** The other side's point of a 70-point face (the 68 of iBUG, then right and left pupil). */
export const FACE_TWIN = faceTwins();

export const PARTS = { b: "body", l: "left_hand", r: "right_hand", f: "face" };
/** @type {Readonly<Joint>} */
export const MISSING = Object.freeze({ x: 0, y: 0, confidence: 0 });
export const COORDINATE_MAX = 1e5;
export const PEOPLE_MAX = 64;

const FINGERS = ["Thumb", "Index finger", "Middle finger", "Ring finger", "Little finger"];

/** A person without any joint. */
export function nobody() {
  const [hidden, ghosts] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
  return { body: Array.from({ length: 18 }, () => ({ ...MISSING })), left_hand: null, right_hand: null, face: null, hidden, ghosts,
    visible: true };
}

/** A person with all fields, whatever optional ones a document leaves out. */
export function whole(person) {
  const { body, left_hand = null, right_hand = null, face = null, hidden = [], ghosts = [], visible = true } = person;
  return { body, left_hand, right_hand, face, hidden: [...hidden].sort(ascending), ghosts: [...ghosts].sort(ascending), visible };
}

export function copy(person) {
  const points = (list) => list && list.map((point) => ({ ...point }));
  return { ...person, body: points(person.body), left_hand: points(person.left_hand), right_hand: points(person.right_hand),
    face: points(person.face),
    hidden: [...person.hidden], ghosts: [...person.ghosts] };
}

export function pointAt(person, ref) {
  return person[PARTS[ref[0]]]?.[Number(ref.slice(1))];
}

export function setPoint(person, ref, { x, y }) {
  const index = Number(ref.slice(1));
  const list = person[PARTS[ref[0]]];
  list[index] = { ...list[index], x: clampCoordinate(x), y: clampCoordinate(y) };
}

export function clampCoordinate(value) {
  return Math.min(COORDINATE_MAX, Math.max(-COORDINATE_MAX, value));
}

export function present(point) {
  return !!point && point.confidence > 0;
}

/** Whether body keypoint `index` reaches the picture: present, accepted and shown. */
export function drawn(person, index) {
  return person.visible && present(person.body[index]) && !person.hidden.includes(index) && !person.ghosts.includes(index);
}

/** The refs of all points that are there, body first. */
export function refsOf(person) {
  return Object.entries(PARTS).flatMap(([letter, part]) =>
    (person[part] ?? []).flatMap((point, index) => (present(point) ? [letter + index] : [])));
}

/** "Right wrist", "Left index finger 2", "Face 12". */
export function nameOf(ref) {
  const index = Number(ref.slice(1));
  if (ref[0] === "b") return NAMES[index];
  if (ref[0] === "f") return index > 67 ? ["Right pupil", "Left pupil"][index - 68] : `Face ${index + 1}`;
  const side = ref[0] === "l" ? "Left" : "Right";
  if (index === 0) return `${side} hand`;
  return `${side} ${FINGERS[Math.floor((index - 1) / 4)].toLowerCase()} ${((index - 1) % 4) + 1}`;
}

/** The point that a point of a hand hangs on, as an index of the hand; -1 for its wrist. */
export function handParent(index) {
  return index === 0 ? -1 : index % 4 === 1 ? 0 : index - 1;
}

/** A joint and all that hangs on it. */
export function subtree(index) {
  return [index, ...CHILDREN[index].flatMap(subtree)];
}

/**
 * Around points; null without any.
 *
 * @param {(Place | null)[]} points
 * @returns {Rect | null}
 */
export function bounds(points) {
  const there = points.filter((point) => point !== null && point !== undefined);
  if (!there.length) return null;
  const [xs, ys] = [there.map(({ x }) => x), there.map(({ y }) => y)];
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

export function personBounds(person) {
  return bounds(refsOf(person).map((ref) => pointAt(person, ref)));
}

function ascending(a, b) {
  return a - b;
}

function faceTwins() {
  const twin = Array.from({ length: 70 }, (_, i) => i);
  const pair = (a, b) => ([twin[a], twin[b]] = [b, a]);
  for (let i = 0; i < 8; i++) pair(i, 16 - i); // jaw
  for (let i = 0; i < 5; i++) pair(17 + i, 26 - i); // brows
  for (let i = 0; i < 2; i++) pair(31 + i, 35 - i); // nostrils
  for (const [a, b] of [[36, 45], [37, 44], [38, 43], [39, 42], [40, 47], [41, 46]]) pair(a, b); // eyes
  for (const [a, b] of [[48, 54], [49, 53], [50, 52], [59, 55], [58, 56], [60, 64], [61, 63], [67, 65]]) pair(a, b); // lips
  pair(68, 69); // pupils
  return twin;
}
