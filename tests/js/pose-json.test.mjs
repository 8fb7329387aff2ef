import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { DocumentError } from "../../components/assets/canvas/document.js";
import { fromOpenPose, readOpenPose, toOpenPose } from "../../components/assets/editors/pose/openpose.js";
import { standing } from "../../components/assets/editors/pose/anatomy.js";
import { present } from "../../components/assets/editors/pose/skeleton.js";

const FRAME = { width: 512, height: 512 };
const flat = (count, of = (i) => [i + 10.25, 2 * i + 3.5, 1]) => Array.from({ length: count }, (_, i) => of(i)).flat();
const file = (person, rest = { canvas_width: 640, canvas_height: 480 }) => JSON.stringify({ people: [person], ...rest });

function documentOf() {
  const person = standing({ x: 300, y: 100 }, 350);
  const points = (count) => Array.from({ length: count }, (_, i) => ({ x: i * 3.125, y: 7 + i / 3, confidence: i % 7 ? 1 : 0 })).map((p) => (p.confidence ? p : { x: 0, y: 0, confidence: 0 }));
  person.body[4] = { x: 0, y: 0, confidence: 0 };
  person.body[7] = { x: -55.5, y: 900.25, confidence: 1 };
  const other = { ...standing({ x: 100, y: 100 }, 200), left_hand: points(21), right_hand: points(21), face: points(70) };
  return { kind: "skeleton", width: 640, height: 480, people: [person, other] };
}

test("what is written is what is read, in pixels", () => {
  const document = documentOf();
  const text = JSON.stringify(toOpenPose(document));
  assert.deepEqual(fromOpenPose(text, FRAME), document);
  assert.deepEqual(JSON.parse(text).people[0].pose_keypoints_2d.slice(12, 15), [0, 0, 0]);
  assert.ok(JSON.parse(text).people.flatMap((p) => p.pose_keypoints_2d.filter((_, i) => i % 3 === 2)).every((c) => c === 0 || c === 1));
  assert.deepEqual(Object.keys(JSON.parse(text)), ["people", "animals", "canvas_height", "canvas_width"]);
});

test("and from 0 to 1, to a billionth of a pixel", () => {
  const document = documentOf();
  const text = JSON.stringify(toOpenPose(document, { normalised: true }));
  assert.ok(JSON.parse(text).people[1].pose_keypoints_2d.every((value) => Math.abs(value) <= 2));
  const back = fromOpenPose(text, FRAME);
  document.people.forEach((person, i) => person.body.forEach((point, k) => {
    for (const axis of ["x", "y"]) assert.ok(Math.abs(back.people[i].body[k][axis] - point[axis]) < 1e-9);
  }));
});

test("hidden and unsure joints and hidden people are not in the file", () => {
  const document = documentOf();
  document.people[1].hidden = [0];
  document.people[1].ghosts = [1];
  document.people[0].visible = false;
  const { people } = toOpenPose(document);
  assert.equal(people.length, 1);
  assert.deepEqual(people[0].pose_keypoints_2d.slice(0, 6), [0, 0, 0, 0, 0, 0]);
});

test("BODY_25, a list per frame, weak joints, 68 face points, empty parts, no canvas size", () => {
  const body25 = fromOpenPose(file({ pose_keypoints_2d: flat(25) }), FRAME).people[0].body;
  [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18].forEach((from, i) => assert.equal(body25[i].x, from + 10.25));
  const frames = `[${file({ pose_keypoints_2d: flat(18) })}, ${file({ pose_keypoints_2d: flat(18, () => [5, 5, 1]) })}]`;
  assert.equal(fromOpenPose(frames, FRAME).people[0].body[0].x, 10.25);
  const weak = fromOpenPose(file({ pose_keypoints_2d: flat(18, (i) => [i + 5, 9, i === 3 ? 0.1 : 0.9]) }), FRAME).people[0];
  assert.deepEqual([weak.ghosts, weak.body[3].confidence], [[3], 0.1]);
  const person = fromOpenPose(file({ pose_keypoints_2d: flat(18), face_keypoints_2d: flat(68), hand_left_keypoints_2d: [], hand_right_keypoints_2d: flat(21, () => [0, 0, 0]) }), FRAME).people[0];
  assert.deepEqual([person.face.length, present(person.face[67]), present(person.face[69]), person.left_hand, person.right_hand], [70, true, false, null, null]);
  const { width, height } = fromOpenPose(file({ pose_keypoints_2d: flat(18, (i) => [i * 50, i * 70, 1]) }, {}), FRAME);
  assert.deepEqual([width, height], [896, 1216]);
  assert.equal(fromOpenPose(file({ pose_keypoints_2d: flat(18) }, {}), FRAME).width, 512);
});

test("a canvas larger than 2048 px is made smaller with everybody on it", () => {
  const { width, height, people } = fromOpenPose(file({ pose_keypoints_2d: flat(18, () => [4000, 2000, 1]) }, { canvas_width: 8192, canvas_height: 4096 }), FRAME);
  assert.deepEqual([width, height, people[0].body[0].x, people[0].body[0].y], [2048, 1024, 1000, 500]);
});

test("bad files: one sentence each", () => {
  const body = flat(18);
  const bad = [
    "", "hello", "{", "[]", "null", "7", '"people"', "{}", '{"people": 3}', '{"people": {}}', '{"people": [null]}', '{"people": ["x"]}',
    file({ pose_keypoints_2d: body.slice(1) }), file({ pose_keypoints_2d: "abc" }), file({ pose_keypoints_2d: { length: 54 } }),
    file({ pose_keypoints_2d: ["1", ...body.slice(1)] }), file({ pose_keypoints_2d: [null, ...body.slice(1)] }), file({ pose_keypoints_2d: [[1], ...body.slice(1)] }),
    file({ pose_keypoints_2d: body }).replace("10.25", "1e999"), file({ pose_keypoints_2d: body }).replace("10.25", "NaN"),
    file({ pose_keypoints_2d: flat(18, () => [1e9, 1e9, 1]) }), file({ pose_keypoints_2d: flat(18, () => [1e9, 1e9, 1]) }, {}), file({ pose_keypoints_2d: flat(18, () => [1, 1, -1]) }),
    JSON.stringify({ people: Array.from({ length: 10000 }, () => ({ pose_keypoints_2d: body })) }), "[".repeat(100000),
  ];
  for (const text of bad) {
    assert.throws(() => fromOpenPose(text, FRAME), (error) => {
      assert.ok(error instanceof DocumentError, `${text.slice(0, 60)} gave ${error}`);
      assert.ok(error.message.length < 130 && !error.message.includes("\n"));
      return true;
    });
  }
});

const SHARED = JSON.parse(readFileSync(new URL("./fixtures/poses.json", import.meta.url), "utf8"));

for (const { name, text, expected } of SHARED) {
  test(`read as on the command line (tests/annotator/test_openpose_json.py): ${name}`, () => {
    if (!expected) return assert.throws(() => readOpenPose(text, FRAME), DocumentError);
    const { document, lost } = readOpenPose(text, FRAME);
    const numbers = (points) => points?.flatMap(({ x, y, confidence }) => [x, y, confidence].map((value) => Number(value.toFixed(6)))) ?? null;
    const people = document.people.map(({ body, left_hand, right_hand, face, ghosts }) => ({
      body: numbers(body), left_hand: numbers(left_hand), right_hand: numbers(right_hand), face: numbers(face), ghosts: [...(ghosts ?? [])],
    }));
    return assert.deepEqual({ width: document.width, height: document.height, people, lost }, expected);
  });
}

test("a file of nobody is an empty canvas", () => {
  assert.deepEqual(fromOpenPose('{"people": []}', FRAME), { kind: "skeleton", ...FRAME, people: [] });
});
