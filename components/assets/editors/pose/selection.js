/** Which points are chosen, among several people: a set of "person/ref", and what follows from it. No DOM. */

import { bounds, nameOf, pointAt, present, refsOf } from "./skeleton.js";

export class Selection {
  constructor() {
    this.current = -1; // the person that keys and buttons mean
    this.keys = new Set();
  }

  get size() {
    return this.keys.size;
  }

  has(person, ref) {
    return this.keys.has(`${person}/${ref}`);
  }

  clear() {
    this.keys.clear();
    this.current = -1;
  }

  /** One point alone. */
  only(person, ref) {
    this.keys = new Set([`${person}/${ref}`]);
    this.current = person;
  }

  toggle(person, ref) {
    const key = `${person}/${ref}`;
    if (!this.keys.delete(key)) this.keys.add(key);
    this.current = person;
  }

  /** A whole person. */
  person(people, index) {
    this.keys = new Set(refsOf(people[index]).map((ref) => `${index}/${ref}`));
    this.current = index;
  }

  everyone(people) {
    this.keys = new Set(people.flatMap((person, index) => refsOf(person).map((ref) => `${index}/${ref}`)));
    if (this.current < 0) this.current = people.length - 1;
  }

  /** All visible points within a box [x0, y0, x1, y1]; with `add` beside those already chosen. */
  within(people, [x0, y0, x1, y1], add) {
    if (!add) this.keys = new Set();
    people.forEach((person, index) => {
      if (!person.visible) return;
      for (const ref of refsOf(person)) {
        const { x, y } = pointAt(person, ref);
        if (x >= x0 && x <= x1 && y >= y0 && y <= y1) this.keys.add(`${index}/${ref}`);
      }
    });
    const owners = [...new Set(this.#pairs().map(([person]) => person))];
    if (!owners.includes(this.current)) this.current = owners.at(-1) ?? -1;
  }

  /** Map from person to its chosen refs. */
  byPerson() {
    const map = new Map();
    for (const [person, ref] of this.#pairs()) map.set(person, [...(map.get(person) ?? []), ref]);
    return map;
  }

  /** The one chosen point as [person, ref]; null for none or several. */
  single() {
    return this.size === 1 ? this.#pairs()[0] : null;
  }

  /** Whether exactly all points of one or more people are chosen. */
  wholePeople(people) {
    if (!this.size) return false;
    return [...this.byPerson()].every(([person, refs]) => people[person] && refs.length === refsOf(people[person]).length);
  }

  bounds(people) {
    return bounds(this.#pairs().map(([person, ref]) => people[person] && pointAt(people[person], ref)).filter(present));
  }

  /** Forget what is no longer there. */
  prune(people) {
    for (const [person, ref] of this.#pairs()) {
      if (!people[person] || !present(pointAt(people[person], ref))) this.keys.delete(`${person}/${ref}`);
    }
    if (this.current >= people.length) this.current = people.length - 1;
  }

  /** What is chosen, in words. */
  words(people) {
    const single = this.single();
    if (single) return nameOf(single[1]);
    if (!this.size) return "";
    const owners = this.byPerson().size;
    if (this.wholePeople(people)) return owners === 1 ? `Person ${this.current + 1}` : `${owners} people`;
    return `${this.size} points`;
  }

  #pairs() {
    return [...this.keys].map((key) => {
      const [person, ref] = key.split("/");
      return [Number(person), ref];
    });
  }
}
