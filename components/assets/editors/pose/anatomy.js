/**
 * How people are built: proportions, a person's size and axis, and where a missing joint would be. No DOM, no chance.
 *
 * Lengths are shares of the standing height, after the segment lengths of R. Drillis and R. Contini ("Body segment parameters",
 * 1966), with OpenPose's neck, which is the middle of the shoulders.
 */

import { along, distance, reflected, turned } from "./kinematics.js";
import { copy, nobody, PARENT, present, TWIN } from "./skeleton.js";

/** Somebody standing at ease, facing us: the 18 keypoints as [x, y] from the neck, y down, in standing heights. */
export const REST = [
  [0, -0.1], [0, 0], [-0.105, 0], [-0.135, 0.17], [-0.15, 0.325], [0.105, 0], [0.135, 0.17], [0.15, 0.325], [-0.06, 0.29],
  [-0.068, 0.53], [-0.072, 0.77], [0.06, 0.29], [0.068, 0.53], [0.072, 0.77],
  [-0.018, -0.117], [0.018, -0.117], [-0.042, -0.107], [0.042, -0.107],
].map(([x, y]) => ({ x, y }));

/** The rest length of the bone between a joint and the one that it hangs on, in standing heights; the neck has none. */
export const BONE = PARENT.map((parent, i) => (parent < 0 ? 0 : distance(REST[parent], REST[i])));

const ORDER = [1, 2, 5, 8, 11, 0, 3, 6, 9, 12, 4, 7, 10, 13, 14, 15, 16, 17];
const TRUNK = [1, 2, 5, 8, 11];

/**
 * A person's standing height in document pixels, told from the bones that are there. Bones only ever look too short (they point
 * towards us or away), so the long ones count.
 */
export function heightOf(person, fallback = 400) {
  const { body } = person;
  const there = body.flatMap((point, i) => (present(point) ? [i] : []));
  const ratio = (a, b) => distance(body[a], body[b]) / distance(REST[a], REST[b]);
  const bones = there.filter((i) => i < 14 && PARENT[i] >= 0 && there.includes(PARENT[i])).map((i) => ratio(i, PARENT[i]));
  // Without any whole bone, how far apart the joints lie tells something, too.
  const ratios = bones.length ? bones : there.flatMap((a, k) => there.slice(k + 1).map((b) => ratio(a, b)));
  if (!ratios.length) return fallback;
  ratios.sort((a, b) => a - b);
  return Math.max(1e-3, ratios[Math.floor((ratios.length - 1) * 0.7)]);
}

/** The middle of the hips, or the one that is there; null without any. */
export function pelvisOf(body) {
  return middle([body[8], body[11]]);
}

/** Two points on a person's axis, from the neck down the trunk; upright where the trunk cannot be seen. */
export function axisOf(person) {
  const { body } = person;
  const top = present(body[1]) ? body[1] : middle([body[2], body[5]]);
  const bottom = pelvisBetween(body);
  if (top && bottom && distance(top, bottom) > 1e-6) return [top, bottom];
  const centre = top ?? bottom ?? middle(body) ?? { x: 0, y: 0 };
  return [centre, { x: centre.x, y: centre.y + 1 }];
}

/**
 * Where body keypoint `index` would be, {x, y}, told from the joints that are there: like its twin seen in the mirror of the
 * trunk, else along the limb that it ends, else where it is on somebody standing who fits the present joints best.
 * `frame` {width, height} places somebody of whom nothing is there.
 */
export function placeOf(person, index, frame) {
  const { body } = person;
  const parent = PARENT[index];
  const unit = heightOf(person, frame.height * 0.8);
  if (index === 1) {
    const shoulders = present(body[2]) && present(body[5]) && middle([body[2], body[5]]);
    return shoulders || fitted(person, index, frame);
  }
  if (!present(body[parent])) return fitted(person, index, frame);
  const twin = TWIN[index];
  if (twin !== index && present(body[twin]) && present(body[PARENT[twin]])) return fromTwin(person, index);
  const grand = PARENT[parent];
  const limb = [3, 4, 6, 7, 9, 10, 12, 13].includes(index);
  if (limb && [4, 7, 10, 13].includes(index) && present(body[grand])) {
    const towards = (from, to) => Math.atan2(REST[to].y - REST[from].y, REST[to].x - REST[from].x);
    const rest = towards(parent, index) - towards(grand, parent);
    const straight = along(body[parent], { x: 2 * body[parent].x - body[grand].x, y: 2 * body[parent].y - body[grand].y },
      BONE[index] * unit);
    return turned(straight, body[parent], rest);
  }
  return fitted(person, index, frame);
}

/** The person with every missing body keypoint (or those in `wanted`) brought back. */
export function completed(person, frame, wanted = ORDER) {
  const result = copy(person);
  for (const index of ORDER) {
    if (!wanted.includes(index) || present(result.body[index])) continue;
    result.body[index] = { ...placeOf(result, index, frame), confidence: 1 };
    result.hidden = result.hidden.filter((each) => each !== index);
    result.ghosts = result.ghosts.filter((each) => each !== index);
  }
  return result;
}

/** Whether the person is seen from behind: the right side on the image's right. */
export function fromBehind({ body }) {
  const votes = [[2, 5], [8, 11], [3, 6], [9, 12]].map(([right, left]) =>
    (present(body[right]) && present(body[left]) ? Math.sign(body[right].x - body[left].x) : 0));
  return votes[0] + votes[1] === 0 ? votes[2] + votes[3] > 0 : votes[0] + votes[1] > 0;
}

/** Somebody standing at ease: neck at `neck`, `height` document pixels tall. */
export function standing(neck, height) {
  const person = nobody();
  person.body = REST.map(({ x, y }) => ({ x: neck.x + x * height, y: neck.y + y * height, confidence: 1 }));
  return person;
}

/** The middle of the hips; of one hip alone it lies half a hip's width inwards, as the shoulders show. */
function pelvisBetween(body) {
  const [right, left] = [8, 11].map((i) => present(body[i]) && body[i]);
  if (!right === !left) return pelvisOf(body);
  const [a, b] = present(body[2]) && present(body[5]) ? [body[2], body[5]]
    : present(body[1]) && present(body[2]) ? [body[2], { x: 2 * body[1].x - body[2].x, y: 2 * body[1].y - body[2].y }]
    : present(body[1]) && present(body[5]) ? [{ x: 2 * body[1].x - body[5].x, y: 2 * body[1].y - body[5].y }, body[5]] : [];
  if (!a) return pelvisOf(body);
  const share = (right ? 1 : -1) * (REST[11].x / (REST[5].x - REST[2].x));
  const hip = right || left;
  return { x: hip.x + (b.x - a.x) * share, y: hip.y + (b.y - a.y) * share };
}

/** The twin's bone in the mirror of the trunk, hung on the joint's own parent. */
function fromTwin(person, index) {
  const { body } = person;
  const [a, b] = axisOf(person);
  const twin = TWIN[index];
  const [from, to] = [reflected(body[PARENT[twin]], a, b), reflected(body[twin], a, b)];
  const own = body[PARENT[index]];
  return { x: own.x + to.x - from.x, y: own.y + to.y - from.y };
}

/** Through the similarity that carries the rest pose onto the joints of the trunk, or onto all where few of those are there. */
function fitted(person, index, frame) {
  const { body } = person;
  const trunk = TRUNK.filter((i) => present(body[i]));
  const used = trunk.length > 1 ? trunk : body.flatMap((point, i) => (present(point) ? [i] : []));
  const height = heightOf(person, frame.height * 0.8);
  const side = fromBehind(person) ? -1 : 1;
  const rest = (i) => ({ x: side * REST[i].x, y: REST[i].y });
  const [here, there] = [middle(used.map(rest)), middle(used.map((i) => body[i]))];
  if (!here || !there) return standing({ x: frame.width / 2, y: frame.height * 0.22 }, height).body[index];
  let [cos, sin] = [0, 0];
  for (const i of used) {
    const [ax, ay, bx, by] = [rest(i).x - here.x, rest(i).y - here.y, body[i].x - there.x, body[i].y - there.y];
    cos += ax * bx + ay * by;
    sin += ax * by - ay * bx;
  }
  // A single bone fits at any angle, and shoulders alone tell little: somebody hardly seen stands upright.
  const leans = trunk.length > 1 && [8, 11, 2, 5].some((joint) => present(body[joint]));
  const angle = leans ? Math.atan2(sin, cos) : 0;
  const at = turned({ x: (rest(index).x - here.x) * height, y: (rest(index).y - here.y) * height }, { x: 0, y: 0 }, angle);
  return { x: there.x + at.x, y: there.y + at.y };
}

function middle(points) {
  const there = points.filter((point) => point && (point.confidence ?? 1) > 0);
  if (!there.length) return null;
  return { x: there.reduce((sum, { x }) => sum + x, 0) / there.length, y: there.reduce((sum, { y }) => sum + y, 0) / there.length };
}
