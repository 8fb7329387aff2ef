import assert from "node:assert/strict";
import { test } from "node:test";
import { weighed } from "../../components/assets/shared/weigh.js";

/** Presses the keys one after another, "|" being the caret or both ends of what is selected; returns the text in the same way. */
const press = (marked, ...directions) => {
  const [before, inside, after] = marked.split("|").length === 3 ? marked.split("|") : [marked.split("|")[0], "", marked.split("|")[1]];
  let [text, start, end] = [before + inside + after, before.length, before.length + inside.length];
  for (const direction of directions) {
    const change = weighed(text, start, end, direction);
    if (!change) return null;
    text = text.slice(0, change.from) + change.words + text.slice(change.to);
    [start, end] = [change.start, change.end];
  }
  return `${text.slice(0, start)}|${text.slice(start, end)}|${text.slice(end)}`;
};

test("the word at the caret, or what is selected, weighs more and less", () => {
  assert.equal(press("a red| house", 1), "a (|red|:1.1) house");
  assert.equal(press("a red| house", 1, 1, 1), "a (|red|:1.3) house");
  assert.equal(press("a red| house", -1), "a (|red|:0.9) house");
  assert.equal(press("a| red house |by the sea", 1, 1), "a (|red house|:1.2) by the sea");
  assert.equal(press("|a red house|", 1), "(|a red house|:1.1)");
  assert.equal(press("red|, green", 1), "(|red|:1.1), green");
});

test("back at one the brackets go", () => {
  assert.equal(press("a red| house", 1, -1), "a |red| house");
  assert.equal(press("a (red| house:0.9), sea", 1), "a |red house|, sea");
});

test("brackets with a weight are one thing, wherever in them the caret is", () => {
  assert.equal(press("a (red hou|se:1.25), sea", 1), "a (|red house|:1.35), sea");
  assert.equal(press("a (red house:1.2)|, sea", -1), "a (|red house|:1.1), sea");
  assert.equal(press("(a:1.5) (b|:1.5)", 1), "(a:1.5) (|b|:1.6)");
});

test("there are bounds, and what stands beyond them is left to whoever wrote it", () => {
  assert.equal(press("(a|:2)", 1), "(|a|:2)");
  assert.equal(press("(a|:3)", 1), "(|a|:3)");
  assert.equal(press("(a|:3)", -1), "(|a|:2.9)");
  assert.equal(press("(a|:0)", -1), "(|a|:0)");
});

test("nothing in hand, nothing happens; brackets that are letters are letters", () => {
  assert.equal(press("red | , green", 1), null);
  assert.equal(press("|", 1), null);
  assert.equal(press("a \\(b|:2\\)", 1), "a \\((|b|:1.1):2\\)");
});
