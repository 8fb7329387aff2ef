import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { BONE, completed, heightOf, placeOf, REST, standing } from "../../components/assets/editors/pose/anatomy.js";
import { canHave, DETAILS, toggledDetail } from "../../components/assets/editors/pose/details.js";
import { accepted, bentOver, changed, dragLimb, dragPoint, mirrored, moved, swapped, toggledHidden, without } from "../../components/assets/editors/pose/edit.js";
import { boxOf, handlePlace, HANDLES, inside, padded, scaling, segmentDistance, turning } from "../../components/assets/editors/pose/group.js";
import { bendOf, distance, reach, reflected, twoBones } from "../../components/assets/editors/pose/kinematics.js";
import { pick } from "../../components/assets/editors/pose/pick.js";
import { personOf, placed, reposed } from "../../components/assets/editors/pose/presets.js";
import { Selection } from "../../components/assets/editors/pose/selection.js";
import { FACE_TWIN, LIMBS, NAMES, PARENT, personBounds, pointAt, present, refsOf, TWIN, whole } from "../../components/assets/editors/pose/skeleton.js";

const PRESETS = JSON.parse(readFileSync(new URL("../../components/assets/editors/pose/presets.json", import.meta.url)));
const FRAME = { width: 512, height: 512 };
const RULES = { ik: true, lock: true, symmetric: false };
const FREE = { ik: false, lock: false, symmetric: false };
const near = (a, b, tolerance = 1e-6) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not near ${b}`);
const nearPoint = (a, b, tolerance = 1e-6) => {
  near(a.x, b.x, tolerance);
  near(a.y, b.y, tolerance);
};

/** The same numbers in every run (mulberry32). */
function randoms(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function somebody() {
  const person = standing({ x: 256, y: 120 }, 380);
  const hand = (wrist) => Array.from({ length: 21 }, (_, i) => ({ x: wrist.x + i, y: wrist.y + 2 * i, confidence: 1 }));
  person.left_hand = hand(person.body[7]);
  person.right_hand = hand(person.body[4]);
  person.face = Array.from({ length: 70 }, (_, i) => ({ x: 236 + (i % 10) * 4, y: 70 + Math.floor(i / 10) * 5, confidence: 1 }));
  return person;
}

const lengths = ({ body }) => PARENT.map((parent, i) => (parent < 0 ? 0 : distance(body[parent], body[i])));

// ---- inverse kinematics

test("two bones reach what is within reach, keep their lengths, and bend to the side asked for", () => {
  const random = randoms(1);
  for (let i = 0; i < 2000; i++) {
    const [a, b] = [20 + random() * 80, 20 + random() * 80];
    const root = { x: random() * 500, y: random() * 500 };
    const far = Math.abs(a - b) + 0.01 + random() * (a + b - Math.abs(a - b) - 0.02);
    const angle = random() * 2 * Math.PI;
    const target = { x: root.x + far * Math.cos(angle), y: root.y + far * Math.sin(angle) };
    for (const bend of [1, -1]) {
      const { middle, end } = twoBones(root, a, b, target, bend);
      nearPoint(end, target);
      near(distance(root, middle), a);
      near(distance(middle, end), b);
      assert.equal(bendOf(root, middle, end) || bend, bend);
    }
  }
});

test("out of reach two bones are straight and point at the target; stretched they get there", () => {
  const root = { x: 10, y: 10 };
  const target = { x: 310, y: 410 };
  const { middle, end } = twoBones(root, 60, 40, target, 1);
  near(distance(root, end), 100);
  near(distance(root, middle), 60);
  near(segmentDistance(middle, root, target), 0);
  near(segmentDistance(end, root, target), 0);
  const stretched = twoBones(root, 60, 40, target, 1, { stretch: true });
  nearPoint(stretched.end, target);
  near(distance(root, stretched.middle) / distance(stretched.middle, stretched.end), 1.5);
});

test("degenerate bones give numbers", () => {
  for (const [a, b, target] of [[0, 0, { x: 5, y: 5 }], [50, 50, { x: 0, y: 0 }], [0, 30, { x: 100, y: 0 }], [30, 0, { x: 0, y: 0 }]]) {
    const { middle, end } = twoBones({ x: 0, y: 0 }, a, b, target, 0);
    for (const value of [middle.x, middle.y, end.x, end.y]) assert.ok(Number.isFinite(value));
    near(distance(middle, end), b);
  }
});

test("a chain reaches, keeps its lengths and its root; out of reach it is straight", () => {
  const random = randoms(2);
  for (let i = 0; i < 300; i++) {
    const chain = [{ x: 0, y: 0 }];
    for (let k = 0; k < 4; k++) {
      const angle = random() * 6.28;
      const last = chain.at(-1);
      chain.push({ x: last.x + 50 * Math.cos(angle), y: last.y + 50 * Math.sin(angle) });
    }
    const angle = random() * 6.28;
    const far = 30 + random() * 150;
    const target = { x: far * Math.cos(angle), y: far * Math.sin(angle) };
    const solved = reach(chain, target);
    assert.deepEqual(solved[0], { x: 0, y: 0 });
    solved.slice(1).forEach((point, k) => near(distance(solved[k], point), 50));
    near(distance(solved.at(-1), target), 0, 0.05);
    const out = reach(chain, { x: 900, y: 0 });
    out.forEach((point, k) => nearPoint(point, { x: 50 * k, y: 0 }));
  }
});

// ---- dragging

test("dragging any joint under lock and IK keeps every bone's length", () => {
  const random = randoms(3);
  for (let i = 0; i < 18; i++) {
    for (let k = 0; k < 60; k++) {
      const before = somebody();
      const after = dragPoint(before, `b${i}`, { x: random() * 700 - 100, y: random() * 700 - 100 }, { ...RULES, whole: k % 2 === 0 });
      const [a, b] = [lengths(before), lengths(after)];
      a.forEach((length, bone) => near(b[bone], length, 1e-6));
    }
  }
});

test("a dragged wrist is where the pointer is, its shoulder stays, the elbow follows", () => {
  const before = somebody();
  const target = { x: before.body[2].x - 60, y: before.body[2].y + 40 };
  const after = dragPoint(before, "b4", target, RULES);
  nearPoint(after.body[4], target);
  nearPoint(after.body[2], before.body[2], 0);
  assert.ok(distance(after.body[3], before.body[3]) > 1);
  for (const i of [0, 1, 5, 6, 7, 8, 9, 10]) assert.deepEqual(after.body[i], before.body[i]);
});

test("a hip dragged down bends the knees and leaves the feet where they are", () => {
  const before = somebody();
  const after = dragPoint(before, "b8", { x: before.body[8].x, y: before.body[8].y + 60 }, RULES);
  nearPoint(after.body[10], before.body[10]);
  nearPoint(after.body[13], before.body[13]);
  near(after.body[1].y, before.body[1].y + 60);
  assert.ok(distance(after.body[9], before.body[9]) > 20);
});

test("the trunk leans after a hand when asked to", () => {
  const before = somebody();
  const target = { x: before.body[4].x - 120, y: before.body[2].y };
  const alone = dragPoint(before, "b4", target, RULES);
  const leaning = dragPoint(before, "b4", target, { ...RULES, whole: true });
  assert.ok(distance(alone.body[4], target) > 10);
  near(distance(leaning.body[4], target), 0, 0.1);
  for (const i of [10, 13]) nearPoint(leaning.body[i], before.body[i], 8); // a straight leg is pulled along
});

test("free dragging moves one joint; what people have hanging on it follows", () => {
  const before = somebody();
  const after = dragPoint(before, "b4", { x: 30, y: 40 }, FREE);
  nearPoint(after.body[4], { x: 30, y: 40 });
  for (let i = 0; i < 18; i++) if (i !== 4) assert.deepEqual(after.body[i], before.body[i]);
  nearPoint(after.right_hand[0], after.body[4]);
  for (let i = 1; i < 21; i++) near(distance(after.right_hand[0], after.right_hand[i]), distance(before.right_hand[0], before.right_hand[i]));
  assert.deepEqual(after.left_hand, before.left_hand);
});

test("symmetric dragging keeps somebody symmetric", () => {
  const random = randoms(4);
  const axis = 256;
  for (const ref of ["b2", "b3", "b4", "b9", "b10", "b14", "b16"]) {
    for (const rules of [RULES, { ...RULES, ik: false }, FREE]) {
      const person = dragPoint(standing({ x: axis, y: 120 }, 380), ref, { x: random() * 400, y: random() * 500 }, { ...rules, symmetric: true });
      TWIN.forEach((twin, i) => {
        near(person.body[twin].x, 2 * axis - person.body[i].x, 1e-6);
        near(person.body[twin].y, person.body[i].y, 1e-6);
      });
    }
  }
});

test("limbs: the trunk moves everything, others turn about their joint or move as a piece", () => {
  const before = somebody();
  const all = dragLimb(before, LIMBS.findIndex(([a, b]) => a === 1 && b === 8), { x: 0, y: 0 }, { x: 7, y: -9 }, RULES);
  assert.deepEqual(all, moved(before, 7, -9));
  const thigh = LIMBS.findIndex(([a, b]) => a === 8 && b === 9);
  const turned = dragLimb(before, thigh, before.body[9], { x: before.body[8].x - 200, y: before.body[8].y }, RULES);
  near(turned.body[9].y, before.body[8].y);
  lengths(before).forEach((length, i) => near(lengths(turned)[i], length));
  const shifted = dragLimb(before, thigh, { x: 0, y: 0 }, { x: 5, y: 5 }, { ...RULES, lock: false });
  for (const i of [8, 9, 10]) nearPoint(shifted.body[i], { x: before.body[i].x + 5, y: before.body[i].y + 5 });
  assert.deepEqual(shifted.body[11], before.body[11]);
});

test("dragging never leaves what a document may hold", () => {
  const after = dragPoint(somebody(), "b4", { x: 1e9, y: -1e9 }, FREE);
  for (const ref of refsOf(after)) for (const value of Object.values(pointAt(after, ref))) assert.ok(Math.abs(value) <= 1e5);
});

test("somebody with missing joints can be dragged everywhere", () => {
  const random = randoms(5);
  for (let k = 0; k < 400; k++) {
    const gone = NAMES.flatMap((_, i) => (random() < 0.5 ? [`b${i}`] : []));
    const before = without(somebody(), gone);
    for (const ref of refsOf(before).filter((each) => each[0] === "b")) {
      const after = dragPoint(before, ref, { x: random() * 512, y: random() * 512 }, { ik: random() < 0.5, lock: random() < 0.5, symmetric: random() < 0.5, whole: random() < 0.5 });
      assert.deepEqual(after.body.map(present), before.body.map(present));
      for (const each of refsOf(after)) assert.ok(Number.isFinite(pointAt(after, each).x) && Number.isFinite(pointAt(after, each).y));
    }
  }
});

// ---- mirror, hide, delete

test("mirroring twice gives the same person; once swaps names and sides", () => {
  for (const preset of PRESETS) {
    const person = { ...somebody(), body: personOf(preset, { x: 200, y: 220 }, 300).body, hidden: [4], ghosts: [9] };
    const once = mirrored(person);
    assert.deepEqual(once.hidden, [7]);
    assert.deepEqual(once.ghosts, [12]);
    const twice = mirrored(once);
    for (const ref of refsOf(person)) nearPoint(pointAt(twice, ref), pointAt(person, ref), 1e-9);
    if (present(person.body[4]) && present(person.body[2])) {
      near(once.body[7].x - once.body[5].x, person.body[2].x - person.body[4].x, 1e-9);
      near(once.body[7].y, person.body[4].y, 0);
    }
    const [a, b] = [personBounds(person), personBounds(once)];
    near(a[2] - a[0], b[2] - b[0], 1e-9);
  }
});

test("swapping moves nothing and twice is nothing; face twins pair up", () => {
  const person = somebody();
  assert.deepEqual(swapped(swapped(person)), person);
  assert.deepEqual(swapped(person).body[2], person.body[5]);
  FACE_TWIN.forEach((twin, i) => assert.equal(FACE_TWIN[twin], i));
});

test("hiding, deleting, accepting", () => {
  let person = toggledHidden(somebody(), [3, 4]);
  assert.deepEqual(person.hidden, [3, 4]);
  assert.deepEqual(toggledHidden(person, [4]).hidden, [3]);
  person = without(person, ["b4", ...Array.from({ length: 21 }, (_, i) => `r${i}`)]);
  assert.deepEqual([person.hidden, present(person.body[4]), person.right_hand], [[3], false, null]);
  const ghost = { ...somebody(), ghosts: [2, 7] };
  assert.deepEqual(accepted(ghost, [7]).ghosts, [2]);
  assert.deepEqual(accepted(ghost).ghosts, []);
});

test("an elbow bends to the other side with its bones as long as before", () => {
  const before = dragPoint(somebody(), "b4", { x: 130, y: 160 }, RULES);
  const after = bentOver(before, 3);
  assert.equal(bendOf(after.body[2], after.body[3], after.body[4]), -bendOf(before.body[2], before.body[3], before.body[4]));
  lengths(before).forEach((length, i) => near(lengths(after)[i], length));
});

// ---- anatomy

test("a missing joint comes back near where it was, also on somebody small, turned, or seen from behind", () => {
  for (const [name, tolerance] of [["standing", 0.03], ["back", 0.03], ["t-pose", 0.08], ["walking", 0.25], ["jumping", 0.12]]) {
    const person = personOf(PRESETS.find((each) => each.name === name), { x: 300, y: 250 }, 240);
    for (const [index, point] of person.body.entries()) {
      if (!present(point)) continue;
      const back = completed(without(person, [`b${index}`]), FRAME, [index]);
      const off = distance(back.body[index], point) / heightOf(person);
      assert.ok(off <= tolerance, `${name}: ${NAMES[index]} is off by ${off.toFixed(3)} of the height`);
    }
  }
});

test("completing gives all joints, plausible lengths, the same every time, and leaves the others alone", () => {
  const random = randoms(6);
  for (let k = 0; k < 300; k++) {
    const whole = standing({ x: 100 + random() * 300, y: 100 }, 100 + random() * 300);
    const kept = NAMES.flatMap((_, i) => (random() < 0.4 ? [i] : []));
    const person = without(whole, NAMES.flatMap((_, i) => (kept.includes(i) ? [] : [`b${i}`])));
    const full = completed(person, FRAME);
    assert.ok(full.body.every(present));
    assert.deepEqual(completed(person, FRAME), full);
    for (const i of kept) assert.deepEqual(full.body[i], person.body[i]);
    for (const [i, parent] of PARENT.entries()) {
      if (parent < 0) continue;
      const ratio = distance(full.body[i], full.body[parent]) / (BONE[i] * heightOf(full));
      assert.ok(ratio < 2.2, `${NAMES[i]}: ${ratio}`);
    }
  }
  assert.equal(refsOf(completed(without(somebody(), refsOf(somebody())), FRAME)).length, 18);
});

test("nothing of an anatomical place is left to chance or lies at the origin", () => {
  const person = without(somebody(), ["b4", "b7", "b10", "b13"]);
  for (const i of [4, 7, 10, 13]) {
    const place = placeOf(person, i, FRAME);
    assert.deepEqual(place, placeOf(person, i, FRAME));
    near(distance(place, person.body[PARENT[i]]) / heightOf(person), BONE[i], 0.01);
  }
});

test("hands and faces: all points, at their joints, of a plausible size, the mirror image of each other", () => {
  for (const preset of PRESETS) {
    const person = personOf(preset, { x: 250, y: 250 }, 300);
    for (const [part, , joint] of DETAILS) {
      assert.equal(canHave(person, part), present(person.body[joint]));
      if (!canHave(person, part)) continue;
      const points = toggledDetail(person, part)[part];
      assert.equal(points.length, part === "face" ? 70 : 21);
      for (const point of points) assert.ok(distance(point, person.body[joint]) < 0.12 * 300, `${preset.name}: ${part}`);
      assert.equal(toggledDetail(toggledDetail(person, part), part)[part], null);
    }
  }
  const upright = standing({ x: 0, y: 0 }, 300);
  const { right_hand: right } = toggledDetail(upright, "right_hand");
  const { left_hand: left } = toggledDetail(upright, "left_hand");
  right.forEach((point, i) => nearPoint(left[i], { x: -point.x, y: point.y }));
  assert.ok(right[4].x > right[20].x, "the thumb points to the body");
  const { face } = toggledDetail(upright, "face");
  nearPoint(face[30], upright.body[0]);
  nearPoint(face[68], upright.body[14], 4);
  FACE_TWIN.forEach((twin, i) => nearPoint(face[twin], { x: -face[i].x, y: face[i].y }));
});

// ---- presets

test("there are at least 16 presets, named once, of plausible people", () => {
  assert.ok(PRESETS.length >= 16);
  assert.equal(new Set(PRESETS.map(({ name }) => name)).size, PRESETS.length);
  for (const { name, points } of PRESETS) {
    assert.equal(points.length, 18);
    const person = personOf({ points }, { x: 0, y: 0 }, 1);
    for (const [i, parent] of PARENT.entries()) {
      if (parent < 0 || !present(person.body[i]) || !present(person.body[parent])) continue;
      const ratio = distance(person.body[i], person.body[parent]) / BONE[i];
      // Foreshortened bones look shorter, never longer; only from eye to ear there is more to see of a head that turns.
      assert.ok(ratio <= (i < 14 ? 1.15 : 2.5), `${name}: ${NAMES[i]} is ${ratio.toFixed(2)} times as long as it can be`);
      if (i > 1 && i < 14 && ![2, 5].includes(i)) assert.ok(ratio > 0.35, `${name}: ${NAMES[i]} is ${ratio.toFixed(2)}`);
    }
    for (const [a, b] of [[3, 6], [4, 7], [9, 12], [10, 13]]) {
      const [right, left] = [a, b].map((i) => distance(person.body[i], person.body[PARENT[i]]));
      assert.ok(right / left < 1.6 && left / right < 1.6, `${name}: ${NAMES[a]} and its twin differ`);
    }
    const [x0, y0, x1, y1] = personBounds(person);
    near((x0 + x1) / 2, 0, 1e-3);
    near((y0 + y1) / 2, 0, 1e-3);
  }
});

test("a placed preset lies whole on every canvas, beside the others and as tall", () => {
  for (const [width, height] of [[512, 512], [256, 1024], [1024, 256], [768, 512]]) {
    for (const preset of PRESETS) {
      const people = [];
      for (let k = 0; k < 3; k++) people.push(placed(preset, { width, height, people }));
      for (const person of people) {
        const [x0, y0, x1, y1] = personBounds(person);
        assert.ok(x0 >= -1e-6 && y0 >= -1e-6 && x1 <= width + 1e-6 && y1 <= height + 1e-6, `${preset.name} on ${width} x ${height}`);
      }
    }
  }
  const [one, two] = [placed(PRESETS[0], { ...FRAME, people: [] })].flatMap((first) => [first, placed(PRESETS[0], { ...FRAME, people: [first] })]);
  assert.ok(personBounds(two)[0] >= personBounds(one)[2] || personBounds(two)[2] <= personBounds(one)[0]);
});

test("somebody reposed keeps size and pelvis", () => {
  const before = standing({ x: 300, y: 200 }, 200);
  const after = reposed(before, PRESETS.find(({ name }) => name === "running"), FRAME);
  near((after.body[8].x + after.body[11].x) / 2, (before.body[8].x + before.body[11].x) / 2);
  near(heightOf(after) / heightOf(before), 1, 0.1);
});

test("the rest pose is as tall as it says", () => {
  near(heightOf(standing({ x: 0, y: 0 }, 321)), 321, 1e-9);
  assert.equal(REST.length, 18);
});

// ---- choosing and groups

test("picking: the nearest joint within reach, more reach for fingers, the chosen person first, limbs after joints", () => {
  const one = standing({ x: 100, y: 100 }, 300);
  const two = standing({ x: 103, y: 100 }, 300);
  const wrist = one.body[4];
  assert.deepEqual(pick([one], { x: wrist.x + 13, y: wrist.y }, 1), { kind: "joint", person: 0, ref: "b4" });
  assert.equal(pick([one], { x: wrist.x - 20, y: wrist.y }, 1), null);
  assert.equal(pick([one], { x: wrist.x - 20, y: wrist.y }, 1, { touch: true }).ref, "b4");
  assert.equal(pick([one], { x: wrist.x + 10, y: wrist.y }, 4)?.kind, undefined);
  assert.equal(pick([one, two], wrist, 1).person, 0);
  assert.equal(pick([one, two], wrist, 1, { current: 1 }).person, 1);
  assert.equal(pick([one, { ...one }], wrist, 1).person, 1);
  assert.equal(pick([{ ...one, visible: false }], wrist, 1), null);
  const middle = { x: (one.body[9].x + one.body[10].x) / 2, y: (one.body[9].y + one.body[10].y) / 2 };
  assert.deepEqual(pick([one], middle, 1), { kind: "limb", person: 0, limb: LIMBS.findIndex(([a]) => a === 9) });
});

test("box-select takes exactly the points inside", () => {
  const people = [standing({ x: 100, y: 100 }, 300), standing({ x: 300, y: 100 }, 300), { ...standing({ x: 100, y: 100 }, 300), visible: false }];
  const selection = new Selection();
  const area = boxOf({ x: 140, y: 260 }, { x: 0, y: 0 });
  assert.deepEqual(area, [0, 0, 140, 260]);
  selection.within(people, area, false);
  for (const [index, person] of people.entries()) {
    for (const ref of refsOf(person)) assert.equal(selection.has(index, ref), index === 0 && inside(area, pointAt(person, ref)));
  }
  selection.within(people, [200, 0, 600, 600], true);
  assert.equal(selection.byPerson().get(1).length, 18);
  assert.equal(selection.words(people).includes("points"), true);
  selection.person(people, 1);
  assert.deepEqual([selection.wholePeople(people), selection.words(people)], [true, "Person 2"]);
  selection.prune([people[0]]);
  assert.deepEqual([selection.size, selection.current], [0, 0]);
});

test("handles: scaling keeps the opposite handle, corners keep the ratio, turning keeps distances", () => {
  const box = [10, 20, 110, 70];
  for (const handle of HANDLES.filter((each) => each !== "turn")) {
    const opposite = handlePlace(box, handle.replace(/[nsew]/g, (side) => ({ n: "s", s: "n", e: "w", w: "e" })[side]));
    const change = scaling(box, handle, { x: 160, y: 95 });
    nearPoint(change(opposite), opposite);
  }
  const corner = scaling(box, "se", { x: 210, y: 120 });
  nearPoint(corner({ x: 110, y: 70 }), { x: 210, y: 120 });
  const free = scaling(box, "se", { x: 60, y: 120 }, { free: true });
  nearPoint(free({ x: 110, y: 70 }), { x: 60, y: 120 });
  const centre = scaling(box, "e", { x: 160, y: 0 }, { centred: true });
  nearPoint(centre({ x: 60, y: 45 }), { x: 60, y: 45 });
  assert.ok(scaling(box, "e", { x: -500, y: 0 })({ x: 110, y: 45 }).x > 10);
  nearPoint(turning(box, { x: 60, y: 0 }, { x: 200, y: 45 })({ x: 60, y: 20 }), { x: 85, y: 45 });
  const steps = turning(box, { x: 60, y: 0 }, { x: 62, y: 0 }, { even: true });
  nearPoint(steps({ x: 1, y: 2 }), { x: 1, y: 2 });
  assert.deepEqual(padded([5, 5, 5, 5], 2, 10), [-2, -2, 12, 12]);
});

test("a group change touches chosen points only", () => {
  const person = somebody();
  const after = changed(person, ["b3", "l4", "f2"], ({ x, y }) => ({ x: x + 1, y: y - 1 }));
  for (const ref of refsOf(person)) {
    const touched = ["b3", "l4", "f2"].includes(ref) ? 1 : 0;
    nearPoint(pointAt(after, ref), { x: pointAt(person, ref).x + touched, y: pointAt(person, ref).y - touched }, 0);
  }
  assert.deepEqual(whole({ body: person.body }).hidden, []);
  nearPoint(reflected({ x: 1, y: 5 }, { x: 0, y: 0 }, { x: 0, y: 9 }), { x: -1, y: 5 });
});
