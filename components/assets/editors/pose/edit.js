/**
 * What people do to a person's joints: drag one, turn a limb, move, mirror, hide, delete. No DOM; each function takes a person as
 * it was when the gesture began and returns a new one, so that a drag never drifts.
 */

import { axisOf, pelvisOf } from "./anatomy.js";
import { along, angleOf, bendOf, distance, reach, reflected, turned, twoBones } from "./kinematics.js";
import { copy, FACE_TWIN, handParent, LIMBS, MISSING, PARENT, pointAt, present, refsOf, setPoint, subtree, TWIN } from "./skeleton.js";

const UPPER = [0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17];
const TRUNK = [...UPPER, 8, 11];
/** @typedef {[root: number, middle: number, end: number]} Chain */
/** @type {Chain[]} */
const LEGS = [[8, 9, 10], [11, 12, 13]];
/** @type {Chain[]} */
const ARMS = [[2, 3, 4], [5, 6, 7]];
const MIDDLES = [3, 6, 9, 12];
const ENDS = [4, 7, 10, 13];
const HIPS = [8, 11];
/** Limbs that belong to the trunk: pulling one moves the whole person. */
const TRUNK_LIMBS = [0, 1, 6, 9];

/**
 * Drag the point `ref` to `to`. `rules`: `ik` (the limb follows its end, feet and hands stay planted), `lock` (bones keep their
 * lengths), `symmetric` (the other side does the same in the mirror), `whole` (a wrist takes the trunk along).
 */
export function dragPoint(person, ref, to, rules) {
  const result = copy(person);
  const index = Number(ref.slice(1));
  if (ref[0] === "b") {
    dragJoint(result, index, to, rules);
    const twin = TWIN[index];
    if (rules.symmetric && twin !== index && present(person.body[twin]) && !HIPS.includes(index)) {
      dragJoint(result, twin, mirroredTarget(person, index, twin, to), rules);
    }
    carryDetails(person, result);
  } else {
    dragDetail(result, ref, to, rules);
    const twin = twinRef(ref);
    if (rules.symmetric && twin !== ref && present(pointAt(person, twin))) {
      dragDetail(result, twin, mirroredMove(person, pointAt(person, ref), pointAt(person, twin), to), rules);
    }
  }
  return clamped(result);
}

/** Drag limb `limb` (index of LIMBS) from `from` to `to`: the trunk moves the person, any other limb turns about its joint. */
export function dragLimb(person, limb, from, to, rules) {
  const child = LIMBS[limb][1];
  const parent = PARENT[child];
  if (TRUNK_LIMBS.includes(limb)) return moved(person, to.x - from.x, to.y - from.y);
  const result = copy(person);
  const pull = (index, pivot, a, b) => {
    if (rules.lock) {
      turn(result, subtree(index), pivot, angleOf(pivot, b) - angleOf(pivot, a));
    } else {
      for (const each of new Set([PARENT[index], ...subtree(index)])) shift(result, each, b.x - a.x, b.y - a.y);
    }
  };
  pull(child, person.body[parent], from, to);
  const twin = TWIN[child];
  if (rules.symmetric && twin !== child && present(person.body[twin]) && present(person.body[PARENT[twin]])) {
    const [a, b] = axisOf(person);
    const there = person.body[PARENT[twin]];
    const own = reflected(person.body[parent], a, b);
    const carry = (point) => {
      const seen = reflected(point, a, b);
      return { x: seen.x + there.x - own.x, y: seen.y + there.y - own.y };
    };
    pull(twin, there, carry(from), carry(to));
  }
  carryDetails(person, result);
  return clamped(result);
}

/** The whole person moved. */
export function moved(person, dx, dy) {
  return changed(person, refsOf(person), ({ x, y }) => ({ x: x + dx, y: y + dy }));
}

/** The points `refs` through `change(point) -> {x, y}`. */
export function changed(person, refs, change) {
  const result = copy(person);
  for (const ref of refs) {
    const point = pointAt(person, ref);
    if (present(point)) setPoint(result, ref, change(point));
  }
  return result;
}

/** The person as a mirror shows it: flipped about the upright line through the trunk, right and left with changed names. */
export function mirrored(person) {
  const trunk = [1, 2, 5, 8, 11].filter((i) => present(person.body[i]));
  const used = trunk.length ? trunk.map((i) => person.body[i]) : refsOf(person).map((ref) => pointAt(person, ref));
  if (!used.length) return copy(person);
  const axis = used.reduce((sum, { x }) => sum + x, 0) / used.length;
  return swapped(changed(person, refsOf(person), ({ x, y }) => ({ x: 2 * axis - x, y })));
}

/** Right and left with changed names, nothing moved: somebody seen from the front is then seen from behind. */
export function swapped(person) {
  const result = copy(person);
  result.body = TWIN.map((twin) => ({ ...person.body[twin] }));
  [result.left_hand, result.right_hand] = [result.right_hand, result.left_hand];
  if (person.face) result.face = FACE_TWIN.map((twin) => ({ ...person.face[twin] }));
  result.hidden = person.hidden.map((i) => TWIN[i]).sort((a, b) => a - b);
  result.ghosts = person.ghosts.map((i) => TWIN[i]).sort((a, b) => a - b);
  return result;
}

/** Elbow or knee (3, 6, 9, 12) on the other side of its limb. */
export function bentOver(person, index) {
  const chain = [...ARMS, ...LEGS].find((each) => each[1] === index);
  if (!chain || !chain.every((i) => present(person.body[i]))) return person;
  const result = copy(person);
  setPoint(result, `b${index}`, reflected(person.body[index], person.body[chain[0]], person.body[chain[2]]));
  carryDetails(person, result);
  return result;
}

/** The points deleted: missing from now on. Whole hands and faces without a point left are dropped. */
export function without(person, refs) {
  const result = copy(person);
  for (const ref of refs) {
    const index = Number(ref.slice(1));
    const part = { b: "body", l: "left_hand", r: "right_hand", f: "face" }[ref[0]];
    if (!result[part]) continue;
    result[part][index] = { ...MISSING };
    if (ref[0] === "b") {
      result.hidden = result.hidden.filter((each) => each !== index);
      result.ghosts = result.ghosts.filter((each) => each !== index);
    } else if (!result[part].some(present)) result[part] = null;
  }
  return result;
}

/** Body keypoints hidden or shown: hidden unless all of them are. */
export function toggledHidden(person, indices) {
  const there = indices.filter((i) => present(person.body[i]));
  const result = copy(person);
  const all = there.every((i) => person.hidden.includes(i));
  result.hidden = all ? person.hidden.filter((i) => !there.includes(i)) : [...new Set([...person.hidden, ...there])].sort((a, b) => a - b);
  return result;
}

/** Ghosts accepted: all, or those in `indices`. */
export function accepted(person, indices = person.ghosts) {
  const result = copy(person);
  result.ghosts = person.ghosts.filter((i) => !indices.includes(i));
  for (const i of indices) if (present(result.body[i])) result.body[i].confidence = 1;
  return result;
}

// ---- one joint

function dragJoint(person, index, to, { ik, lock, whole }) {
  const { body } = person;
  const parent = PARENT[index];
  if (!ik && !lock) return put(body, index, to);
  if (index === 1) return ik && pelvisOf(body) ? pullNeck(person, to, lock) : shiftAll(person, to.x - body[1].x, to.y - body[1].y);
  if (ik && HIPS.includes(index)) return movePelvis(person, to.x - body[index].x, to.y - body[index].y, lock, index);
  if (!present(body[parent])) return hang(person, index, to);
  if (ik && ENDS.includes(index)) return pullEnd(person, index, to, { lock, whole });
  if (ik && MIDDLES.includes(index)) return pullMiddle(body, index, to, lock);
  if (!lock) return hang(person, index, to);
  return turn(person, subtree(index), body[parent], angleOf(body[parent], to) - angleOf(body[parent], body[index]));
}

/** A joint without anything to hang on, or free to change its length: it and what hangs on it follow. */
function hang(person, index, to) {
  const { x, y } = person.body[index];
  for (const each of subtree(index)) shift(person, each, to.x - x, to.y - y);
}

function pullEnd(person, index, to, { lock, whole }) {
  const { body } = person;
  const chain = chainOf(index);
  const [root, middle, end] = chain.map((i) => body[i]);
  if (!present(root)) return lock ? turn(person, [index], middle, angleOf(middle, to) - angleOf(middle, end)) : put(body, index, to);
  const [first, second] = [distance(root, middle), distance(middle, end)];
  if (whole && index < 8 && pelvisOf(body) && distance(root, to) > first + second) return reachWithTrunk(person, chain, to);
  return putChain(body, chain, twoBones(root, first, second, to, bendFor(body, chain), { stretch: !lock }));
}

/** The trunk leans over the pelvis so that the hand gets there. */
function reachWithTrunk(person, chain, to) {
  const { body } = person;
  const pelvis = pelvisOf(body);
  const solved = reach([pelvis, ...chain.map((i) => body[i])], to);
  leanTrunk(person, pelvis, angleOf(pelvis, solved[1]) - angleOf(pelvis, body[chain[0]]), true);
  chain.slice(1).forEach((joint, i) => put(body, joint, solved[i + 2]));
}

/** An elbow or knee swings about its shoulder or hip; the hand or foot stays as near to its place as it can. */
function pullMiddle(body, index, to, lock) {
  const [root, , end] = chainOf(ENDS[MIDDLES.indexOf(index)]);
  const place = lock ? along(body[root], to, distance(body[root], body[index])) : to;
  const length = present(body[end]) ? distance(body[index], body[end]) : 0;
  put(body, index, place);
  if (length && lock) put(body, end, along(place, body[end], length));
}

/** The pelvis goes, the trunk with it, the feet stay planted; legs that are too short are pulled along. */
function movePelvis(person, dx, dy, lock, grabbed) {
  const { body } = person;
  if (!lock) {
    const chain = LEGS.find(([hip]) => hip === grabbed);
    if (!chain) return undefined;
    const before = chain.map((i) => ({ ...body[i] }));
    put(body, grabbed, { x: body[grabbed].x + dx, y: body[grabbed].y + dy });
    return plant(body, chain, before, lock);
  }
  for (const index of UPPER) shift(person, index, dx, dy);
  for (const chain of LEGS) {
    const before = chain.map((i) => ({ ...body[i] }));
    shift(person, chain[0], dx, dy);
    plant(body, chain, before, lock);
  }
  return undefined;
}

/** Trunk, arms, head and hips turn about the pelvis; the feet stay planted. */
function leanTrunk(person, pelvis, angle, lock) {
  const { body } = person;
  const legs = LEGS.map((chain) => chain.map((i) => ({ ...body[i] })));
  turn(person, TRUNK, pelvis, angle);
  LEGS.forEach((chain, i) => plant(body, chain, legs[i], lock));
}

/** A leg whose hip has moved: the knee bends so that the ankle stays where it was. */
function plant(body, chain, before, lock) {
  const [hip, knee, ankle] = chain;
  if (!present(body[knee])) return;
  if (!present(body[hip])) return;
  const [first, second] = [distance(before[0], before[1]), distance(before[1], before[2])];
  if (!present(body[ankle])) return put(body, knee, along(body[hip], before[1], first));
  putChain(body, chain, twoBones(body[hip], first, second, before[2], bendOf(...before) || bendFor(body, chain), { stretch: !lock }));
}

/** The trunk turns about the pelvis; what is still missing to `to` pulls the pelvis along. */
function pullNeck(person, to, lock) {
  const { body } = person;
  const pelvis = pelvisOf(body);
  const length = distance(pelvis, body[1]);
  leanTrunk(person, pelvis, angleOf(pelvis, to) - angleOf(pelvis, body[1]), lock);
  const place = along(pelvis, to, length);
  if (lock) return movePelvis(person, to.x - place.x, to.y - place.y, true);
  for (const index of UPPER) shift(person, index, to.x - place.x, to.y - place.y);
  return undefined;
}

/** A straight limb has no side to bend to: then elbows and knees go outwards. */
function bendFor(body, chain) {
  const [root, middle, end] = chain.map((i) => body[i]);
  const side = bendOf(root, middle, end);
  if (side) return side;
  const centre = present(body[1]) ? body[1].x : root.x;
  const outwards = Math.sign(root.x - centre) || 1;
  const down = Math.sign(end.y - root.y) || 1;
  return -outwards * down;
}

/**
 * @param {number} end
 * @returns {Chain}
 */
function chainOf(end) {
  const found = [...ARMS, ...LEGS].find((chain) => chain[2] === end);
  if (!found) throw new Error(`Joint ${end} ends no arm or leg.`);
  return found;
}

function putChain(body, [, middle, end], solved) {
  put(body, middle, solved.middle);
  put(body, end, solved.end);
}

function mirroredTarget(person, index, twin, to) {
  return mirroredMove(person, person.body[index], person.body[twin], to);
}

/** Where the twin goes when a point goes to `to`: by the same way, seen in the mirror of the trunk. */
function mirroredMove(person, point, twin, to) {
  const [a, b] = axisOf(person);
  const [from, there] = [reflected(point, a, b), reflected(to, a, b)];
  return { x: twin.x + there.x - from.x, y: twin.y + there.y - from.y };
}

function twinRef(ref) {
  if (ref[0] === "l") return `r${ref.slice(1)}`;
  if (ref[0] === "r") return `l${ref.slice(1)}`;
  return ref[0] === "f" ? `f${FACE_TWIN[Number(ref.slice(1))]}` : `b${TWIN[Number(ref.slice(1))]}`;
}

// ---- hands and faces

function dragDetail(person, ref, to, { ik, lock }) {
  const index = Number(ref.slice(1));
  if (ref[0] === "f") return setPoint(person, ref, to);
  const hand = person[ref[0] === "l" ? "left_hand" : "right_hand"];
  const parent = handParent(index);
  if (parent < 0) {
    const { x, y } = hand[0];
    hand.forEach((point, i) => present(point) && setPoint(person, ref[0] + i, { x: point.x + to.x - x, y: point.y + to.y - y }));
    return undefined;
  }
  if (!(lock || ik) || !present(hand[parent])) return setPoint(person, ref, to);
  const angle = angleOf(hand[parent], to) - angleOf(hand[parent], hand[index]);
  const finger = (i) => Math.floor((i - 1) / 4);
  const beyond = hand.flatMap((point, i) => (present(point) && i >= index && finger(i) === finger(index) ? [i] : []));
  const pivot = { ...hand[parent] };
  for (const i of beyond) setPoint(person, ref[0] + i, turned(hand[i], pivot, angle));
  return undefined;
}

/** Hands go with their forearms, the face with the head. */
function carryDetails(before, after) {
  const carry = (part, root, tip) => {
    if (!after[part] || !present(before.body[tip])) return;
    const [from, to] = [before.body[tip], after.body[tip]];
    const sure = present(before.body[root]);
    const angle = sure ? angleOf(after.body[root], to) - angleOf(before.body[root], from) : 0;
    if (!angle && from.x === to.x && from.y === to.y) return;
    after[part] = after[part].map((point) => {
      if (!present(point)) return point;
      const { x, y } = turned(point, from, angle);
      return { ...point, x: x + to.x - from.x, y: y + to.y - from.y };
    });
  };
  carry("right_hand", 3, 4);
  carry("left_hand", 6, 7);
  carry("face", 1, 0);
}

// ---- moving

function put(body, index, { x, y }) {
  body[index] = { ...body[index], x, y };
}

function shift({ body }, index, dx, dy) {
  if (present(body[index])) put(body, index, { x: body[index].x + dx, y: body[index].y + dy });
}

function shiftAll(person, dx, dy) {
  for (let index = 0; index < 18; index++) shift(person, index, dx, dy);
}

function turn({ body }, indices, pivot, angle) {
  const at = { x: pivot.x, y: pivot.y };
  for (const index of indices) if (present(body[index])) put(body, index, turned(body[index], at, angle));
}

/** All coordinates within what a document may hold. */
function clamped(person) {
  for (const ref of refsOf(person)) setPoint(person, ref, pointAt(person, ref));
  return person;
}
