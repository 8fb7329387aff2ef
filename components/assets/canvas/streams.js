/** Bytes through compressing and decompressing streams. No DOM: runs in browsers and in node. */

const PIECE_BYTES = 1 << 18;
const ADLER = 65521;

/**
 * `bytes`, as they are now, through `transform`; throws `excess()` after `limit` + one chunk: a few kilobytes can hold gigabytes.
 *
 * @param {CompressionStream | DecompressionStream} transform
 * @param {Bytes} bytes
 * @param {number} [limit]  bytes that may come out
 * @param {() => Error} [excess]
 * @returns {Promise<Bytes>}
 */
export async function through(transform, bytes, limit = Infinity, excess = () => new RangeError("too many bytes")) {
  const writer = transform.writable.getWriter();
  feed(writer, bytes.length > PIECE_BYTES ? bytes.slice() : bytes).catch(() => {}); // the reader meets the same error
  const reader = transform.readable.getReader();
  const chunks = [];
  for (let total = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return joined(chunks);
    chunks.push(value);
    total += value.length;
    if (total > limit) {
      await reader.cancel();
      throw excess();
    }
  }
}

/**
 * Browsers pack on the thread that draws: a large drawing goes in pieces, and the hand goes first between two of them.
 *
 * @param {WritableStreamDefaultWriter<Bytes>} writer
 * @param {Bytes} bytes
 */
async function feed(writer, bytes) {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    if (at) await turn();
    await writer.write(bytes.subarray(at, at + PIECE_BYTES));
  }
  await writer.close();
}

/** What waits for its turn has had it. Not a timer: those of a hidden tab are slow. */
function turn() {
  return new Promise((go) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      go(undefined);
    };
    port2.postMessage(0);
  });
}

/**
 * A few bytes as zlib would pack them, unpacked (RFC 1950 and 1951, stored blocks): sooner there than a stream is set up.
 *
 * @param {Bytes} bytes  at most 65535
 */
export function stored(bytes) {
  const packed = new Uint8Array(bytes.length + 11);
  let [low, high] = [1, 0];
  for (const byte of bytes) {
    low = (low + byte) % ADLER;
    high = (high + low) % ADLER;
  }
  packed.set([0x78, 1, 1, bytes.length & 255, bytes.length >> 8, ~bytes.length & 255, (~bytes.length >> 8) & 255]);
  packed.set(bytes, 7);
  packed.set([high >> 8, high & 255, low >> 8, low & 255], bytes.length + 7);
  return packed;
}

/**
 * Several pieces of bytes as one.
 *
 * @param {Bytes[]} parts
 */
export function joined(parts) {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
