/** What lies over a drawing while one draws: outlines of what is coming, brushes, the mirror's axis. In stage pixels; changes nothing. */

const LIGHT = "rgb(255 255 255 / .9)";
const DARK = "rgb(20 20 24 / .85)";

/**
 * A path through document points.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {import("./view.js").View} view
 * @param {Place[]} corners  document pixels
 * @param {boolean} closed
 */
export function trace(context, view, corners, closed) {
  context.beginPath();
  for (const { x, y } of corners) {
    const at = view.toStage(x, y);
    context.lineTo(at.x, at.y);
  }
  if (closed) context.closePath();
}

/**
 * The present path as a line that is seen on every ground: dark inside light.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {number} [light]  width in stage pixels
 * @param {number} [dark]  width in stage pixels
 */
export function twoTone(context, light = 3, dark = 1.25) {
  for (const { colour, width } of [{ colour: LIGHT, width: light }, { colour: DARK, width: dark }]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }
}

/**
 * What will be drawn: an area in `colour`, edged so that it is seen on itself, or a line `size` document pixels wide.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {import("./view.js").View} view
 * @param {Place[]} corners
 * @param {{colour: string, size: number, filled: boolean, closed: boolean}} look
 */
export function paintOutline(context, view, corners, { colour, size, filled, closed }) {
  trace(context, view, corners, closed);
  context.lineJoin = context.lineCap = "round";
  context.fillStyle = context.strokeStyle = colour;
  if (filled) {
    context.globalAlpha = 0.8;
    context.fill();
    context.globalAlpha = 1;
    return twoTone(context);
  }
  context.lineWidth = Math.max(1, size * view.zoom);
  return context.stroke();
}

/**
 * The corner that closes a polygon.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {import("./view.js").View} view
 * @param {Place} place
 */
export function paintCorner(context, view, { x, y }) {
  const at = view.toStage(x, y);
  context.beginPath();
  context.arc(at.x, at.y, 5, 0, 2 * Math.PI);
  context.fillStyle = "#fff";
  context.fill();
  twoTone(context);
}

/**
 * Where a brush of `size` document pixels will draw; `mirror` shows its twin too, paler; `colour` is a breath of what it draws with.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {import("./view.js").View} view
 * @param {Place} place
 * @param {{size: number, round?: boolean, mirror?: boolean, colour?: string}} brush
 */
export function paintBrush(context, view, { x, y }, { size, round = true, mirror = false, colour }) {
  brush(context, view, x, y, size, round);
  if (colour) {
    context.globalAlpha = 0.35;
    context.fillStyle = colour;
    context.fill();
  }
  context.globalAlpha = 0.5;
  if (mirror) brush(context, view, view.width - x, y, size, round);
  context.globalAlpha = 1;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {import("./view.js").View} view
 * @param {number} x
 * @param {number} y
 * @param {number} size
 * @param {boolean} round
 */
function brush(context, view, x, y, size, round) {
  context.beginPath();
  if (round) {
    const at = view.toStage(x, y);
    context.arc(at.x, at.y, Math.max(2, (size / 2) * view.zoom), 0, 2 * Math.PI);
  } else {
    const corner = view.toStage(Math.round(x - size / 2), Math.round(y - size / 2));
    context.rect(corner.x, corner.y, Math.max(3, size * view.zoom), Math.max(3, size * view.zoom));
  }
  twoTone(context, 2.5, 1);
}

/**
 * The line about which drawing is mirrored.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {import("./view.js").View} view
 */
export function paintAxis(context, view) {
  const x = Math.round(view.toStage(view.width / 2, 0).x) + 0.5;
  context.beginPath();
  context.setLineDash([4, 4]);
  context.moveTo(x, Math.max(0, view.y));
  context.lineTo(x, Math.min(view.stageHeight, view.y + view.height * view.zoom));
  twoTone(context);
  context.setLineDash([]);
}
