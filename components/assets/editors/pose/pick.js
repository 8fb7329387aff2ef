/** What lies under the pointer: a joint before a limb, the chosen person before others, the front before the back. No DOM. */

import { segmentDistance } from "./group.js";
import { LIMBS, PARTS, present } from "./skeleton.js";

export const REACH_PX = 14;
export const TOUCH_REACH_PX = 22;
const LIMB_REACH_PX = 7;
const LOYALTY_PX = 6; // how much farther a joint of the chosen person may be than another's
const DETAIL_PX = 2; // and how much farther a body joint may be than a fingertip

/** `point` in document pixels; {kind: "joint", person, ref} or {kind: "limb", person, limb}, or null. */
export function pick(people, point, zoom, { touch = false, current = -1 } = {}) {
  return pickJoint(people, point, zoom, touch, current) ?? pickLimb(people, point, zoom, touch, current);
}

function pickJoint(people, point, zoom, touch, current) {
  const reach = touch ? TOUCH_REACH_PX : REACH_PX;
  /** @type {{ kind: "joint", person: number, ref: string, cost: number } | null} */
  let best = null;
  for (const [index, person] of people.entries()) {
    if (!person.visible) continue;
    for (const [letter, part] of Object.entries(PARTS)) {
      for (const [i, place] of (person[part] ?? []).entries()) {
        const away = Math.hypot(place.x - point.x, place.y - point.y) * zoom;
        if (away > reach || !present(place)) continue;
        const cost = away - (index === current ? LOYALTY_PX : 0) + (letter === "b" ? 0 : DETAIL_PX);
        if (!best || cost <= best.cost) best = { kind: "joint", person: index, ref: letter + i, cost };
      }
    }
  }
  return best && { kind: best.kind, person: best.person, ref: best.ref };
}

function pickLimb(people, point, zoom, touch, current) {
  const reach = Math.max(touch ? TOUCH_REACH_PX * 0.7 : LIMB_REACH_PX, 4 * zoom + 2);
  /** @type {{ kind: "limb", person: number, limb: number, cost: number } | null} */
  let best = null;
  for (const [index, person] of people.entries()) {
    if (!person.visible) continue;
    for (const [limb, [a, b]] of LIMBS.entries()) {
      const [from, to] = [person.body[a], person.body[b]];
      if (!present(from) || !present(to) || person.hidden.includes(a) || person.hidden.includes(b)) continue;
      const away = segmentDistance(point, from, to) * zoom;
      if (away > reach) continue;
      const cost = away - (index === current ? LOYALTY_PX : 0);
      if (!best || cost <= best.cost) best = { kind: "limb", person: index, limb, cost };
    }
  }
  return best && { kind: best.kind, person: best.person, limb: best.limb };
}
