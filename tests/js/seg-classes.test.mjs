import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ClassTable, percent } from "../../components/assets/editors/seg/classes.js";

const CLASSES = JSON.parse(readFileSync(new URL("../../annotator/ade20k.json", import.meta.url))).classes;
const TABLE = new ClassTable(CLASSES);
const found = (text, table = TABLE) => table.search(text).map(({ index }) => table.name(index));

test("a class is found by what people call it", () => {
  const meant = {
    ocean: "sea", waves: "sea", couch: "sofa", sofa: "sofa", fridge: "refrigerator", tv: "television receiver", plane: "airplane",
    street: "road", pavement: "sidewalk", man: "person", woman: "person", people: "person", carpet: "rug", bike: "bicycle",
    motorcycle: "minibike", lorry: "truck", dog: "animal", stone: "rock", window: "windowpane", bush: "plant", clothes: "apparel",
    "trash can": "ashcan", "washing machine": "washer", lawn: "grass", statue: "sculpture", beach: "sand", laptop: "computer",
  };
  for (const [word, name] of Object.entries(meant)) assert.equal(found(word)[0], name, word);
});

test("names come before synonyms, and the synonym that was meant is told", () => {
  assert.equal(found("sea")[0], "sea");
  assert.ok(found("sea").includes("seat"));
  assert.deepEqual(TABLE.search("ocean")[0], { index: 26, via: "ocean" });
  assert.deepEqual(TABLE.search("sea")[0], { index: 26, via: "" });
  assert.ok(found("glass").indexOf("glass") < found("glass").indexOf("mirror"));
});

test("plurals, capitals, accents and slips of the hand are forgiven", () => {
  assert.equal(found("Trees")[0], "tree");
  assert.equal(found("OCEANS")[0], "sea");
  assert.equal(found("benches")[0], "bench");
  assert.equal(found("chaìr")[0], "chair");
  assert.equal(found("chiar")[0], "chair");
  assert.equal(found("moutain")[0], "mountain");
  assert.equal(found("  traffic   LIGHT ")[0], "traffic light");
  assert.deepEqual(found("xyzzyq"), []);
});

test("learnt classes come first where two are as good, and in the whole list", () => {
  const table = new ClassTable(CLASSES, [26, 9, 400, -3]);
  assert.deepEqual([...table.trained], [26, 9]);
  assert.deepEqual(table.listed().slice(0, 3), [9, 26, 0]);
  assert.equal(table.listed().length, 150);
  assert.deepEqual(new Set(table.listed()).size, 150);
  assert.equal(table.search("")[0].index, 9);
});

test("another model knows other classes", () => {
  const table = new ClassTable(CLASSES, [26, 9]);
  assert.equal(table.learn([9, 26]), false);
  assert.equal(table.learn([9, 21]), true);
  assert.deepEqual(table.listed().slice(0, 2), [9, 21]);
  assert.equal(table.learn(undefined), true);
  assert.equal(table.listed()[0], 0);
});

test("every class is found by its own name, first", () => {
  for (const { name } of CLASSES) assert.equal(found(name)[0], name);
});

test("road and skyscraper share a colour, and no others do", () => {
  assert.deepEqual(TABLE.sharing(6), [6, 48]);
  assert.deepEqual(TABLE.sharing(48), [6, 48]);
  const groups = TABLE.rows.filter(({ index }) => TABLE.sharing(index).length > 1);
  assert.deepEqual(groups.map(({ index }) => index), [6, 48]);
});

test("shares in words never lie", () => {
  assert.deepEqual([1, 0.999, 0.5, 0.01, 0.0001, 0].map(percent), ["100 %", "99 %", "50 %", "1 %", "<1 %", "0 %"]);
});
