/** Hands and faces for people who have none: an open hand at the end of a forearm, a calm face around a nose. No DOM, no chance. */

import { fromBehind, heightOf } from "./anatomy.js";
import { angleOf, distance, turned } from "./kinematics.js";
import { copy, present } from "./skeleton.js";

/** What can be added: part, label, and the body keypoint that it hangs on. */
export const DETAILS = [["right_hand", "Right hand", 4], ["left_hand", "Left hand", 7], ["face", "Face", 0]];

const HAND_LENGTH = 0.108; // of the standing height (Drillis and Contini), wrist to the tip of the middle finger
const FACE_WIDTH = 0.082;
const EYES_APART = 0.036;

/** An open hand, wrist to fingertip and thumb first: [along the forearm, towards the thumb] in hand lengths. */
const HAND = [[0, 0], [0.18, 0.2], [0.34, 0.32], [0.47, 0.4], [0.58, 0.46], [0.5, 0.17], [0.7, 0.2], [0.82, 0.22], [0.92, 0.23],
  [0.52, 0.04], [0.74, 0.05], [0.88, 0.05], [1, 0.05], [0.5, -0.08], [0.7, -0.1], [0.82, -0.11], [0.93, -0.12],
  [0.45, -0.2], [0.6, -0.25], [0.7, -0.28], [0.78, -0.3]];

/** Half a face, the person's right: iBUG index and [x, y] from between the eyes in face widths; the other half is its mirror. */
const HALF_FACE = [
  ...Array.from({ length: 8 }, (_, i) => [i, 16 - i, -0.5 * Math.cos((i * Math.PI) / 16), 0.79 * Math.sin((i * Math.PI) / 16) ** 0.9]),
  ...Array.from({ length: 5 }, (_, i) => [17 + i, 26 - i, -0.42 + i * 0.08, -0.16 - 0.06 * Math.sin((i * Math.PI) / 4)]),
  [31, 35, -0.12, 0.4], [32, 34, -0.06, 0.42], [36, 45, -0.305, 0], [37, 44, -0.25, -0.035], [38, 43, -0.19, -0.035], [39, 42, -0.135, 0],
  [40, 47, -0.19, 0.03], [41, 46, -0.25, 0.03], [48, 54, -0.19, 0.56], [49, 53, -0.12, 0.52], [50, 52, -0.05, 0.505],
  [59, 55, -0.11, 0.615], [58, 56, -0.05, 0.635], [60, 64, -0.16, 0.56], [61, 63, -0.06, 0.548], [67, 65, -0.06, 0.575], [68, 69, -0.22, 0],
];
const FACE_MIDDLE = [[8, 0.79], [27, 0], [28, 0.11], [29, 0.22], [30, 0.33], [33, 0.435], [51, 0.515], [57, 0.64], [62, 0.552], [66, 0.58]];
const NOSE_TIP = 0.33;

/** The person with a hand or face more, or without the one that is there. */
export function toggledDetail(person, part) {
  const result = copy(person);
  if (person[part]) result[part] = null;
  else result[part] = part === "face" ? faceFor(person) : handFor(person, part);
  return result;
}

/** Whether the joint that the part hangs on is there. */
export function canHave(person, part) {
  const detail = DETAILS.find(([name]) => name === part);
  return !!detail && present(person.body[detail[2]]);
}

function handFor(person, part) {
  const [elbow, wrist] = (part === "left_hand" ? [6, 7] : [3, 4]).map((i) => person.body[i]);
  const length = HAND_LENGTH * heightOf(person);
  const angle = present(elbow) ? angleOf(elbow, wrist) : Math.PI / 2;
  // With hanging arms the thumbs point to the body, seen from the front and from behind.
  const thumb = (part === "left_hand" ? 1 : -1) * (fromBehind(person) ? -1 : 1);
  return HAND.map(([ahead, aside]) => {
    const { x, y } = turned({ x: ahead * length, y: aside * length * thumb }, { x: 0, y: 0 }, angle);
    return { x: wrist.x + x, y: wrist.y + y, confidence: 1 };
  });
}

function faceFor(person) {
  const [nose, neck, right, left] = [0, 1, 14, 15].map((i) => person.body[i]);
  const width = FACE_WIDTH * heightOf(person);
  const eyes = present(right) && present(left);
  const angle = eyes ? angleOf(right, left) : present(neck) ? angleOf(neck, nose) + Math.PI / 2 : 0;
  // A head that turns shows a narrower face.
  const narrow = eyes ? Math.min(1.1, Math.max(0.3, distance(right, left) / (EYES_APART * heightOf(person)))) : 0.45;
  const face = [];
  const put = (index, x, y) => {
    const at = turned({ x: x * width * narrow, y: (y - NOSE_TIP) * width }, { x: 0, y: 0 }, angle);
    face[index] = { x: nose.x + at.x, y: nose.y + at.y, confidence: 1 };
  };
  for (const [index, twin, x, y] of HALF_FACE) {
    put(index, x, y);
    put(twin, -x, y);
  }
  for (const [index, y] of FACE_MIDDLE) put(index, 0, y);
  return face;
}
