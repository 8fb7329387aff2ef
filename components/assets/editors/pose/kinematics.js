/**
 * Inverse and forward kinematics in the plane: where the joints of a chain go when its end is pulled. No DOM, no anatomy.
 *
 * Points are {x, y}. Sources: the law of cosines for two bones; A. Aristidou and J. Lasenby, "FABRIK: A fast, iterative solver
 * for the inverse kinematics problem", Graphical Models 73 (2011), for longer chains.
 */

const TINY = 1e-9;

export function distance(a, b) {
  return Math.hypot(b.x - a.x, b.y - a.y);
}

export function angleOf(from, to) {
  return Math.atan2(to.y - from.y, to.x - from.x);
}

/** A point turned about a pivot by `angle` in radians, positive from x towards y. */
export function turned(point, pivot, angle) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const [dx, dy] = [point.x - pivot.x, point.y - pivot.y];
  return { x: pivot.x + dx * cos - dy * sin, y: pivot.y + dx * sin + dy * cos };
}

/** The point `length` away from `from` in the direction of `towards`; straight down where both are the same. */
export function along(from, towards, length) {
  const span = distance(from, towards);
  if (span < TINY) return { x: from.x, y: from.y + length };
  return { x: from.x + ((towards.x - from.x) * length) / span, y: from.y + ((towards.y - from.y) * length) / span };
}

/** +1 or -1: on which side of the line from root to end the middle joint lies; 0 for a straight chain. */
export function bendOf(root, middle, end) {
  const [ax, ay, bx, by] = [end.x - root.x, end.y - root.y, middle.x - root.x, middle.y - root.y];
  const cross = ax * by - ay * bx;
  const size = Math.hypot(bx, by) * Math.max(Math.hypot(ax, ay), TINY);
  return Math.abs(cross) <= 1e-3 * size ? 0 : Math.sign(cross);
}

/**
 * Two bones of lengths `first` and `second` from `root`, their end as near to `target` as it goes: {middle, end}. `bend` (+1, -1)
 * is the side of the middle joint as in bendOf. Out of reach the chain is straight (or folded) towards the target, or, with
 * `stretch`, both bones grow or shrink in proportion until the end is there.
 */
export function twoBones(root, first, second, target, bend, { stretch = false } = {}) {
  const wanted = distance(root, target);
  const [near, far] = [Math.abs(first - second), first + second];
  if (stretch && wanted > far && far > TINY) return twoBones(root, (first * wanted) / far, (second * wanted) / far, target, bend);
  const reach = Math.min(far, Math.max(near, wanted));
  const end = along(root, target, reach);
  if (reach < TINY) return { middle: along(root, target, first), end };
  const cosine = (first * first + reach * reach - second * second) / (2 * first * reach || TINY);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  return { middle: turned(along(root, target, first), root, (bend || 1) * angle), end };
}

/**
 * A chain of points whose last one reaches for `target` while the first stays: FABRIK. Lengths between neighbours are kept;
 * out of reach the chain is straight.
 */
export function reach(points, target, { rounds = 64, tolerance = 1e-7 } = {}) {
  const lengths = points.slice(1).map((point, i) => distance(points[i], point));
  const chain = points.map(({ x, y }) => ({ x, y }));
  const root = chain[0];
  if (distance(root, target) >= lengths.reduce((sum, length) => sum + length, 0)) {
    for (let i = 1; i < chain.length; i++) chain[i] = along(chain[i - 1], target, lengths[i - 1]);
    return chain;
  }
  const last = chain.length - 1;
  for (let round = 0; round < rounds && distance(chain[last], target) > tolerance; round++) {
    chain[last] = { x: target.x, y: target.y };
    for (let i = last - 1; i >= 0; i--) chain[i] = along(chain[i + 1], chain[i], lengths[i]);
    chain[0] = root;
    for (let i = 1; i <= last; i++) chain[i] = along(chain[i - 1], chain[i], lengths[i - 1]);
  }
  return chain;
}

/** A point seen in a mirror that stands on the line through a and b. */
export function reflected(point, a, b) {
  const span = distance(a, b);
  if (span < TINY) return { x: 2 * a.x - point.x, y: point.y };
  const [ux, uy] = [(b.x - a.x) / span, (b.y - a.y) / span];
  const [dx, dy] = [point.x - a.x, point.y - a.y];
  const share = 2 * (dx * ux + dy * uy);
  return { x: a.x + share * ux - dx, y: a.y + share * uy - dy };
}
