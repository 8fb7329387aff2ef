/**
 * Where the name of a region is written: at its centroid where that lies well inside, else where it is widest.
 *
 * Regions are four-connected areas of one class, looked at on a coarse grid: names need no more. No DOM.
 */

const CELLS_MAX = 160;
const SHARE_MIN = 0.002;

/** [{index, x, y, radius, share}], largest first: places in map pixels, radius of the free room around them, part of the area. */
export function placeLabels(map, shareMin = SHARE_MIN) {
  const grid = coarse(map);
  const { regions, ids } = regionsOf(grid);
  const room = distances(grid, ids);
  const cells = grid.width * grid.height;
  const places = [];
  for (const region of regions) {
    if (region.cells.length < shareMin * cells) continue;
    const best = widest(region, room, grid, ids);
    places.push({
      index: region.index, share: region.cells.length / cells, radius: room[best] * grid.scale,
      x: ((best % grid.width) + 0.5) * grid.scale, y: (Math.floor(best / grid.width) + 0.5) * grid.scale,
    });
  }
  return places.sort((a, b) => b.share - a.share);
}

function coarse({ width, height, pixels }) {
  const scale = Math.max(1, Math.max(width, height) / CELLS_MAX);
  const [w, h] = [Math.max(1, Math.floor(width / scale)), Math.max(1, Math.floor(height / scale))];
  const cells = new Uint8Array(w * h);
  for (let y = 0, i = 0; y < h; y++) {
    const row = Math.min(height - 1, Math.floor((y + 0.5) * scale)) * width;
    for (let x = 0; x < w; x++, i++) cells[i] = pixels[row + Math.min(width - 1, Math.floor((x + 0.5) * scale))];
  }
  return { width: w, height: h, cells, scale };
}

function regionsOf({ width, cells }) {
  const ids = new Int32Array(cells.length).fill(-1);
  const regions = [];
  const join = (region, i) => {
    if (ids[i] >= 0 || cells[i] !== region.index) return;
    ids[i] = regions.length;
    region.cells.push(i);
  };
  for (let seed = 0; seed < cells.length; seed++) {
    if (ids[seed] >= 0) continue;
    const region = { index: cells[seed], cells: [seed] };
    ids[seed] = regions.length;
    for (let k = 0; k < region.cells.length; k++) {
      const i = region.cells[k];
      const x = i % width;
      if (x > 0) join(region, i - 1);
      if (x < width - 1) join(region, i + 1);
      if (i >= width) join(region, i - width);
      if (i + width < cells.length) join(region, i + width);
    }
    regions.push(region);
  }
  return { regions, ids };
}

/** Distance of every cell to the border of its region or of the map, in cells (chamfer 3-4: within 8 % of the truth). */
function distances({ width, height }, ids) {
  const room = new Float32Array(ids.length);
  const visit = (x, y, side, row) => {
    // Neighbours straight in `side` and `row` direction and both diagonals of that row.
    const i = y * width + x;
    const beside = x + side >= 0 && x + side < width && ids[i + side] === ids[i] ? room[i + side] + 1 : 0.5;
    if (y + row < 0 || y + row >= height) return 0.5;
    const k = i + row * width;
    const straight = ids[k] === ids[i] ? room[k] + 1 : 0.5;
    const left = x > 0 && ids[k - 1] === ids[i] ? room[k - 1] + 4 / 3 : 2 / 3;
    const right = x < width - 1 && ids[k + 1] === ids[i] ? room[k + 1] + 4 / 3 : 2 / 3;
    return Math.min(beside, straight, left, right);
  };
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) room[y * width + x] = visit(x, y, -1, -1);
  for (let y = height - 1; y >= 0; y--) {
    for (let x = width - 1; x >= 0; x--) room[y * width + x] = Math.min(room[y * width + x], visit(x, y, 1, 1));
  }
  return room;
}

function widest(region, room, { width }, ids) {
  let [sumX, sumY, best] = [0, 0, region.cells[0]];
  for (const i of region.cells) {
    sumX += i % width;
    sumY += Math.floor(i / width);
    if (room[i] > room[best]) best = i;
  }
  const count = region.cells.length;
  const centroid = Math.round(sumY / count) * width + Math.round(sumX / count);
  return ids[centroid] === ids[best] && room[centroid] >= 0.6 * room[best] ? centroid : best;
}
