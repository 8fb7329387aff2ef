/** Maps to start from: a few simple scenes, described in parts of the canvas (0..1). No DOM. */

import { Coverage, ellipsePoints, layLabel } from "../../canvas/raster.js";

/** A wavy line from left to right: heights at even steps, joined smoothly; closed along the lower edge. */
function ground(...heights) {
  const points = [];
  const last = heights.length - 1;
  for (let i = 0; i <= 48; i++) {
    const at = (i / 48) * last;
    const k = Math.min(last - 1, Math.floor(at));
    const t = (1 - Math.cos((at - k) * Math.PI)) / 2;
    points.push([i / 48, heights[k] + (heights[k + 1] - heights[k]) * t]);
  }
  return [...points, [1, 1], [0, 1]];
}

function box(x0, y0, x1, y1) {
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

function round(x, y, rx, ry) {
  return ellipsePoints(100 * (x - rx), 100 * (y - ry), 100 * (x + rx), 100 * (y + ry)).map((point) => [point.x / 100, point.y / 100]);
}

/** {id, title, base: class of the whole, areas: [class, polygon] from back to front}; classes by their names. */
export const LAYOUTS = [
  { id: "meadow", title: "Sky and ground", base: "sky", areas: [["grass", ground(0.62, 0.62)]] },
  { id: "sea", title: "Sea and beach", base: "sky", areas: [["sea", ground(0.46, 0.46)], ["sand", ground(0.74, 0.7, 0.8, 0.86)]] },
  { id: "lake", title: "Mountain lake", base: "sky", areas: [
    ["mountain", [[0, 0.5], [0.14, 0.34], [0.26, 0.44], [0.46, 0.16], [0.62, 0.38], [0.74, 0.28], [1, 0.52], [1, 1], [0, 1]]],
    ["hill", ground(0.5, 0.54, 0.57, 0.52, 0.46)], ["lake", ground(0.62, 0.62)], ["grass", ground(0.82, 0.9, 0.94, 0.9, 0.78)],
    ["tree", round(0.12, 0.58, 0.1, 0.17)], ["tree", box(0.105, 0.72, 0.135, 0.88)]] },
  { id: "house", title: "House and tree", base: "sky", areas: [
    ["grass", ground(0.6, 0.6)], ["path", [[0.5, 0.74], [0.56, 0.74], [0.72, 1], [0.44, 1]]],
    ["tree", box(0.155, 0.55, 0.185, 0.74)], ["tree", round(0.17, 0.44, 0.12, 0.19)],
    ["house", [[0.36, 0.42], [0.55, 0.22], [0.76, 0.42], [0.73, 0.42], [0.73, 0.74], [0.39, 0.74], [0.39, 0.42]]],
    ["door", box(0.5, 0.56, 0.58, 0.74)], ["windowpane", box(0.42, 0.48, 0.475, 0.57)], ["windowpane", box(0.62, 0.48, 0.69, 0.57)]] },
  { id: "street", title: "Street", base: "sky", areas: [
    ["building", [[0, 0.08], [0.2, 0.16], [0.36, 0.34], [0.36, 0.66], [0, 0.86]]],
    ["building", [[1, 0], [0.78, 0.14], [0.64, 0.36], [0.64, 0.66], [1, 0.86]]], ["tree", round(0.5, 0.52, 0.16, 0.1)],
    ["sidewalk", [[0.36, 0.6], [0.64, 0.6], [1, 0.82], [1, 1], [0, 1], [0, 0.82]]],
    ["road", [[0.45, 0.6], [0.55, 0.6], [0.86, 1], [0.14, 1]]], ["car", box(0.53, 0.66, 0.61, 0.72)]] },
  { id: "room", title: "Living room", base: "wall", areas: [
    ["ceiling", [[0, 0], [1, 0], [0.86, 0.12], [0.14, 0.12]]], ["floor", [[0.14, 0.7], [0.86, 0.7], [1, 0.9], [1, 1], [0, 1], [0, 0.9]]],
    ["windowpane", box(0.36, 0.22, 0.64, 0.5)], ["curtain", box(0.29, 0.19, 0.37, 0.64)], ["curtain", box(0.63, 0.19, 0.71, 0.64)],
    ["rug", [[0.26, 0.84], [0.74, 0.84], [0.82, 0.96], [0.18, 0.96]]], ["sofa", [[0.28, 0.58], [0.72, 0.58], [0.74, 0.66], [0.82, 0.66], [0.82, 0.82], [0.18, 0.82], [0.18, 0.66], [0.26, 0.66]]],
    ["lamp", [[0.87, 0.36], [0.93, 0.36], [0.96, 0.46], [0.84, 0.46]]], ["lamp", box(0.893, 0.46, 0.907, 0.8)]] },
];

/** A layout as a map of a size. */
export function drawLayout({ base, areas }, table, width, height) {
  const pixels = new Uint8Array(width * height).fill(table.named(base));
  const coverage = new Coverage(width, height);
  for (const [name, polygon] of areas) {
    coverage.clear();
    const rect = coverage.polygon(polygon.map(([x, y]) => ({ x: x * width, y: y * height })));
    layLabel(pixels, pixels, coverage, rect, table.named(name));
  }
  return { kind: "classes", width, height, pixels };
}
