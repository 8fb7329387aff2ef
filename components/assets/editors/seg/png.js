/**
 * PNG with a palette: written, and read without losing the indices (a canvas only gives colours). No DOM.
 *
 * Written: 8 bits a channel, indexed, RGB or RGBA. Read: indexed and grey of 1 to 8 bits, not interlaced; everything else is left
 * to the browser. Source: PNG specification, third edition.
 */

import { DocumentError } from "../../canvas/document.js";
import { joined, through } from "../../canvas/streams.js";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const [GREY, RGB, INDEXED, RGBA] = [0, 2, 3, 6];
const PIXELS_MAX = 33e6;

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/**
 * {width, height, pixels} with `palette` (Uint8Array of RGB triples) as an indexed PNG, without as RGB or RGBA; a Uint8Array.
 *
 * @param {Plane & { palette?: Uint8Array | null }} picture
 */
export async function encodePng({ width, height, pixels, palette = null }) {
  const stride = pixels.length / height;
  const rows = new Uint8Array((stride + 1) * height); // every row after a filter byte: 0, as it is
  for (let y = 0; y < height; y++) rows.set(pixels.subarray(y * stride, (y + 1) * stride), y * (stride + 1) + 1);
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, palette ? INDEXED : stride === 4 * width ? RGBA : RGB], 8);
  const body = await through(new CompressionStream("deflate"), rows);
  const chunks = [chunk("IHDR", header), ...(palette ? [chunk("PLTE", palette)] : []), chunk("IDAT", body),
    chunk("IEND", new Uint8Array(0))];
  return joined([Uint8Array.from(SIGNATURE), ...chunks]);
}

/**
 * {kind: "indexed" | "grey", width, height, pixels, palette}; null for bytes that are no PNG of these kinds. Throws a
 * DocumentError for a damaged or enormous one.
 */
export async function decodePng(bytes) {
  if (bytes.length < 33 || SIGNATURE.some((byte, i) => bytes[i] !== byte)) return null;
  const chunks = chunksOf(bytes);
  const header = chunks.find(({ type }) => type === "IHDR")?.data;
  if (!header || header.length < 13) throw damaged();
  const view = new DataView(header.buffer, header.byteOffset, 13);
  const [width, height, depth, type, interlaced] = [view.getUint32(0), view.getUint32(4), header[8], header[9], header[12]];
  if (interlaced || depth > 8 || (type !== GREY && type !== INDEXED)) return null;
  if (!width || !height || width * height > PIXELS_MAX) throw new DocumentError("This picture has more than 33 megapixels. Choose a smaller one.");
  const palette = chunks.find(({ type: name }) => name === "PLTE")?.data ?? null;
  if (type === INDEXED && !palette) throw damaged();
  const stride = Math.ceil((width * depth) / 8);
  const packed = joined(chunks.filter(({ type: name }) => name === "IDAT").map(({ data }) => data));
  const rows = await through(new DecompressionStream("deflate"), packed, (stride + 1) * height).catch(() => {
    throw damaged();
  });
  if (rows.length !== (stride + 1) * height) throw damaged();
  unfilter(rows, stride, height);
  return { kind: type === INDEXED ? "indexed" : "grey", width, height, palette, pixels: unpackBits(rows, width, height, depth, type) };
}

function chunksOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const chunks = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) throw damaged();
    chunks.push({ type: String.fromCharCode(...bytes.subarray(at + 4, at + 8)), data: bytes.subarray(at + 8, at + 8 + length) });
    at += 12 + length;
  }
  return chunks;
}

/** Undo the row filters in place; at up to 8 bits a pixel the "pixel to the left" is the byte to the left. */
function unfilter(rows, stride, height) {
  for (let y = 0; y < height; y++) {
    const at = y * (stride + 1);
    const above = at - stride - 1;
    for (let x = 1; x <= stride; x++) {
      const left = x > 1 ? rows[at + x - 1] : 0;
      const up = y ? rows[above + x] : 0;
      const corner = y && x > 1 ? rows[above + x - 1] : 0;
      rows[at + x] += predicted(rows[at], left, up, corner);
    }
  }
}

function predicted(filter, left, up, corner) {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  if (filter !== 4) throw damaged();
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

function unpackBits(rows, width, height, depth, type) {
  const pixels = new Uint8Array(width * height);
  const stride = Math.ceil((width * depth) / 8);
  const [mask, scale] = [2 ** depth - 1, type === GREY ? 255 / (2 ** depth - 1) : 1];
  for (let y = 0, i = 0; y < height; y++) {
    const at = y * (stride + 1) + 1;
    for (let x = 0; x < width; x++, i++) {
      const bit = x * depth;
      pixels[i] = ((rows[at + (bit >> 3)] >> (8 - depth - (bit & 7))) & mask) * scale;
    }
  }
  return pixels;
}

function chunk(type, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = type.charCodeAt(i);
  bytes.set(data, 8);
  let crc = 0xffffffff;
  for (let i = 4; i < 8 + data.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  view.setUint32(8 + data.length, ~crc >>> 0);
  return bytes;
}

function damaged() {
  return new DocumentError("This PNG is damaged. Save it again and retry.");
}
