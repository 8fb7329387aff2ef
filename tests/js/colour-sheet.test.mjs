import assert from "node:assert/strict";
import { test } from "node:test";
import { colourOf, css, isColour } from "../../components/assets/editors/colour/colours.js";
import { crayon, INK, INK_BELOW, isPaper, PAPER, PAPER_FROM, Sheet } from "../../components/assets/editors/colour/sheet.js";

const SIDE = 128;
const RED = [206, 66, 58];
const BLUE = [62, 112, 184];

/** A sheet with its colours by place. */
function white(side = SIDE) {
  const sheet = new Sheet();
  sheet.load({ width: side, height: side, pixels: new Uint8Array(3 * side * side).fill(255) });
  return sheet;
}

const at = (sheet, x, y) => [...sheet.pixels.subarray(3 * (y * sheet.width + x), 3 * (y * sheet.width + x) + 3)];
const places = (...points) => points.map(([x, y]) => ({ x, y }));

function stroke(sheet, how, ...points) {
  const way = places(...points);
  sheet.beginStroke(way[0], { colour: INK, size: 4, damping: 0, ...how });
  sheet.drawStroke(way);
  return sheet.endStroke();
}

/** A sheet with an ink box from 30 to 90, its right side open by `gap` pixels. */
function boxed({ gap = 0, size = 4 } = {}) {
  const sheet = white();
  const half = gap / 2 + (gap ? size / 2 : 0);
  for (const way of [[[90, 60 - half], [90, 30]], [[90, 30], [30, 30]], [[30, 30], [30, 90]], [[30, 90], [90, 90]], [[90, 90], [90, 60 + half]]]) {
    stroke(sheet, { tool: "pen", size }, ...way);
  }
  return sheet;
}

/** What the sheet would be had its colours been laid first and its lines after. */
function laidUnder(colourAt, draw) {
  const sheet = white();
  for (let y = 0; y < SIDE; y++) for (let x = 0; x < SIDE; x++) sheet.pixels.set(colourAt(x, y), 3 * (y * SIDE + x));
  sheet.load(sheet.document());
  draw(sheet);
  return sheet;
}

test("the pen is soft at its edges and its ink is ink", () => {
  const sheet = white();
  assert.equal(stroke(sheet, { tool: "pen" }, [20, 64.5], [100, 64.5]).type, "pixels");
  assert.deepEqual(at(sheet, 60, 64), INK);
  const edge = [61, 62, 63, 64, 65, 66, 67].map((y) => at(sheet, 60, y)[0]);
  assert.ok(edge.some((value) => value > 40 && value < 240), `no soft edge in ${edge}`);
  assert.deepEqual(at(sheet, 60, 70), PAPER);
});

test("a crayon over a line leaves what it would leave under it", () => {
  const line = (sheet) => stroke(sheet, { tool: "pen" }, [20, 60.3], [108, 71.8]);
  const over = white();
  line(over);
  stroke(over, { tool: "crayon", colour: RED, size: 60 }, [10, 64], [118, 64]);
  const under = laidUnder((x, y) => at(over, x, y)[0] === 255 ? PAPER : RED, line);
  let worst = 0;
  for (let i = 0; i < over.pixels.length; i++) worst = Math.max(worst, Math.abs(over.pixels[i] - under.pixels[i]));
  assert.ok(worst <= 2, `differs by ${worst} levels`);
});

for (const size of [2, 3, 4, 9]) {
  test(`a fill of a line ${size} px wide leaves no seam and stays inside, also on a sheet that was opened`, () => {
    for (const opened of [false, true]) {
      const sheet = boxed({ size });
      if (opened) sheet.load(sheet.document());
      const before = sheet.document().pixels;
      assert.ok(sheet.fill({ x: 60, y: 60 }, { colour: RED }));
      for (let y = 0; y < SIDE; y++) {
        for (let x = 0; x < SIDE; x++) {
          const [red, green, blue] = at(sheet, x, y);
          const inside = x > 30 && x < 89 && y > 30 && y < 89;
          if (!inside && (x < 28 - size / 2 || x > 92 + size / 2 || y < 28 - size / 2 || y > 92 + size / 2)) {
            assert.deepEqual([red, green, blue], [...before.subarray(3 * (y * SIDE + x), 3 * (y * SIDE + x) + 3)], `outside at ${x}, ${y}`);
          }
          // Between red and ink lies no pixel that has more green and blue than red has: that would be paper.
          if (inside) assert.ok(green <= RED[1] + 8 && blue <= RED[2] + 8, `a seam of ${[red, green, blue]} at ${x}, ${y}`);
        }
      }
    }
  });
}

test("a small gap in a line is held shut, and a wide one is not", () => {
  const small = boxed({ gap: 2 });
  small.fill({ x: 50, y: 60 }, { colour: RED });
  assert.deepEqual(at(small, 50, 60), RED);
  assert.deepEqual(at(small, 120, 120), PAPER);
  const wide = boxed({ gap: 12 });
  wide.fill({ x: 50, y: 60 }, { colour: RED });
  assert.deepEqual(at(wide, 120, 120), RED);
});

test("a fill keeps to its colour unless it is to take everything up to the lines", () => {
  const sheet = boxed();
  stroke(sheet, { tool: "crayon", colour: BLUE, size: 12 }, [50, 60], [60, 60]);
  sheet.fill({ x: 40, y: 80 }, { colour: RED });
  assert.deepEqual([at(sheet, 55, 60), at(sheet, 40, 80)], [BLUE, RED]);
  sheet.fill({ x: 40, y: 80 }, { colour: [74, 146, 92], everything: true });
  assert.deepEqual([at(sheet, 55, 60), at(sheet, 40, 80)], [[74, 146, 92], [74, 146, 92]]);
  assert.equal(sheet.fill({ x: 30, y: 60 }, { colour: BLUE }), null, "a press on a line fills nothing");
});

test("a crayon stays between the lines where it begins, if asked to", () => {
  const sheet = boxed();
  stroke(sheet, { tool: "crayon", colour: RED, size: 20, within: true }, [60, 60], [120, 60]);
  assert.deepEqual([at(sheet, 80, 60), at(sheet, 110, 60)], [RED, PAPER]);
  stroke(sheet, { tool: "crayon", colour: BLUE, size: 20 }, [60, 60], [120, 60]);
  assert.deepEqual([at(sheet, 80, 60), at(sheet, 90, 60), at(sheet, 110, 60)], [BLUE, INK, BLUE]);
});

test("a crayon that is kept within lines follows them when they change", () => {
  const sheet = boxed();
  const over = () => stroke(sheet, { tool: "crayon", colour: RED, size: 12, within: true }, [60, 60], [120, 60]);
  over();
  assert.deepEqual(at(sheet, 110, 60), PAPER);
  stroke(sheet, { tool: "eraser", size: 30 }, [90, 60], [91, 60]);
  over();
  assert.deepEqual(at(sheet, 110, 60), RED, "the line is gone");
  stroke(sheet, { tool: "pen", size: 4 }, [75, 20], [75, 100]);
  stroke(sheet, { tool: "crayon", colour: BLUE, size: 12, within: true }, [60, 60], [120, 60]);
  assert.deepEqual([at(sheet, 70, 60), at(sheet, 110, 60)], [BLUE, RED], "a new line");
  sheet.shape("line", places([66, 20], [66, 100]), { size: 4 });
  stroke(sheet, { tool: "crayon", colour: [74, 146, 92], size: 12, within: true }, [60, 60], [120, 60]);
  assert.deepEqual([at(sheet, 61, 60), at(sheet, 70, 60)], [[74, 146, 92], BLUE]);
});

test("the eraser takes both, and white paper takes colours alone", () => {
  const sheet = boxed();
  sheet.fill({ x: 60, y: 60 }, { colour: RED });
  stroke(sheet, { tool: "eraser", size: 16 }, [20, 60], [60, 60]);
  assert.deepEqual([at(sheet, 30, 60), at(sheet, 50, 60)], [PAPER, PAPER]);
  assert.deepEqual(at(sheet, 90, 60), INK);
  sheet.clear(false);
  assert.deepEqual([at(sheet, 80, 60), at(sheet, 90, 60)], [PAPER, INK]);
  sheet.clear();
  assert.ok(sheet.pixels.every((value) => value === 255));
});

test("shapes are ink, coloured in or not", () => {
  const sheet = white();
  sheet.shape("rectangle", places([20, 20], [100, 60]), { size: 4, colour: BLUE });
  sheet.shape("ellipse", places([40, 80], [80, 120]), { size: 4 });
  assert.deepEqual([at(sheet, 20, 40), at(sheet, 60, 40), at(sheet, 60, 100)], [INK, BLUE, PAPER]);
});

test("undo and redo lead through the same sheets, and what is laid after them is the same", () => {
  const sheet = white();
  const [sheets, patches] = [[sheet.document().pixels], []];
  const keep = (patch) => {
    patches.push(patch);
    sheets.push(sheet.document().pixels);
  };
  keep(stroke(sheet, { tool: "pen", size: 6 }, [20, 20], [100, 30], [60, 100], [20, 20]));
  keep(sheet.fill({ x: 60, y: 50 }, { colour: RED }));
  keep(stroke(sheet, { tool: "crayon", colour: BLUE, size: 30 }, [10, 60], [120, 60]));
  keep(stroke(sheet, { tool: "eraser", size: 10 }, [10, 10], [120, 120]));
  for (let i = patches.length; i-- > 0;) {
    sheet.apply(patches[i], -1);
    assert.deepEqual(sheet.pixels, sheets[i]);
  }
  for (let i = 0; i < patches.length; i++) {
    sheet.apply(patches[i], 1);
    assert.deepEqual(sheet.pixels, sheets[i + 1]);
  }
  for (let i = patches.length; i-- > 1;) sheet.apply(patches[i], -1);
  assert.ok(sheet.fill({ x: 60, y: 50 }, { colour: RED }));
  const worst = sheet.pixels.reduce((most, value, i) => Math.max(most, Math.abs(value - sheets[2][i])), 0);
  // A pixel that is almost all ink is read as ink: what a crayon would show through it is lost.
  assert.ok(worst <= 14, `ink that was read again is ${worst} levels off`);
});

test("a stroke that is given up leaves no trace", () => {
  const sheet = boxed();
  const before = sheet.document().pixels;
  sheet.beginStroke({ x: 10, y: 60 }, { tool: "crayon", colour: RED, size: 30 });
  sheet.drawStroke(places([10, 60], [110, 60]));
  sheet.cancelStroke();
  assert.deepEqual(sheet.pixels, before);
  sheet.fill({ x: 60, y: 60 }, { colour: RED });
  assert.deepEqual([at(sheet, 60, 60), at(sheet, 110, 60)], [RED, PAPER], "its lines are lines as before");
});

test("a colour that is taken is the crayon's, under a line's edge too; a line has none", () => {
  const sheet = boxed();
  sheet.fill({ x: 60, y: 60 }, { colour: RED });
  assert.deepEqual(sheet.crayonAt({ x: 60.5, y: 60.5 }), RED);
  assert.equal(sheet.crayonAt({ x: 30, y: 60 }), null);
  assert.equal(sheet.crayonAt({ x: -1, y: 60 }), null);
  assert.ok(isPaper(sheet.crayonAt({ x: 5, y: 5 })));
});

test("no crayon is as dark as ink", () => {
  const sheet = white();
  stroke(sheet, { tool: "crayon", colour: [0, 0, 0], size: 40 }, [30, 64], [90, 64]);
  sheet.load(sheet.document());
  assert.equal(sheet.fill({ x: 60, y: 64 }, { colour: RED }) && at(sheet, 60, 64).join(), RED.join());
  assert.ok(Math.max(...crayon([0, 0, 0])) >= INK_BELOW && Math.min(...PAPER) >= PAPER_FROM);
  assert.deepEqual(crayon(RED), RED);
});

test("a patch of a filled region is small", () => {
  const sheet = white(512);
  sheet.shape("ellipse", places([40, 40], [470, 470]), { size: 6 });
  assert.ok(sheet.fill({ x: 256, y: 256 }, { colour: RED }).bytes < 20_000);
});

test("colours are written and read", () => {
  assert.deepEqual(colourOf(css(BLUE)), BLUE);
  assert.ok(isColour(RED) && !isColour([1, 2]) && !isColour([1, 2, 256]) && !isColour("#fff") && !isColour(null));
});
