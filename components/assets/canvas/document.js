/**
 * The container that documents travel in, byte for byte that of controlnet_core/document.py:
 *
 *     "CNSD1" | header length, uint32 little-endian | header, UTF-8 JSON | zlib-compressed pixels (rasters only)
 *
 * A raster is {kind: "mask" | "classes" | "rgb" | "rgba", width, height, pixels: Uint8Array}, a skeleton
 * {kind: "skeleton", width, height, people: [...]}. No DOM: runs in browsers and in node.
 */

import { joined, through } from "./streams.js";

const utf8 = new TextEncoder();
const MAGIC = utf8.encode("CNSD1");
const COMMA = utf8.encode(",");
const TAIL = utf8.encode("]}");
const packedPeople = new WeakMap(); // person -> the bytes of its JSON
/** @type {Record<string, number>} */
const CHANNELS = { mask: 1, classes: 1, rgb: 3, rgba: 4 };
export const SIDE_MAX_PX = 2048;
const HEADER_MAX_BYTES = 1 << 20;

/** An error whose message may be shown to people as it is. */
export class DocumentError extends Error {}

/**
 * A raster without a mark on it.
 *
 * @param {RasterDocument["kind"]} kind
 * @param {number} width  pixels
 * @param {number} height  pixels
 * @param {number} [value]  0..255, of every byte
 * @returns {RasterDocument}
 */
export function blank(kind, width, height, value = 0) {
  return { kind, width, height, pixels: new Uint8Array(width * height * CHANNELS[kind]).fill(value) };
}

/**
 * Pack a document into its container; resolves to a Uint8Array. People are taken as they were when they were first packed.
 *
 * @param {StudioDocument} document
 * @returns {Promise<Bytes>}
 */
export async function encode(document) {
  const { kind, width, height } = document;
  if (kind === "skeleton") {
    const head = utf8.encode(`{"kind":"skeleton","width":${width},"height":${height},"people":[`);
    const people = document.people.flatMap((person, i) => [...(i ? [COMMA] : []), packedPerson(person)]);
    return pack([head, ...people, TAIL]);
  }
  return pack([utf8.encode(JSON.stringify({ kind, width, height }))], await through(new CompressionStream("deflate"), document.pixels));
}

/**
 * Unpack a container; rejects with a DocumentError for anything that is not a well-formed document.
 *
 * @param {Bytes} bytes
 * @returns {Promise<StudioDocument>}
 */
export async function decode(bytes) {
  if (bytes.length < 9 || MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw new DocumentError("This is not a drawing of the studio.");
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(5, true);
  if (length > HEADER_MAX_BYTES || 9 + length > bytes.length) {
    throw new DocumentError("The drawing is cut off or damaged.");
  }
  try {
    const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(9, 9 + length)));
    checkSize(header);
    if (header.kind === "skeleton") return { ...header, people: header.people ?? [] };
    const size = header.width * header.height * CHANNELS[header.kind];
    if (!Number.isInteger(size)) throw new Error("unknown kind");
    const pixels = await through(new DecompressionStream("deflate"), bytes.subarray(9 + length), size);
    if (pixels.length !== size) throw new Error("pixel count differs");
    return { kind: header.kind, width: header.width, height: header.height, pixels };
  } catch {
    throw new DocumentError("The drawing is damaged: its content does not fit its description.");
  }
}

/** @param {{width: number, height: number}} size */
function checkSize({ width, height }) {
  for (const side of [width, height]) {
    if (!Number.isInteger(side) || side < 1 || side > SIDE_MAX_PX) throw new Error("size out of range");
  }
}

/**
 * A container of a header, in pieces of its JSON, and pixels.
 *
 * @param {Bytes[]} header
 * @param {Bytes} [pixels]
 */
function pack(header, pixels = new Uint8Array(0)) {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, header.reduce((sum, piece) => sum + piece.length, 0), true);
  return joined([MAGIC, length, ...header, pixels]);
}

/**
 * A person's JSON. Editors replace people and never change them in place, so of a crowd only the one who moved is packed anew.
 *
 * @param {Person} person
 * @returns {Bytes}
 */
function packedPerson(person) {
  if (!packedPeople.has(person)) packedPeople.set(person, utf8.encode(JSON.stringify(person)));
  return packedPeople.get(person);
}
