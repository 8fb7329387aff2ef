/** The texts inside a PNG (tEXt and uncompressed iTXt chunks), read without decoding it. Pure; no DOM. */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const CHUNKS_MAX = 10_000;
const TEXT_MAX_BYTES = 64 * 1024;

/** The text called one of `names`, the first of them that is there, as {name, text}; null when there is none. */
export function textOf(bytes, names) {
  const found = new Map();
  for (const [kind, data] of chunks(bytes)) {
    const read = kind === "tEXt" ? latin(data) : kind === "iTXt" ? international(data) : null;
    if (read && names.includes(read.name) && !found.has(read.name)) found.set(read.name, read);
  }
  return names.map((name) => found.get(name)).find(Boolean) ?? null;
}

function* chunks(bytes) {
  if (SIGNATURE.some((value, at) => bytes[at] !== value)) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = SIGNATURE.length;
  for (let count = 0; count < CHUNKS_MAX && at + 12 <= bytes.length; count++) {
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) return;
    yield [String.fromCharCode(...bytes.subarray(at + 4, at + 8)), bytes.subarray(at + 8, at + 8 + length)];
    at += 12 + length;
  }
}

function latin(data) {
  const end = data.indexOf(0);
  if (end < 1 || data.length > TEXT_MAX_BYTES) return null;
  return { name: ascii(data.subarray(0, end)), text: new TextDecoder("latin1").decode(data.subarray(end + 1)) };
}

function international(data) {
  const end = data.indexOf(0);
  if (end < 1 || data[end + 1] !== 0 || data.length > TEXT_MAX_BYTES) return null; // compressed ones are nobody's that we know
  const language = data.indexOf(0, end + 3);
  const translated = language < 0 ? -1 : data.indexOf(0, language + 1);
  if (translated < 0) return null;
  return { name: ascii(data.subarray(0, end)), text: new TextDecoder().decode(data.subarray(translated + 1)) };
}

function ascii(bytes) {
  return String.fromCharCode(...bytes.subarray(0, 80));
}
