/**
 * Everybody on the canvas, painted quickly: people who stay as they are while others are dragged are painted once and kept as
 * pictures, one of those below the moving ones and one of those above.
 */

import { paintPeople, sizes } from "./paint.js";

export class Crowd {
  constructor() {
    this.pictures = [new Picture(), new Picture()];
  }

  /** Paint `people` on a context in stage pixels; `moving` are the indices of those that change from frame to frame. */
  paint(context, view, people, moving = []) {
    const [first, last] = moving.length ? [Math.min(...moving), Math.max(...moving)] : [people.length, people.length];
    this.pictures[0].paint(context, view, people.slice(0, first));
    paintPeople(context, people.slice(first, last + 1), (point) => view.toStage(point.x, point.y), sizes(view.zoom));
    this.pictures[1].paint(context, view, people.slice(last + 1));
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
    const context = this.canvas.getContext("2d");
    context.setTransform(view.pixelRatio, 0, 0, view.pixelRatio, 0, 0);
    paintPeople(context, people, (point) => view.toStage(point.x, point.y), sizes(view.zoom));
  }
}
