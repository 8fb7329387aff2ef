/**
 * Small descriptions of changes, for the history.
 *
 * Pixels: the exclusive-or of before and after inside a rectangle, run-length coded. One patch serves undo and redo,
 * and as most of a rectangle around a stroke is unchanged it takes a few kilobytes. Values (anything JSON): the two
 * texts without what they have in common at both ends.
 *
 * A rectangle is [x0, y0, x1, y1] in pixels, ends excluded, null = nothing.
 */

const ZEROS = 0;
const REPEAT = 1;
const LITERAL = 2;

/**
 * The smallest rectangle around two.
 *
 * @param {Rect | null} a
 * @param {Rect | null} b
 * @returns {Rect | null}
 */
export function union(a, b) {
  if (!a) return b;
  if (!b) return a;
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
}

/**
 * The part of a rectangle that lies on a canvas; null when none does.
 *
 * @param {Rect | null} rect
 * @param {number} width
 * @param {number} height
 * @returns {Rect | null}
 */
export function clip(rect, width, height) {
  if (!rect) return null;
  const [x0, y0] = [Math.max(0, Math.floor(rect[0])), Math.max(0, Math.floor(rect[1]))];
  const [x1, y1] = [Math.min(width, Math.ceil(rect[2])), Math.min(height, Math.ceil(rect[3]))];
  return x0 < x1 && y0 < y1 ? [x0, y0, x1, y1] : null;
}

/**
 * What changed between two equally large rasters of so many bytes a pixel within `rect`; null when nothing did.
 *
 * The bytes of a patch lie channel by channel: a region of one colour is a few runs.
 *
 * @param {Bytes} before
 * @param {Bytes} after
 * @param {number} width  of both, in pixels
 * @param {Rect | null} rect
 * @param {number} [channels]
 * @returns {PixelPatch | null}
 */
export function diffPixels(before, after, width, rect, channels = 1) {
  if (!rect) return null;
  const [x0, y0, x1, y1] = rect;
  const delta = new Uint8Array((x1 - x0) * (y1 - y0) * channels);
  let changed = 0;
  let i = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let y = y0; y < y1; y++) {
      const end = (y * width + x1) * channels;
      for (let p = (y * width + x0) * channels + channel; p < end; p += channels, i++) changed |= delta[i] = before[p] ^ after[p];
    }
  }
  if (!changed) return null;
  const packed = packRuns(delta);
  return { type: "pixels", rect, packed, bytes: packed.length, ...(channels > 1 ? { channels } : {}) };
}

/**
 * Undo or redo (it is the same) a pixel patch in place.
 *
 * @param {Bytes} pixels
 * @param {number} width
 * @param {PixelPatch} patch
 */
export function applyPixels(pixels, width, patch) {
  const { rect: [x0, y0, x1, y1], channels = 1 } = patch;
  const delta = unpackRuns(patch.packed, (x1 - x0) * (y1 - y0) * channels);
  let i = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let y = y0; y < y1; y++) {
      const end = (y * width + x1) * channels;
      for (let p = (y * width + x0) * channels + channel; p < end; p += channels, i++) pixels[p] ^= delta[i];
    }
  }
}

/**
 * Run-length code bytes: varint (length << 2 | kind), then nothing, the repeated byte, or the bytes themselves.
 *
 * @param {Bytes} bytes
 */
export function packRuns(bytes) {
  let out = new Uint8Array(256);
  let size = 0;
  const reserve = (/** @type {number} */ count) => {
    if (size + count <= out.length) return;
    const larger = new Uint8Array(Math.max(out.length * 2, size + count));
    larger.set(out.subarray(0, size));
    out = larger;
  };
  const token = (/** @type {number} */ kind, /** @type {number} */ length) => {
    reserve(6);
    let value = length * 4 + kind;
    while (value > 127) {
      out[size++] = (value % 128) | 128;
      value = Math.floor(value / 128);
    }
    out[size++] = value;
  };
  const literal = (/** @type {number} */ from, /** @type {number} */ to) => {
    if (from === to) return;
    token(LITERAL, to - from);
    reserve(to - from);
    out.set(bytes.subarray(from, to), size);
    size += to - from;
  };
  let pending = 0; // start of the bytes not yet written
  let i = 0;
  while (i < bytes.length) {
    const value = bytes[i];
    let end = i + 1;
    while (end < bytes.length && bytes[end] === value) end++;
    if (end - i >= 4) {
      literal(pending, i);
      token(value === 0 ? ZEROS : REPEAT, end - i);
      if (value !== 0) {
        reserve(1);
        out[size++] = value;
      }
      pending = end;
    }
    i = end;
  }
  literal(pending, bytes.length);
  return out.slice(0, size);
}

/**
 * The inverse of packRuns; `length` is the number of bytes that come out.
 *
 * @param {Bytes} packed
 * @param {number} length
 */
export function unpackRuns(packed, length) {
  const out = new Uint8Array(length);
  let position = 0;
  let i = 0;
  while (i < packed.length) {
    let value = 0;
    let scale = 1;
    while (packed[i] > 127) {
      value += (packed[i++] - 128) * scale;
      scale *= 128;
    }
    value += packed[i++] * scale;
    const kind = value % 4;
    const run = (value - kind) / 4;
    if (kind === REPEAT) out.fill(packed[i++], position, position + run);
    else if (kind === LITERAL) {
      out.set(packed.subarray(i, i + run), position);
      i += run;
    }
    position += run;
  }
  return out;
}

/**
 * A whole raster replaced by another, of another size perhaps.
 *
 * @param {Plane} before
 * @param {Plane} after
 * @returns {RasterPatch}
 */
export function replaceRaster(before, after) {
  const [was, is] = [before, after].map(({ width, height, pixels }) => ({ width, height, packed: packRuns(pixels),
    length: pixels.length }));
  return { type: "raster", before: was, after: is, bytes: was.packed.length + is.packed.length };
}

/**
 * {width, height, pixels} from before (direction -1) or after (+1) a replaceRaster.
 *
 * @param {Pick<RasterPatch, "before" | "after">} patch
 * @param {Direction} direction
 * @returns {Plane}
 */
export function replacedRaster(patch, direction) {
  const { width, height, packed, length } = direction < 0 ? patch.before : patch.after;
  return { width, height, pixels: unpackRuns(packed, length) };
}

/**
 * What changed between two JSON values; null when nothing did.
 *
 * @param {unknown} before
 * @param {unknown} after
 * @returns {ValuePatch | null}
 */
export function diffValue(before, after) {
  const [a, b] = [JSON.stringify(before), JSON.stringify(after)];
  if (a === b) return null;
  const shorter = Math.min(a.length, b.length);
  let start = 0;
  while (start < shorter && a[start] === b[start]) start++;
  let tail = 0;
  while (tail < shorter - start && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const removed = a.slice(start, a.length - tail);
  const inserted = b.slice(start, b.length - tail);
  return { type: "value", start, removed, inserted, bytes: 2 * (removed.length + inserted.length) };
}

/**
 * The value after undoing (-1) or redoing (+1) a diffValue patch on the present one.
 *
 * @param {unknown} value
 * @param {ValuePatch} patch
 * @param {Direction} direction
 */
export function applyValue(value, patch, direction) {
  const text = JSON.stringify(value);
  const [gone, come] = direction < 0 ? [patch.inserted, patch.removed] : [patch.removed, patch.inserted];
  return JSON.parse(text.slice(0, patch.start) + come + text.slice(patch.start + gone.length));
}

/**
 * A whole document replaced by another.
 *
 * @param {StudioDocument} before
 * @param {StudioDocument} after
 * @returns {DocumentPatch}
 */
export function documentPatch(before, after) {
  if (before.kind === "skeleton" || after.kind === "skeleton") {
    const texts = { before: JSON.stringify(before), after: JSON.stringify(after) };
    return { type: "document", ...texts, bytes: 2 * (texts.before.length + texts.after.length) };
  }
  return { ...replaceRaster(before, after), type: "document", kind: before.kind };
}

/**
 * The document from before (direction -1) or after (+1) a documentPatch.
 *
 * @param {DocumentPatch} patch
 * @param {Direction} direction
 * @returns {StudioDocument}
 */
export function patchedDocument(patch, direction) {
  if ("kind" in patch) return { kind: patch.kind, ...replacedRaster(patch, direction) };
  return JSON.parse(direction < 0 ? patch.before : patch.after);
}
