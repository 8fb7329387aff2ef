import assert from "node:assert/strict";
import { test } from "node:test";
import { PointerInput } from "../../components/assets/canvas/pointer.js";
import { combination, keycaps, Shortcuts } from "../../components/assets/canvas/shortcuts.js";
import { View } from "../../components/assets/canvas/view.js";

function input() {
  const view = new View();
  view.resize(400, 400);
  view.setDocumentSize(400, 400);
  view.actual();
  const log = [];
  const note = (name) => (...rest) => log.push([name, ...rest]);
  const actions = Object.fromEntries(["hover", "down", "move", "up", "cancel", "leave"].map((name) => [name, note(name)]));
  return { view, log, pointer: new PointerInput(view, actions), names: () => log.map(([name]) => name) };
}
let clock = 1000;
function event(type, id, x, y, more = {}) {
  clock += 16;
  return { pointerType: type, pointerId: id, clientX: x, clientY: y, button: 0, pressure: 0.5, timeStamp: clock, ...more };
}

test("the mouse draws; points carry document coordinates; coalesced events all arrive", () => {
  const { pointer, log, names, view } = input();
  view.zoomTo(2, 0, 0);
  pointer.move(event("mouse", 1, 10, 10));
  pointer.down(event("mouse", 1, 20, 40));
  const coalesced = [event("mouse", 1, 22, 42), event("mouse", 1, 24, 44)];
  pointer.move(event("mouse", 1, 24, 44, { getCoalescedEvents: () => coalesced }));
  pointer.up(event("mouse", 1, 24, 44));
  assert.deepEqual(names(), ["hover", "down", "move", "up"]);
  assert.deepEqual([log[1][1].x, log[1][1].y, log[1][1].pressure], [(20 - view.x) / 2, (40 - view.y) / 2, 1]);
  assert.equal(log[2][1].length, 2);
});

test("middle button and held space pan instead of drawing", () => {
  for (const [hand, button] of [[false, 1], [true, 0]]) {
    const { pointer, names, view } = input();
    const { x } = view;
    pointer.hand = hand;
    pointer.down(event("mouse", 1, 100, 100, { button }));
    pointer.move(event("mouse", 1, 130, 100, { button }));
    pointer.up(event("mouse", 1, 130, 100));
    assert.deepEqual(names(), []);
    assert.equal(view.x, x + 30);
  }
});

test("a finger draws; a second one at once takes the stroke back and pinches", () => {
  const { pointer, names, view } = input();
  pointer.down(event("touch", 1, 100, 200));
  pointer.down(event("touch", 2, 200, 200));
  for (let i = 1; i <= 10; i++) pointer.move(event("touch", 2, 200 + 10 * i, 200));
  assert.deepEqual(names(), ["down", "cancel"]);
  assert.ok(Math.abs(view.zoom - 2) < 0.05, `zoom ${view.zoom}`);
  pointer.up(event("touch", 1, 100, 200));
  const { x } = view;
  pointer.move(event("touch", 2, 310, 200));
  assert.equal(view.x, x + 10, "the finger that is left pans");
});

test("a palm in the middle of a stroke changes nothing", () => {
  const { pointer, names } = input();
  pointer.down(event("touch", 1, 100, 100));
  clock += 1000;
  pointer.move(event("touch", 1, 120, 100));
  pointer.down(event("touch", 2, 300, 300));
  pointer.move(event("touch", 1, 140, 100));
  pointer.up(event("touch", 1, 140, 100));
  assert.deepEqual(names(), ["down", "move", "move", "up"]);
});

test("after a pen was seen fingers pan, for a while", () => {
  const { pointer, names, log, view } = input();
  pointer.down(event("pen", 9, 50, 50, { pressure: 0.3 }));
  pointer.down(event("touch", 1, 200, 200));
  pointer.up(event("pen", 9, 50, 50));
  assert.deepEqual(names(), ["down", "up"]);
  assert.equal(log[0][1].pressure, 0.3);
  pointer.cancelled(event("touch", 1, 200, 200));
  const { x } = view;
  pointer.down(event("touch", 2, 200, 200));
  pointer.move(event("touch", 2, 220, 200));
  pointer.up(event("touch", 2, 220, 200));
  assert.equal(view.x, x + 20);
  clock += 20_000;
  pointer.down(event("touch", 3, 200, 200));
  assert.equal(names().at(-1), "down");
});

test("a pen takes over from the palm that came before it", () => {
  const { pointer, names, log, view } = input();
  pointer.down(event("touch", 1, 300, 300));
  pointer.move(event("touch", 1, 302, 300));
  pointer.down(event("pen", 9, 50, 50, { pressure: 0.6 }));
  pointer.move(event("touch", 1, 320, 300));
  pointer.move(event("pen", 9, 60, 50, { pressure: 0.6 }));
  pointer.up(event("touch", 1, 320, 300));
  pointer.up(event("pen", 9, 60, 50));
  assert.deepEqual(names(), ["down", "move", "cancel", "down", "move", "up"]);
  assert.deepEqual(log.slice(3).map(([, one, last]) => (last ?? one).pen), [true, true, true]);
  const { x } = view;
  pointer.down(event("touch", 2, 300, 300));
  pointer.down(event("pen", 9, 50, 50));
  pointer.move(event("touch", 2, 350, 300));
  assert.deepEqual([names().at(-1), view.x], ["down", x], "a palm that pans lets go too");
});

test("of a pinch whose one finger is cancelled the other pans", () => {
  const { pointer, view } = input();
  pointer.down(event("touch", 1, 100, 200));
  pointer.down(event("touch", 2, 200, 200));
  pointer.cancelled(event("touch", 1, 100, 200));
  const { x } = view;
  pointer.move(event("touch", 2, 230, 200));
  assert.equal(view.x, x + 30);
});

test("who waits for the end of a stroke hears of it, also of one that is given up", async () => {
  const { pointer } = input();
  const heard = [];
  await pointer.rest();
  pointer.down(event("mouse", 1, 10, 10));
  const rest = pointer.rest().then(() => heard.push("up"));
  pointer.move(event("mouse", 1, 20, 10));
  await Promise.resolve();
  assert.deepEqual(heard, []);
  pointer.up(event("mouse", 1, 20, 10));
  await rest;
  pointer.down(event("mouse", 1, 10, 10));
  const again = pointer.rest().then(() => heard.push("abort"));
  pointer.abort();
  await again;
  assert.deepEqual(heard, ["up", "abort"]);
});

test("a cancelled pointer cancels the stroke, Esc too", () => {
  const { pointer, names } = input();
  pointer.down(event("mouse", 1, 10, 10));
  pointer.cancelled(event("mouse", 1, 10, 10));
  pointer.down(event("mouse", 1, 10, 10));
  assert.equal(pointer.abort(), true);
  assert.equal(pointer.abort(), false);
  assert.deepEqual(names(), ["down", "cancel", "down", "cancel"]);
});

test("the wheel zooms with Ctrl and scrolls only a document larger than the stage", () => {
  const { pointer, view } = input();
  let prevented = 0;
  const wheel = (more) => ({ clientX: 200, clientY: 200, deltaX: 0, deltaY: 0, deltaMode: 0, preventDefault: () => prevented++, ...more });
  view.fit();
  pointer.wheel(wheel({ deltaY: 100 }));
  assert.equal(prevented, 0, "the page may scroll");
  const { zoom } = view;
  pointer.wheel(wheel({ deltaY: -100, ctrlKey: true }));
  assert.ok(view.zoom > zoom * 1.1 && prevented === 1);
  view.zoomTo(4);
  const { y } = view;
  pointer.wheel(wheel({ deltaY: 40 }));
  assert.equal(view.y, y - 40);
});

test("keys: names, layouts, modifiers", () => {
  const key = (key, more = {}) => combination({ key, code: "", ...more });
  assert.equal(key("b"), "B");
  assert.equal(key("и", { code: "KeyB" }), "B");
  assert.equal(key("Z", { code: "KeyZ", ctrlKey: true, shiftKey: true }), "Ctrl+Shift+Z");
  assert.equal(key("z", { metaKey: true }), "Ctrl+Z");
  assert.equal(key("?", { shiftKey: true }), "?");
  assert.equal(key("["), "[");
  assert.equal(key("["  , { altKey: true, ctrlKey: true }), "Ctrl+Alt+[");
  assert.equal(key(" "), "Space");
  assert.equal(key("Backspace"), "Del");
  assert.equal(key("à", { code: "Digit0", ctrlKey: true }), "Ctrl+0");
  assert.equal(key("Shift", { shiftKey: true }), "");
  assert.equal(key("Enter", { ctrlKey: true }), "Ctrl+Enter");
});

test("the last fitting row runs; rows without a run are only told", () => {
  const shortcuts = new Shortcuts();
  const ran = [];
  let drawing = false;
  shortcuts.add({ keys: ["Del"], label: "Clear", run: () => ran.push("clear") });
  shortcuts.add({ keys: ["Del"], label: "Corner", group: "Draw", when: () => drawing, run: () => ran.push("corner") });
  shortcuts.add({ keys: ["Shift"], label: "Straight", group: "Draw" });
  const press = (key) => shortcuts.handle({ key, code: "" });
  assert.equal(press("Delete"), true);
  drawing = true;
  press("Delete");
  assert.equal(press("q"), false);
  assert.deepEqual(ran, ["clear", "corner"]);
  assert.deepEqual(shortcuts.table().map(([heading, rows]) => [heading, rows.length]), [["Draw", 2], ["General", 1]]);
  assert.deepEqual(keycaps("Ctrl+=", true), ["⌘", "="]);
  assert.deepEqual(keycaps("Ctrl++"), ["Ctrl", "+"]);
});
