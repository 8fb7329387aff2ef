/** Maps out of files and into files; people are asked where a file does not say what it means. */

import { readPicture } from "../../canvas/files.js";
import { decodePng, encodePng } from "./png.js";
import { cleaned, greyOf, mapFromNumbers, mapFromPng, mapFromRgba } from "./repair.js";
import { canvasFor, stretch } from "./scale.js";

const PHOTO_SHARE = 0.5; // more stray pixels than this, and farther away than
const PHOTO_DISTANCE = 24; // this on average: rather a photo than a map

/** Opens `file` in the shell; show(map) puts a map on the canvas, recolour(from, to) corrects one class of it. */
export async function openMap(shell, table, file, { show, recolour }) {
  const plain = await decodePng(new Uint8Array(await file.arrayBuffer()));
  const { png, found } = plain ? { png: plain, found: mapFromPng(plain, table) } : mapOf(await readPicture(file), table);
  const take = (map) => use(shell, table, map, { show, recolour });
  if (png && found.numbers) return askNumbers(shell, png.kind === "indexed" ? shadesOf(png) : png, found.numbers, take);
  const { changed = 0, far = 0 } = found;
  if (changed <= PHOTO_SHARE * found.pixels.length || far < PHOTO_DISTANCE) return take(found);
  shell.toast("This looks like a photo rather than a colour map.", [
    ["Trace over it", () => shell.setUnderlay(file)],
    ["Open anyway", () => take(found)],
    ["Cancel", () => {}],
  ]);
  return undefined;
}

/** The map of a picture that is no indexed PNG: greys are numbers, colours the nearest classes. */
function mapOf(picture, table) {
  const png = greyOf(picture);
  return { png, found: png ? mapFromPng(png, table) : mapFromRgba(picture, table) };
}

/** An indexed picture of greys by its shades. */
function shadesOf(png) {
  return { ...png, pixels: png.pixels.map((value) => png.palette[3 * value]) };
}

function askNumbers(shell, png, firsts, take) {
  const read = (first) => take(mapFromNumbers(png, first));
  if (firsts.length === 1) return read(firsts[0]);
  shell.toast("This picture holds class numbers. What is number 1?", [
    ["The first class (ADE20K files)", () => read(1)],
    ["The second class", () => read(0)],
    ["Cancel", () => {}],
  ]);
  return undefined;
}

/** Put a map on the canvas; show and recolour as for `openMap`. */
export function use(shell, table, map, { show, recolour }) {
  const [width, height] = canvasFor(map, shell.options.sizes);
  // As the command line reads it: what is a guess takes the class beside it, and who knows better brings the guesses back.
  show(stretch(map.unsure ? cleaned(map) : map, width, height));
  const resized = width === map.width && height === map.height ? "" : ` Brought to ${width} × ${height}.`;
  const guesses = [["Keep them so", () => {}], ["Take the nearest colours instead", () => show(stretch(map, width, height))]];
  shell.toast(changes(map) + resized, map.unsure ? guesses : []);
  for (const { classes } of map.shared) askShared(shell, table, classes, recolour);
}

function changes({ changed, pixels, unsure }) {
  if (!changed) return "Opened. Every pixel already was a class.";
  const share = (100 * changed) / pixels.length;
  const percent = share < 0.1 ? "<0.1" : share.toFixed(share < 10 ? 1 : 0);
  return `Opened. ${changed.toLocaleString("en")} pixels (${percent} %) were no class and became ${unsure ? "that beside them" : "the nearest"}.`;
}

/** Classes of one colour: the first is shown until people say. */
function askShared(shell, table, classes, recolour) {
  const [shown] = classes;
  const names = classes.map((index) => table.name(index));
  shell.toast(`${names.join(" and ")} have the same colour. Which is it here?`, classes.map((index) => [
    table.name(index), () => index !== shown && recolour(shown, index),
  ]));
}

/** A map as a PNG whose values are class indices, with the classes' colours as its palette. */
export async function indexedPng({ width, height, pixels }, table) {
  const palette = Uint8Array.from(table.rows.flatMap(({ rgb }) => rgb));
  return new Blob([await encodePng({ width, height, pixels, palette })], { type: "image/png" });
}

/** A map as a PNG of its classes' colours. */
export async function colourPng(map, table) {
  const { width, height } = map;
  return new Blob([await encodePng({ width, height, pixels: coloursOf(map, table, 3) })], { type: "image/png" });
}

/** The colours of a map, 3 or 4 bytes a pixel. */
export function coloursOf({ pixels }, table, channels) {
  const bytes = new Uint8Array(pixels.length * channels).fill(255);
  for (let i = 0; i < pixels.length; i++) {
    const [red, green, blue] = table.rgb(pixels[i]);
    bytes[i * channels] = red;
    bytes[i * channels + 1] = green;
    bytes[i * channels + 2] = blue;
  }
  return bytes;
}
