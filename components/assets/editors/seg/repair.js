/**
 * Pictures read as maps: colours become the nearest class, class numbers become classes. No DOM.
 *
 * Results are {width, height, pixels, changed, far, unsure, shared}: class indices; how many pixels had no class's colour;
 * how far those lay from it on average (RGB distance); which lay so far from any that their class is a guess (1 a pixel, null
 * for none); colours found that several classes share, [{classes, count}].
 */

const NOISE_DISTANCE = 24; // noise of a good JPEG stays below, most mixed colours at the edges of regions lie above
const CLEAN_SHARE = 0.8; // where more pixels than this are exact, there is no noise: every other one is a mixture

/** RGBA bytes to the nearest class in Euclidean RGB distance, the lower index where two are as near. */
export function mapFromRgba({ rgba, width, height }, table) {
  const pixels = new Uint8Array(width * height);
  const known = new Map(table.keys.map((key, index) => [key, { index: table.byKey.get(key)[0], distance: 0 }]));
  const counts = new Uint32Array(table.size);
  const distances = new Uint8Array(width * height);
  let [changed, far, lastKey, last] = [0, 0, -1, { index: 0, distance: 0 }]; // no colour has the key -1
  for (let i = 0; i < pixels.length; i++) {
    const key = (rgba[4 * i] << 16) | (rgba[4 * i + 1] << 8) | rgba[4 * i + 2];
    if (key !== lastKey) {
      last = known.get(key) ?? nearest(key, table);
      known.set(key, last);
      lastKey = key;
    }
    pixels[i] = last.index;
    counts[last.index] += 1;
    if (last.distance) {
      changed += 1;
      far += last.distance;
      distances[i] = Math.min(255, Math.ceil(last.distance));
    }
  }
  const noise = changed < (1 - CLEAN_SHARE) * pixels.length ? 0 : NOISE_DISTANCE;
  const unsure = distances.map((distance) => (distance > noise ? 1 : 0));
  return { width, height, pixels, changed, far: changed ? far / changed : 0, unsure: unsure.includes(1) ? unsure : null,
    shared: sharedOf(counts, table) };
}

function nearest(key, table) {
  const [red, green, blue] = [key >> 16, (key >> 8) & 255, key & 255];
  let [index, least] = [0, Infinity];
  for (let i = 0; i < table.size; i++) {
    const [r, g, b] = table.rgb(i);
    const square = (red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2;
    if (square < least) [index, least] = [i, square];
  }
  return { index, distance: Math.sqrt(least) };
}

function sharedOf(counts, table) {
  const shared = [];
  for (let index = 0; index < counts.length; index++) {
    const classes = table.sharing(index);
    if (counts[index] && classes.length > 1) shared.push({ classes, count: counts[index] });
  }
  return shared;
}

/**
 * A decoded PNG (see png.js) as a map. An indexed picture in the classes' own colours holds class indices, which also tells
 * classes of one colour apart; any other palette goes by its colours. A grey one gives {numbers: [first numbers
 * possible]} when it may hold class numbers: read it with mapFromNumbers once it is known whether they count from 0 or 1.
 */
export function mapFromPng(png, table) {
  const used = new Uint8Array(256);
  for (const value of png.pixels) used[value] = 1;
  const values = [...used.keys()].filter((value) => used[value]);
  if (png.kind === "indexed") {
    const own = values.every((value) => value < table.size && keyOf(png.palette, value) === table.keys[value]);
    if (own) return { width: png.width, height: png.height, pixels: png.pixels, changed: 0, far: 0, unsure: null, shared: [] };
    const shade = (value) => png.palette[3 * value];
    if (values.every((value) => keyOf(png.palette, value) === 0x10101 * shade(value))) {
      return mapFromPng({ ...png, kind: "grey", pixels: png.pixels.map(shade) }, table);
    }
    return mapFromRgba(expanded(png, (value) => png.palette.subarray(3 * value, 3 * value + 3)), table);
  }
  const areColours = values.every((value) => table.byKey.has((value << 16) | (value << 8) | value));
  const last = Math.max(...values.filter((value) => value !== 255)); // 255: nothing, in files that count from 0
  if (!areColours && last > 0 && last <= table.size) return { numbers: last === table.size ? [1] : values.includes(255) ? [0] : [0, 1] };
  return mapFromRgba(expanded(png, (value) => [value, value, value]), table);
}

/** Class numbers that count from `first`; "no class" is 0 where they count from 1, else 255, and takes the class beside it. */
export function mapFromNumbers({ width, height, pixels }, first) {
  const nothing = first === 1 ? 0 : 255;
  const map = { width, height, pixels: pixels.map((value) => (value === nothing ? 0 : value - first)), changed: 0, far: 0, unsure: null,
    shared: [] };
  map.changed = growInto(map, (i) => pixels[i] === nothing);
  return map;
}

/** A picture of three equal channels as a grey one, for `mapFromPng`; null for any other. */
export function greyOf({ rgba, width, height }) {
  const pixels = new Uint8Array(width * height);
  for (let i = 0; i < pixels.length; i++) {
    pixels[i] = rgba[4 * i];
    if (rgba[4 * i + 1] !== pixels[i] || rgba[4 * i + 2] !== pixels[i]) return null;
  }
  return { kind: "grey", width, height, pixels, palette: null };
}

/** The map with every guessed pixel given the class of the nearest sure one: no threads of chance classes along edges. */
export function cleaned(map) {
  const pixels = map.pixels.slice();
  growInto({ ...map, pixels }, (i) => map.unsure[i] === 1);
  return { ...map, pixels, unsure: null };
}

/** Pixels for which `isHole(i)` take the class of the nearest other pixel, counted in steps; returns how many. */
export function growInto({ width, height, pixels }, isHole) {
  const open = new Uint8Array(pixels.length);
  const queue = new Int32Array(pixels.length);
  let [end, holes] = [0, 0];
  for (let i = 0; i < pixels.length; i++) {
    if (isHole(i)) holes += open[i] = 1;
    else queue[end++] = i;
  }
  if (!end) return holes;
  for (let start = 0; start < end; start++) {
    const i = queue[start];
    const x = i % width;
    for (const beside of [x > 0 ? i - 1 : -1, x < width - 1 ? i + 1 : -1, i - width, i + width]) {
      if (beside < 0 || beside >= width * height || !open[beside]) continue;
      open[beside] = 0;
      pixels[beside] = pixels[i];
      queue[end++] = beside;
    }
  }
  return holes;
}

function expanded({ width, height, pixels }, colour) {
  const colours = Array.from({ length: 256 }, (_, value) => colour(value));
  const rgba = new Uint8Array(pixels.length * 4).fill(255);
  pixels.forEach((value, i) => rgba.set(colours[value], 4 * i));
  return { rgba, width, height };
}

function keyOf(palette, value) {
  return (palette[3 * value] << 16) | (palette[3 * value + 1] << 8) | palette[3 * value + 2];
}
