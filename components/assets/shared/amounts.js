/** Amounts as people say them, everywhere alike; and how large a file may be. */

/** Of a picture or file that is sent: the server takes no larger one. */
export const UPLOAD_MAX_BYTES = 25 * 2 ** 20;
export const TOO_LARGE = `The file is larger than ${UPLOAD_MAX_BYTES / 2 ** 20} MB.`;

/**
 * Bytes: "3.4 GB", "12 MB", "5 kB"; nothing for none.
 *
 * @param {number} bytes
 */
export function size(bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(bytes >= 1e10 ? 0 : 1)} GB`;
  if (bytes >= 1e6) return `${Math.round(bytes / 1e6)} MB`;
  return bytes > 0 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : "";
}

/**
 * What detectors need, which their cards say in MiB: "28 MB", "1.5 GB".
 *
 * @param {number} mib
 */
export function sizeOfMib(mib) {
  return mib >= 1000 ? `${(mib / 1024).toFixed(1)} GB` : `${Math.max(mib, 1)} MB`;
}

/**
 * How long something will take: "40 s", "12 min", "3.1 h".
 *
 * @param {number} seconds
 */
export function lasting(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/**
 * A clock that runs: "12 s", "1:05".
 *
 * @param {number} seconds
 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/**
 * How long something took: "4.3 s", "41 s", "1:05".
 *
 * @param {number} seconds
 */
export function took(seconds) {
  return seconds < 10 ? `${seconds.toFixed(1)} s` : clock(Math.round(seconds));
}

/**
 * How long something took, as short as it can be said: "390 ms", "2.7 s", "11 s".
 *
 * @param {number} ms
 */
export function lasted(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${ms < 10_000 ? (ms / 1000).toFixed(1) : Math.round(ms / 1000)} s`;
}
