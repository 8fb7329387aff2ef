/**
 * Where pictures stand on the wall: rows of one height that fill the width, a heading for each day. Pure; no DOM.
 *
 * A line is {top, height, day} or {top, height, tiles: [{index, left, width}]}; `index` counts the pictures from 0.
 */

export const HEADING_PX = 40;
const NARROWEST = 0.4;
const WIDEST = 3;

/** Lines for `pictures` ({width, height, day}) in `width` pixels, rows near `target` px high, `gap` px between. Returns {lines, height}. */
export function layOut(pictures, { width, target, gap }) {
  const lines = [];
  let top = 0;
  let row = [];
  let day = null;
  const close = (full) => {
    if (!row.length) return;
    const line = fill(row, { top, width, target, gap, full });
    lines.push(line);
    top += line.height + gap;
    row = [];
  };
  pictures.forEach((picture, index) => {
    if (picture.day !== day) {
      close(false);
      day = picture.day;
      lines.push({ top, height: HEADING_PX, day });
      top += HEADING_PX;
    }
    row.push({ index, ratio: ratioOf(picture) });
    if (natural(row, target, gap) >= width) close(true);
  });
  close(false);
  return { lines, height: Math.max(0, top - gap) };
}

/** The lines that lie between `from` and `to` pixels. */
export function between(lines, from, to) {
  let [low, high] = [0, lines.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lines[middle].top + lines[middle].height < from) low = middle + 1;
    else high = middle;
  }
  const found = [];
  for (let at = low; at < lines.length && lines[at].top <= to; at++) found.push(lines[at]);
  return found;
}

/** The picture `rows` rows below (above, when negative) the picture `index`, nearest to it from left to right. */
export function below(lines, index, rows) {
  const withTiles = lines.filter((line) => line.tiles);
  const at = withTiles.findIndex((line) => line.tiles.some((tile) => tile.index === index));
  const to = withTiles[Math.min(withTiles.length - 1, Math.max(0, at + rows))];
  if (at < 0 || to === withTiles[at]) return index;
  const own = withTiles[at].tiles.find((tile) => tile.index === index);
  const middle = own.left + own.width / 2;
  const far = (tile) => Math.abs(tile.left + tile.width / 2 - middle);
  return to.tiles.reduce((best, tile) => (far(tile) < far(best) ? tile : best)).index;
}

/** "Today", "Yesterday", "Monday, 3 March", "3 March 2024": the day of a time in seconds since 1970. */
export function dayOf(seconds, now = new Date(), locale = undefined) {
  const date = new Date(seconds * 1000);
  const midnight = (one) => new Date(one.getFullYear(), one.getMonth(), one.getDate()).getTime();
  const days = Math.round((midnight(now) - midnight(date)) / 86_400_000);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  const same = date.getFullYear() === now.getFullYear();
  return date.toLocaleDateString(locale, same ? { weekday: "long", day: "numeric", month: "long" } : { day: "numeric", month: "long",
    year: "numeric" });
}

function ratioOf({ width, height }) {
  return Math.min(WIDEST, Math.max(NARROWEST, width / height || 1));
}

function natural(row, height, gap) {
  return row.reduce((sum, { ratio }) => sum + ratio * height, gap * (row.length - 1));
}

function fill(row, { top, width, target, gap, full }) {
  const ratios = row.reduce((sum, { ratio }) => sum + ratio, 0);
  const height = full ? (width - gap * (row.length - 1)) / ratios : target;
  let left = 0;
  const tiles = row.map(({ index, ratio }) => {
    const tile = { index, left, width: ratio * height };
    left += tile.width + gap;
    return tile;
  });
  return { top, height, tiles };
}
