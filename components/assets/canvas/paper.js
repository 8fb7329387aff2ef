/**
 * The paper that a drawing lies on, where it is neither white nor black: kraft, coloured or photographed, with its light and shade.
 * No DOM. Found as `annotator/paper.py` finds it, which says why.
 */

const CELLS = 24;
const ROUNDS = 8;
const KEPT = 0.6;
const NEAR = 24;
const SHARE_MIN = 0.6;
const [WHITE, BLACK] = [231, 24];
const STRONG = 0.9;
const LOOKED_AT_PX = 250_000;

/** @typedef {number[][]} Surface  of each channel the coefficients of 1, x, y, x x, x y, y y, where x and y go from -1 to 1 */

/**
 * The ink of a drawing on such paper, one byte a pixel, and whether it is lighter than the paper; null where most of the picture is
 * no paper, or where it is white or black.
 *
 * @param {Uint8Array | Uint8ClampedArray} rgb  three bytes a pixel
 * @param {number} width
 * @param {number} height
 * @returns {{ink: Bytes, light: boolean} | null}
 */
export function inkOnPaper(rgb, width, height) {
  if (Math.min(width, height) < CELLS) return null;
  const step = Math.max(1, roundHalfEven(Math.sqrt((height * width) / LOOKED_AT_PX)));
  const surface = surfaceOf(rgb, width, height, step);
  const at = (/** @type {number} */ i, /** @type {number} */ side) => ((i + 0.5) / side) * 2 - 1;
  const mean = [0, 0, 0];
  let count = 0;
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step, count++) mean.forEach((_, c) => (mean[c] += colour(surface[c], at(x, width), at(y, height))));
  }
  const middle = mean.map((sum) => sum / count);
  if (Math.min(...middle) >= WHITE || Math.max(...middle) <= BLACK) return null;

  const [below, above] = [new Uint8Array(width * height), new Uint8Array(width * height)];
  const [darker, lighter] = [new Float64Array(256), new Float64Array(256)];
  let near = 0;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      let [least, most] = [Infinity, -Infinity];
      for (let c = 0; c < 3; c++) {
        const away = rgb[3 * i + c] - colour(surface[c], at(x, width), at(y, height));
        least = Math.min(least, away);
        most = Math.max(most, away);
      }
      below[i] = Math.min(255, Math.max(0, Math.round(-least)));
      above[i] = Math.min(255, Math.max(0, Math.round(most)));
      darker[below[i]]++;
      lighter[above[i]]++;
      if (below[i] <= NEAR && above[i] <= NEAR) near++;
    }
  }
  if (near < SHARE_MIN * width * height) return null;
  const weight = (/** @type {Float64Array} */ counts) => counts.reduce((sum, some, level) => sum + (level > NEAR ? some * level : 0), 0);
  const light = weight(lighter) > weight(darker);
  const [strength, counts] = light ? [above, lighter] : [below, darker];
  const whole = strongest(counts);
  if (!whole) return { ink: new Uint8Array(width * height), light };
  const scale = 255 / (whole - NEAR / 2);
  const levels = Uint8Array.from({ length: 256 }, (_, level) => Math.min(255, Math.max(0, Math.floor((level - NEAR / 2) * scale))));
  return { ink: strength.map((level) => levels[level]), light };
}

/**
 * The level that all but the strongest tenth of the ink lie below; 0 where there is none.
 *
 * @param {Float64Array} counts
 */
function strongest(counts) {
  const all = counts.subarray(NEAR + 1).reduce((sum, some) => sum + some, 0);
  let sum = 0;
  for (let level = NEAR + 1; all && level < 256; level++) {
    sum += counts[level];
    if (sum >= STRONG * all) return level;
  }
  return 0;
}

/**
 * @param {number[]} of
 * @param {number} x
 * @param {number} y
 */
const colour = (of, x, y) => of[0] + of[1] * x + of[2] * y + of[3] * x * x + of[4] * x * y + of[5] * y * y;

/**
 * The paper's colour through the cells that agree.
 *
 * @param {Uint8Array | Uint8ClampedArray} rgb
 * @param {number} width
 * @param {number} height
 * @param {number} step
 * @returns {Surface}
 */
function surfaceOf(rgb, width, height, step) {
  const [wide, tall] = [Math.ceil(width / step), Math.ceil(height / step)];
  const edge = (/** @type {number} */ at, /** @type {number} */ side) => Math.floor((side * at) / CELLS);
  const [middles, places] = [/** @type {number[][]} */ ([]), /** @type {[number, number][]} */ ([])];
  for (let row = 0; row < CELLS; row++) {
    for (let column = 0; column < CELLS; column++) {
      const values = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
      for (let y = edge(row, tall); y < edge(row + 1, tall); y++) {
        for (let x = edge(column, wide); x < edge(column + 1, wide); x++) {
          const i = y * step * width + x * step;
          values.forEach((some, c) => some.push(rgb[3 * i + c]));
        }
      }
      middles.push(values.map(middleOf));
      places.push([((column + 0.5) / CELLS) * 2 - 1, ((row + 0.5) / CELLS) * 2 - 1]);
    }
  }
  const basis = places.map(([x, y]) => [1, x, y, x * x, x * y, y * y]);
  let surface = [0, 1, 2].map((c) => [middleOf(middles.map((one) => one[c])), 0, 0, 0, 0, 0]);
  for (let round = 0; round < ROUNDS; round++) {
    const away = middles.map((one, i) => Math.max(...one.map((value, c) => Math.abs(value - colour(surface[c], ...places[i])))));
    const order = away.map((_, i) => i).sort((a, b) => away[a] - away[b] || a - b);
    const kept = order.slice(0, Math.floor(KEPT * order.length));
    surface = [0, 1, 2].map((c) => leastSquares(kept.map((i) => basis[i]), kept.map((i) => middles[i][c])));
  }
  return surface;
}

/** @param {number[]} values */
const middleOf = (values) => Float64Array.from(values).sort()[values.length >> 1];

/**
 * The coefficients that bring the rows nearest to the values, by their normal equations.
 *
 * @param {number[][]} rows
 * @param {number[]} values
 */
function leastSquares(rows, values) {
  const size = rows[0].length;
  const table = Array.from({ length: size }, (_, i) => [
    ...Array.from({ length: size }, (_, k) => rows.reduce((sum, row) => sum + row[i] * row[k], i === k ? 1e-9 : 0)),
    rows.reduce((sum, row, at) => sum + row[i] * values[at], 0),
  ]);
  for (let i = 0; i < size; i++) {
    let best = i;
    for (let k = i + 1; k < size; k++) if (Math.abs(table[k][i]) > Math.abs(table[best][i])) best = k;
    [table[i], table[best]] = [table[best], table[i]];
    for (let k = 0; k < size; k++) {
      const share = k === i ? 0 : table[k][i] / table[i][i];
      if (share) table[k] = table[k].map((value, column) => value - share * table[i][column]);
    }
  }
  return table.map((row, i) => row[size] / row[i]);
}

/** Python's rounding. @param {number} value */
function roundHalfEven(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low % 2) : Math.round(value);
}
