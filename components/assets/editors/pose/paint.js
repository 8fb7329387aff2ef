/** Draws people on a canvas context as the pose model knows them, and what helps to edit them. Changes nothing. */

import { contextOf } from "../../shared/context.js";
import { COLOURS, HAND_EDGES, LIMBS, pointAt, present, refsOf } from "./skeleton.js";

const LIMB_HALF_PX = 4; // of the document, as in the control picture
const css = ([red, green, blue], alpha = 1) => `rgb(${red} ${green} ${blue} / ${alpha})`;
const HAND_COLOURS = Array.from({ length: 20 }, (_, i) => `hsl(${i * 18} 100% 50%)`);
const GHOST_ALPHA = 0.3;
const SQUARE_BELOW_PX = 2.4;
const CROWD = 400; // points: several people with hands and faces
const AWAY_ALPHA = 0.25;
const BADGE_PX = 20;
const QUIET = { accent: "rgb(23 24 28 / .85)", ground: "#fff" };
const badges = new Map(); // number and colours -> its picture

/** How large things are at this zoom, in stage pixels: never so small that they cannot be seen or grabbed. */
export function sizes(zoom) {
  return {
    limb: Math.max(3, LIMB_HALF_PX * zoom),
    joint: Math.min(9, Math.max(4.5, LIMB_HALF_PX * zoom)),
    detail: Math.min(5, Math.max(2, 2.2 * zoom)),
  };
}

/**
 * People, limb by limb over everybody as the control picture is made: one path for many people, because painting them one by
 * one would take several frames for a crowd. `at(point)` gives stage pixels; `quiet` leaves out what is only there for editing
 * (hidden people and joints, ghosts).
 */
export function paintPeople(context, people, at, size, { quiet = false } = {}) {
  const seen = people.filter(({ visible }) => visible);
  const away = quiet ? [] : people.filter(({ visible }) => !visible);
  for (const [group, alpha] of [[away, AWAY_ALPHA], [seen, 1]]) {
    if (!group.length) continue;
    context.globalAlpha = alpha;
    const placed = group.map((person) => ({ person, places: person.body.map((point) => (present(point) ? at(point) : null)) }));
    paintLimbs(context, placed, size, quiet);
    paintHands(context, group.flatMap(({ left_hand, right_hand }) => [left_hand, right_hand].filter(Boolean)), at, size);
    paintFaces(context, group.flatMap(({ face }) => (face ? [face] : [])), at, size);
    paintJoints(context, placed, size, quiet);
  }
  context.globalAlpha = 1;
}

/** A ring around a point: chosen ones white, the one under the pointer wider. */
export function paintMark(context, place, radius, { active = false, hover = false } = {}) {
  const ring = radius + (hover ? 4.5 : 3);
  for (const [colour, width] of [["rgb(0 0 0 / .6)", 4], [active ? "#fff" : "rgb(255 255 255 / .85)", 2]]) {
    context.beginPath();
    context.arc(place.x, place.y, ring, 0, 2 * Math.PI);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }
}

/** The outline of the limb under the pointer. */
export function paintLimbMark(context, a, b, half) {
  context.beginPath();
  addLimb(context, a, b, half + 2);
  context.strokeStyle = "rgb(255 255 255 / .8)";
  context.lineWidth = 1.5;
  context.stroke();
}

/** The box around a group with its handles at `places` {name: {x, y}}. */
export function paintBox(context, [x0, y0, x1, y1], places, accent) {
  outlined(context, accent, () => context.rect(Math.round(x0) + 0.5, Math.round(y0) + 0.5, Math.round(x1 - x0), Math.round(y1 - y0)));
  const top = { x: (x0 + x1) / 2, y: y0 };
  outlined(context, accent, () => {
    context.moveTo(top.x, top.y);
    context.lineTo(places.turn.x, places.turn.y);
  });
  for (const [name, { x, y }] of Object.entries(places)) {
    context.beginPath();
    if (name === "turn") context.arc(x, y, 5.5, 0, 2 * Math.PI);
    else context.roundRect(x - 4.5, y - 4.5, 9, 9, 2);
    context.fillStyle = "#fff";
    context.fill();
    context.strokeStyle = accent;
    context.lineWidth = 1.5;
    context.stroke();
  }
}

export function paintRubber(context, [x0, y0, x1, y1], accent) {
  context.beginPath();
  context.rect(x0, y0, x1 - x0, y1 - y0);
  context.fillStyle = accent;
  context.globalAlpha = 0.14;
  context.fill();
  context.globalAlpha = 1;
  context.setLineDash([4, 3]);
  context.strokeStyle = accent;
  context.lineWidth = 1;
  context.stroke();
  context.setLineDash([]);
}

/** A word on a dark ground beside a place, kept on the stage. */
export function paintLabel(context, text, { x, y }, view) {
  context.font = "500 12px system-ui, sans-serif";
  const width = context.measureText(text).width + 14;
  const left = Math.min(Math.max(4, x + 14), view.stageWidth - width - 4);
  const top = Math.min(Math.max(4, y - 30), view.stageHeight - 26);
  context.beginPath();
  context.roundRect(left, top, width, 22, 6);
  context.fillStyle = "rgb(23 24 28 / .92)";
  context.fill();
  context.fillStyle = "#f4f4f6";
  context.textBaseline = "middle";
  context.fillText(text, left + 7, top + 11.5);
}

/** A person's number, above the head; `chosen` {accent, ground} marks the current one. */
export function paintNumber(context, number, { x, y }, { accent, ground } = QUIET) {
  const ratio = context.getTransform().a;
  const key = [number, accent, ground, ratio].join();
  if (!badges.has(key)) badges.set(key, badge(number, accent, ground, ratio));
  const picture = badges.get(key);
  const snapped = (value) => Math.round((value - BADGE_PX / 2) * ratio) / ratio; // on device pixels, so that it is crisp
  context.drawImage(picture, snapped(x), snapped(y), BADGE_PX, BADGE_PX);
}

/** Text is slow to draw: every number is drawn once. */
function badge(number, accent, ground, ratio) {
  const canvas = new OffscreenCanvas(BADGE_PX * ratio, BADGE_PX * ratio);
  const context = contextOf(canvas);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  discs(context, [{ x: BADGE_PX / 2, y: BADGE_PX / 2 }], 9);
  context.fillStyle = accent;
  context.fill();
  context.fillStyle = ground;
  context.font = "600 11px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(String(number), BADGE_PX / 2, BADGE_PX / 2 + 0.5);
  return canvas;
}

/** What lies off the paper fades: it is not in the picture, but it can be edited. */
export function fadeOutside(context, view, colour) {
  context.beginPath();
  context.rect(0, 0, view.stageWidth, view.stageHeight);
  context.rect(view.x, view.y, view.width * view.zoom, view.height * view.zoom);
  context.fillStyle = colour;
  context.globalAlpha = 0.5;
  context.fill("evenodd");
  context.globalAlpha = 1;
}

/** A person as a small picture: an element with the device's pixels. Wide poses are drawn smaller than tall ones, never cut. */
export function thumbnail(person, width, height, margin = 8, size = { limb: 2, joint: 2, detail: 1 }) {
  const canvas = document.createElement("canvas");
  paintThumbnail(canvas, person, width, height, margin, size);
  return canvas;
}

/** The same on a canvas that is there. */
export function paintThumbnail(canvas, person, width, height, margin, size) {
  const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
  [canvas.width, canvas.height] = [width * ratio, height * ratio]; // also clears it
  canvas.style.cssText = `width:${width}px;height:${height}px`;
  const points = refsOf(person).map((ref) => pointAt(person, ref));
  if (!points.length) return;
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = Math.min((width - 2 * margin) / Math.max(1e-6, x1 - x0), (height - 2 * margin) / Math.max(1e-6, y1 - y0));
  const context = contextOf(canvas);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const at = ({ x, y }) => ({ x: width / 2 + (x - (x0 + x1) / 2) * scale, y: height / 2 + (y - (y0 + y1) / 2) * scale });
  paintPeople(context, [{ ...person, visible: true, left_hand: null, right_hand: null, face: null }], at, size, { quiet: true });
}

function paintLimbs(context, placed, size, quiet) {
  LIMBS.forEach(([a, b], i) => {
    const sure = [];
    const unsure = [];
    for (const { person: { hidden, ghosts }, places } of placed) {
      if (!places[a] || !places[b] || hidden.includes(a) || hidden.includes(b)) continue;
      (ghosts.includes(a) || ghosts.includes(b) ? unsure : sure).push([places[a], places[b]]);
    }
    fillLimbs(context, sure, size.limb, css(COLOURS[i], 0.6));
    if (quiet || !unsure.length) return;
    fillLimbs(context, unsure, size.limb, css(COLOURS[i], 0.22));
    dashes(context, css(COLOURS[i], 0.65));
  });
}

function fillLimbs(context, limbs, half, colour) {
  if (!limbs.length) return;
  context.beginPath();
  for (const [from, to] of limbs) addLimb(context, from, to, half);
  context.fillStyle = colour;
  context.fill();
}

function addLimb(context, a, b, half) {
  const [long, angle] = [Math.max(0.5, Math.hypot(b.x - a.x, b.y - a.y) / 2), Math.atan2(b.y - a.y, b.x - a.x)];
  const [x, y] = [(a.x + b.x) / 2, (a.y + b.y) / 2];
  context.moveTo(x + long * Math.cos(angle), y + long * Math.sin(angle));
  context.ellipse(x, y, long, half, angle, 0, 2 * Math.PI);
}

function paintJoints(context, placed, size, quiet) {
  const hidden = [];
  for (let i = 0; i < COLOURS.length; i++) {
    const shown = [];
    const ghosts = [];
    for (const { person, places } of placed) {
      if (!places[i]) continue;
      (person.hidden.includes(i) ? hidden : person.ghosts.includes(i) ? ghosts : shown).push(places[i]);
    }
    if (shown.length) {
      discs(context, shown, size.joint);
      context.fillStyle = css(COLOURS[i]);
      context.fill();
      context.strokeStyle = "rgb(0 0 0 / .55)";
      context.lineWidth = 1;
      context.stroke();
    }
    if (quiet || !ghosts.length) continue;
    discs(context, ghosts, size.joint + 1);
    context.fillStyle = css(COLOURS[i], GHOST_ALPHA);
    context.fill();
    dashes(context, css(COLOURS[i]));
  }
  if (!quiet && hidden.length) paintHollow(context, hidden, size.joint);
}

/** Joints that are there but not drawn: struck-out circles. */
function paintHollow(context, places, radius) {
  discs(context, places, radius);
  for (const { x, y } of places) {
    context.moveTo(x - radius * 0.7, y + radius * 0.7);
    context.lineTo(x + radius * 0.7, y - radius * 0.7);
  }
  context.strokeStyle = "rgb(148 152 163)";
  context.lineWidth = 1.5;
  context.stroke();
}

function dashes(context, colour) {
  context.setLineDash([3, 2.5]);
  context.strokeStyle = colour;
  context.lineWidth = 1.25;
  context.stroke();
  context.setLineDash([]);
}

function paintHands(context, hands, at, size) {
  if (!hands.length) return;
  const placed = hands.map((points) => points.map((point) => (present(point) ? at(point) : null)));
  context.lineWidth = size.detail * 0.9;
  HAND_EDGES.forEach(([a, b], i) => {
    context.beginPath();
    for (const places of placed) {
      if (!places[a] || !places[b]) continue;
      context.moveTo(places[a].x, places[a].y);
      context.lineTo(places[b].x, places[b].y);
    }
    context.strokeStyle = HAND_COLOURS[i];
    context.stroke();
  });
  discs(context, placed.flat().filter(Boolean), size.detail);
  context.fillStyle = "#3d5cff";
  context.fill();
}

function paintFaces(context, faces, at, size) {
  if (!faces.length) return;
  const places = faces.flat().filter(present).map(at);
  const radius = Math.max(1.5, size.detail * 0.8);
  for (const [colour, reach] of [["rgb(0 0 0 / .4)", radius + 0.75], ["#fff", radius]]) {
    discs(context, places, reach);
    context.fillStyle = colour;
    context.fill();
  }
}

/** One path around many places; of small squares in a crowd, which cost a fraction of circles. */
function discs(context, places, radius) {
  const square = radius < SQUARE_BELOW_PX && places.length > CROWD;
  context.beginPath();
  for (const { x, y } of places) {
    if (square) {
      context.rect(x - radius * 0.9, y - radius * 0.9, radius * 1.8, radius * 1.8);
      continue;
    }
    context.moveTo(x + radius, y);
    context.arc(x, y, radius, 0, 2 * Math.PI);
  }
}

function outlined(context, accent, path) {
  for (const [colour, width] of [["rgb(0 0 0 / .35)", 3], [accent, 1.5]]) {
    context.beginPath();
    path();
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }
}
