/** Bytes through compressing and decompressing streams. No DOM: runs in browsers and in node. */

/**
 * `bytes` through `transform`; throws `excess()` after `limit` + one chunk: a few kilobytes can hold gigabytes.
 *
 * @param {CompressionStream | DecompressionStream} transform
 * @param {Bytes} bytes
 * @param {number} [limit]  bytes that may come out
 * @param {() => Error} [excess]
 * @returns {Promise<Bytes>}
 */
export async function through(transform, bytes, limit = Infinity, excess = () => new RangeError("too many bytes")) {
  const writer = transform.writable.getWriter();
  writer.write(bytes).then(() => writer.close()).catch(() => {}); // the reader meets the same error
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
