/**
 * Everybody on the canvas, painted quickly: people who stay as they are while somebody is dragged, or while changes of somebody
 * are undone, are painted once and kept as pictures, one of those below and one of those above.
 */

import { contextOf } from "../../shared/context.js";
import { paintPeople, sizes } from "./paint.js";

const APART = 4; // people from the first that changed to the last: more are kept as a picture as soon as they rest

export class Crowd {
  constructor() {
    this.pictures = [new Picture(), new Picture()];
    this.people = [];
    this.changing = [0, -1]; // the first and the last of those who changed lately
  }

  /** Paint `people` on a context in stage pixels. */
  paint(context, view, people) {
    this.#watch(people);
    const [first, last] = this.changing;
    this.pictures[0].paint(context, view, people.slice(0, first));
    paintPeople(context, people.slice(first, last + 1), (point) => view.toStage(point.x, point.y), sizes(view.zoom));
    this.pictures[1].paint(context, view, people.slice(last + 1));
  }

  /** Who changed since the last time; where nobody did, those who did before are expected to change again. */
  #watch(people) {
    const before = this.people;
    this.people = people;
    if (people.length !== before.length) this.changing = [people.length, people.length];
    else {
      const [first, last] = [people.findIndex((person, i) => person !== before[i]),
        people.findLastIndex((person, i) => person !== before[i])];
      if (first >= 0) this.changing = [first, last];
      else if (this.changing[1] - this.changing[0] >= APART) this.changing = [people.length, people.length];
    }
  }
}

/** Some people as pixels, painted anew when they or the view changed. */
class Picture {
  constructor() {
    this.canvas = null;
    this.people = [];
    this.key = "";
  }

  paint(context, view, people) {
    if (!people.length) return;
    const key = [view.x, view.y, view.zoom, view.stageWidth, view.stageHeight, view.pixelRatio].join();
    const same = key === this.key && people.length === this.people.length && people.every((person, i) => person === this.people[i]);
    if (!same) this.#make(view, people);
    [this.key, this.people] = [key, people];
    context.drawImage(this.canvas, 0, 0, view.stageWidth, view.stageHeight);
  }

  #make(view, people) {
    const [width, height] = [view.stageWidth, view.stageHeight].map((side) => Math.round(side * view.pixelRatio));
    this.canvas ??= new OffscreenCanvas(width, height);
    Object.assign(this.canvas, { width, height }); // also clears it
    const context = contextOf(this.canvas);
    context.setTransform(view.pixelRatio, 0, 0, view.pixelRatio, 0, 0);
    paintPeople(context, people, (point) => view.toStage(point.x, point.y), sizes(view.zoom));
  }
}
