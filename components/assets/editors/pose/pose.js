/**
 * The pose editor: people made of joints. Its document is a skeleton in floats; people are replaced, never changed in place, so
 * that a drag, its cancelling and the history can share them.
 */

import { addControls, addEmptyWord } from "./controls.js";
import { Crowd } from "./crowd.js";
import { accepted, changed, dragLimb, dragPoint, toggledHidden } from "./edit.js";
import { boxOf, handlePlace, HANDLES, inside, padded, scaling, turning } from "./group.js";
import { readOpenPose } from "./openpose.js";
import { fadeOutside, paintBox, paintLabel, paintLimbMark, paintMark, paintNumber, paintRubber, sizes } from "./paint.js";
import { Panel } from "./panel.js";
import { pick, REACH_PX, TOUCH_REACH_PX } from "./pick.js";
import { Selection } from "./selection.js";
import { COLOURS, HEAD, LIMBS, nameOf, pointAt, present, whole } from "./skeleton.js";

const MOVE_TOOL = { id: "move", label: "Move", icon: "select", keys: ["V"], cursor: "default",
  hint: "Drag joints, limbs, or the trunk for the whole." };
const DRAG_FROM_PX = 3;
const BOX_MARGIN_PX = 16;
const BOX_LEAST_PX = 36;
const STALK_PX = 24;
const POINT_BYTES = 64;
const READ_MS = 100;
const RESIZE = { nw: "nwse-resize", se: "nwse-resize", ne: "nesw-resize", sw: "nesw-resize", n: "ns-resize", s: "ns-resize", e: "ew-resize",
  w: "ew-resize", turn: "grab" };
const LOOKS = { dark: "#000000", light: "#ffffff" };

export function createEditor(shell, options) {
  return new Pose(shell, options);
}

/**
 * What can be taken hold of: a joint (`ref`) or a limb of a person, a handle of the box, its inside, or nothing ("rubber").
 *
 * @typedef {object} Target
 * @property {"joint" | "limb" | "handle" | "inside" | "rubber"} kind
 * @property {number} [person]
 * @property {string} [ref]
 * @property {number} [limb]
 * @property {string} [handle]
 * @property {Rect} [box]
 */

/**
 * What a hand does with it; `area` is the rectangle of a rubber band, `already` what was chosen before it.
 *
 * @typedef {Target & {from: PointerPoint, before: Person[], dragged: boolean, area?: Rect, already?: Set<string>}} Gesture
 */

class Pose {
  kind = "skeleton";
  imports = { accept: ".json,application/json", label: "Open pose JSON", run: async (file) => this.importText(await file.text()) };

  /** @type {Gesture | null} */
  gesture = null;

  constructor(shell, options) {
    this.shell = shell;
    this.name = options.name ?? "pose";
    this.rules = { ik: true, lock: true, symmetric: false };
    this.selection = new Selection();
    this.crowd = new Crowd();
    this.people = [];
    this.size = { width: 512, height: 512 };
    this.gesture = null;
    this.hovered = null;
    this.pointer = {
      down: (point) => this.#down(point), move: (_, last) => this.#move(last), up: (point) => this.#up(point),
      cancel: () => this.#cancel(), hover: (point) => this.#hover(point), leave: () => this.#hover(null),
    };
    shell.addTools([MOVE_TOOL]);
    addControls(this);
    this.panel = new Panel(this);
    this.emptyWord = addEmptyWord(this);
    this.setLook("dark");
  }

  // ---- the shell's side

  load({ width, height, people }) {
    this.size = { width, height };
    this.people = people.map(whole);
    this.gesture = null;
    this.hovered = null;
    this.#peopleChanged();
  }

  document() {
    return { kind: "skeleton", ...this.size, people: this.people };
  }

  apply(patch, direction) {
    this.people = patchedPeople(this.people, direction < 0 ? patch.before : patch.after);
    this.#peopleChanged();
  }

  escape() {
    const had = this.selection.size > 0;
    this.selection.clear();
    this.selectionChanged();
    return had;
  }

  /** The same people on a canvas of another size, scaled to lie inside as before. */
  resized(width, height) {
    const scale = Math.min(width / this.size.width, height / this.size.height);
    const [left, top] = [(width - this.size.width * scale) / 2, (height - this.size.height * scale) / 2];
    const moved = (point) => ({ ...point, x: left + point.x * scale, y: top + point.y * scale });
    const move = (points) => points && points.map((point) => (present(point) ? moved(point) : point));
    const people = this.people.map((person) => ({ ...person, body: move(person.body), left_hand: move(person.left_hand),
      right_hand: move(person.right_hand), face: move(person.face) }));
    return { kind: "skeleton", width, height, people };
  }

  // ---- changes

  /** Other people in place of the present ones: one step of the history. */
  commit(people) {
    const before = this.people;
    this.people = people;
    this.#finish(before);
  }

  /** Change some people: `change(person, index)`. Somebody who was chosen whole stays so, with what came along. */
  commitEach(indices, change) {
    const { selection } = this;
    const chosen = selection.byPerson();
    const alone = indices.length === 1 && chosen.size === 1 && chosen.has(indices[0]);
    const whole = alone && selection.size > 1 && selection.wholePeople(this.people);
    this.commit(this.people.map((person, i) => (indices.includes(i) ? change(person, i) : person)));
    if (whole) this.choosePerson(indices[0]);
  }

  /** The people that a command means: those with chosen points, else the current one. */
  get meant() {
    const owners = [...this.selection.byPerson().keys()];
    if (owners.length) return owners;
    return this.people[this.selection.current] ? [this.selection.current] : [];
  }

  choosePerson(index) {
    this.selection.person(this.people, index);
    this.selectionChanged();
  }

  selectionChanged() {
    this.panel.show();
    this.#tell();
    this.shell.refresh();
    this.shell.repaint();
  }

  setLook(look) {
    this.look = look;
    this.shell.paper.style.background = LOOKS[look];
    this.shell.root.dataset.look = look;
    this.shell.repaint();
  }

  importText(text) {
    const { document: next, lost } = readOpenPose(text, this.size);
    this.selection.clear();
    this.shell.replace(next);
    const count = next.people.length;
    const more = lost.length > 2 ? [`${lost.length - 1} more parts were left out.`] : lost.slice(1);
    this.shell.toast([count === 1 ? "Opened one person." : `Opened ${count} people.`, ...lost.slice(0, 1), ...more].join(" "));
  }

  #finish(before) {
    const patch = peoplePatch(before, this.people);
    this.#peopleChanged();
    if (patch) this.shell.commit(patch);
  }

  #peopleChanged() {
    this.selection.prune(this.people);
    this.emptyWord.hidden = this.people.length > 0;
    this.panel.show();
    this.#tell();
    this.shell.refresh();
    this.shell.repaint();
  }

  // ---- pointer

  #down(point) {
    const found = this.#at(point);
    if (point.button === 2) return this.#toggleHidden(found);
    this.gesture = { ...found, from: point, before: this.people, dragged: false };
    if (found.kind === "joint" && !point.shift && !this.#inGroup(found)) this.selection.only(found.person, found.ref);
    if (found.kind === "limb" && !point.shift) this.selection.current = found.person ?? -1;
    this.hovered = null;
    return this.selectionChanged();
  }

  #move(point) {
    const { gesture } = this;
    if (!gesture) return;
    const slack = DRAG_FROM_PX * (gesture.from.touch ? 2 : 1);
    if (!gesture.dragged && Math.hypot(point.sx - gesture.from.sx, point.sy - gesture.from.sy) < slack) return;
    gesture.dragged = true;
    this.#drag(gesture, point);
    this.#followSoon();
    this.shell.repaint();
  }

  /** Numbers and words beside the stage, as often as one can read them: each change of theirs costs a layout. */
  #followSoon() {
    this.following ??= setTimeout(() => {
      this.following = null;
      this.panel.follow();
      this.#tell();
    }, READ_MS);
  }

  #up(point) {
    const { gesture } = this;
    this.gesture = null;
    if (!gesture) return;
    if (!gesture.dragged) this.#click(gesture, point);
    else if (gesture.kind === "rubber") this.selectionChanged();
    else this.#finish(gesture.before);
  }

  #cancel() {
    if (this.gesture) this.people = this.gesture.before;
    this.gesture = null;
    this.#peopleChanged();
  }

  #hover(point) {
    const before = this.hovered;
    this.hovered = point && this.#at(point);
    if (point) this.shell.setCursor(cursorOf(this.hovered));
    if (sameThing(before, this.hovered)) return;
    this.#tell();
    this.shell.repaint();
  }

  /**
   * What the pointer would take hold of.
   *
   * @param {PointerPoint} point
   * @returns {Target}
   */
  #at(point) {
    const { view } = this.shell;
    const box = this.box();
    const reach = point.touch ? TOUCH_REACH_PX : REACH_PX - 2;
    const handle = box && HANDLES.findLast((name) => {
      const place = handlePlace(box, name, STALK_PX);
      return Math.hypot(place.x - point.sx, place.y - point.sy) <= reach;
    });
    const found = pick(this.people, point, view.zoom, { touch: point.touch, current: this.selection.current });
    const besideJoint = handle && handle !== "turn" && found?.kind === "joint";
    if (handle && !(besideJoint && this.#nearer(found, handle, box, point))) return { kind: "handle", handle, box };
    if (found) return found;
    if (box && inside(box, { x: point.sx, y: point.sy })) return { kind: "inside" };
    return { kind: "rubber" };
  }

  #nearer(found, handle, box, point) {
    const { x, y } = pointAt(this.people[found.person], found.ref);
    const [place, knob] = [this.shell.view.toStage(x, y), handlePlace(box, handle)];
    return Math.hypot(place.x - point.sx, place.y - point.sy) < Math.hypot(knob.x - point.sx, knob.y - point.sy);
  }

  /**
   * Whether a joint belongs to several chosen ones that move together; a whole chosen person is posed, not moved.
   *
   * @param {Target} target
   */
  #inGroup({ person, ref }) {
    return this.selection.size > 1 && this.selection.has(person, ref) && !this.selection.wholePeople(this.people);
  }

  #drag(gesture, point) {
    const { from, before, kind } = gesture;
    const [dx, dy] = [point.x - from.x, point.y - from.y];
    if (kind === "rubber") return this.#rubber(gesture, point);
    if (kind === "handle") return this.#changeChosen(before, this.#handleChange(gesture, point));
    const asGroup = kind === "inside" || (kind === "joint" && this.#inGroup(gesture));
    if (asGroup) return this.#changeChosen(before, ({ x, y }) => ({ x: x + dx, y: y + dy }));
    const person = before[gesture.person];
    const rules = point.alt ? { ik: false, lock: false, symmetric: this.rules.symmetric } : { ...this.rules, whole: point.ctrl };
    let next;
    if (kind === "joint") {
      const { x, y } = pointAt(person, gesture.ref);
      next = dragPoint(person, gesture.ref, { x: x + dx, y: y + dy }, rules);
      if (gesture.ref[0] === "b") next = accepted(next, next.ghosts.filter((i) => `b${i}` === gesture.ref));
    } else next = dragLimb(person, gesture.limb, from, point, rules);
    this.people = before.with(gesture.person, next);
    return undefined;
  }

  #rubber(gesture, point) {
    gesture.already ??= new Set(gesture.from.shift ? this.selection.keys : []);
    gesture.area = boxOf(gesture.from, point);
    this.selection.keys = new Set(gesture.already);
    this.selection.within(this.people, gesture.area, true);
    this.panel.show();
  }

  #handleChange({ handle, box, from }, point) {
    const { view } = this.shell;
    const there = [view.toDocument(box[0], box[1]), view.toDocument(box[2], box[3])];
    /** @type {Rect} */
    const area = [there[0].x, there[0].y, there[1].x, there[1].y];
    if (handle === "turn") return turning(area, from, point, { even: point.shift });
    const place = handlePlace(area, handle);
    return scaling(area, handle, { x: place.x + point.x - from.x, y: place.y + point.y - from.y },
      { free: point.shift, centred: point.alt });
  }

  #changeChosen(before, change) {
    const chosen = this.selection.byPerson();
    this.people = before.map((person, i) => (chosen.has(i) ? changed(person, chosen.get(i), change) : person));
  }

  #click(gesture, point) {
    const { kind, person, ref } = gesture;
    const ghost = kind === "joint" && ref[0] === "b" && this.people[person].ghosts.includes(Number(ref.slice(1)));
    if (ghost && !point.shift) {
      this.selection.only(person, ref);
      return this.commitEach([person], (it) => accepted(it, [Number(ref.slice(1))]));
    }
    if (kind === "joint" && point.shift) this.selection.toggle(person, ref);
    else if (kind === "joint") this.selection.only(person, ref);
    else if (kind === "limb") this.selection.person(this.people, person);
    else if (kind !== "handle" && !point.shift) this.selection.clear();
    return this.selectionChanged();
  }

  #toggleHidden(found) {
    if (found.kind !== "joint" || found.ref[0] !== "b") return;
    this.selection.only(found.person, found.ref);
    this.commitEach([found.person], (person) => toggledHidden(person, [Number(found.ref.slice(1))]));
  }

  /** The status line: what is under the pointer or chosen, and where it is. */
  #tell() {
    const { shell, selection } = this;
    const held = this.gesture?.kind === "joint" ? this.gesture : this.hovered?.kind === "joint" ? this.hovered : null;
    const [person, ref] = held ? [held.person, held.ref] : selection.single() ?? [];
    const point = ref && this.people[person] && pointAt(this.people[person], ref);
    if (!point) return shell.say(selection.words(this.people) || MOVE_TOOL.hint);
    const owner = this.people.length > 1 ? ` · Person ${person + 1}` : "";
    const state = this.#state(person, ref);
    return shell.say(`${nameOf(ref)} · ${point.x.toFixed(1)}, ${point.y.toFixed(1)}${owner}${state}`);
  }

  #state(index, ref) {
    if (ref[0] !== "b") return "";
    const [person, joint] = [this.people[index], Number(ref.slice(1))];
    if (person.hidden.includes(joint)) return " · hidden";
    if (person.ghosts.includes(joint)) return ` · unsure (${Math.round(person.body[joint].confidence * 100)} %): click to accept`;
    const { x, y } = person.body[joint];
    return x < 0 || y < 0 || x > this.size.width || y > this.size.height ? " · off the picture" : "";
  }

  // ---- the overlay

  /** The box around several chosen points in stage pixels; null without one. */
  box() {
    if (this.selection.size < 2) return null;
    const area = this.selection.bounds(this.people);
    if (!area) return null;
    const { view } = this.shell;
    const [a, b] = [view.toStage(area[0], area[1]), view.toStage(area[2], area[3])];
    return padded([a.x, a.y, b.x, b.y], BOX_MARGIN_PX, BOX_LEAST_PX);
  }

  paint(context, view) {
    const at = ({ x, y }) => view.toStage(x, y);
    const size = sizes(view.zoom);
    this.crowd.paint(context, view, this.people);
    fadeOutside(context, view, this.#colours().stage);
    this.#paintMarks(context, view, at, size);
    if (this.people.length > 1 && !this.gesture?.dragged) this.#paintNumbers(context, at, size);
    const { accent } = this.#colours();
    const box = this.box();
    if (box && !this.gesture?.dragged) {
      const handles = Object.fromEntries(HANDLES.map((name) => [name, handlePlace(box, name, STALK_PX)]));
      paintBox(context, box, handles, accent);
    }
    if (this.gesture?.area) {
      const [a, b] = [at({ x: this.gesture.area[0], y: this.gesture.area[1] }), at({ x: this.gesture.area[2], y: this.gesture.area[3] })];
      paintRubber(context, [a.x, a.y, b.x, b.y], accent);
    }
    this.#paintLabel(context, view, at);
  }

  #paintMarks(context, view, at, size) {
    const whole = this.selection.wholePeople(this.people) && this.selection.size > 1;
    for (const [index, refs] of this.selection.byPerson()) {
      if (whole || !this.people[index]) continue;
      for (const ref of refs) {
        const point = pointAt(this.people[index], ref);
        if (present(point)) paintMark(context, at(point), ref[0] === "b" ? size.joint : size.detail, { active: true });
      }
    }
    const { hovered } = this;
    const person = hovered && this.people[hovered.person];
    if (!person) return;
    if (hovered.kind === "joint" && present(pointAt(person, hovered.ref))) {
      paintMark(context, at(pointAt(person, hovered.ref)), hovered.ref[0] === "b" ? size.joint : size.detail, { hover: true });
    } else if (hovered.kind === "limb") {
      const [a, b] = LIMBS[hovered.limb];
      paintLimbMark(context, at(person.body[a]), at(person.body[b]), size.limb);
    }
  }

  #paintNumbers(context, at, size) {
    const colours = this.#colours();
    const boxed = this.selection.size > 1 ? this.selection.byPerson() : new Map();
    this.people.forEach((person, index) => {
      if (!person.visible || boxed.has(index)) return;
      const head = HEAD.map((i) => person.body[i]).filter(present);
      const points = head.length ? head : person.body.filter(present);
      if (!points.length) return;
      const { x, y } = at({ x: points.reduce((sum, point) => sum + point.x, 0) / points.length,
        y: Math.min(...points.map((point) => point.y)) });
      paintNumber(context, index + 1, { x, y: y - size.joint - 18 }, index === this.selection.current ? colours : undefined);
    });
  }

  #paintLabel(context, view, at) {
    const dragged = this.gesture?.kind === "joint" && this.gesture.dragged;
    const held = dragged ? this.gesture : this.hovered?.kind === "joint" ? this.hovered : null;
    const person = held && this.people[held.person];
    const point = person && pointAt(person, held.ref);
    if (!present(point)) return;
    const place = this.gesture ? `  ${Math.round(point.x)}, ${Math.round(point.y)}` : "";
    paintLabel(context, nameOf(held.ref) + place, at(point), view);
  }

  #colours() {
    const now = performance.now();
    if (!this.colours || now - this.colours.time > 500) {
      const style = getComputedStyle(this.shell.root);
      this.colours = { time: now, accent: style.getPropertyValue("--accent").trim() || css(COLOURS[12]),
        ground: style.getPropertyValue("--ground").trim() || "#fff", stage: getComputedStyle(this.shell.stage.element).backgroundColor };
    }
    return this.colours;
  }
}

function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

/**
 * People are never changed in place, so a patch is the two lists, and costs what they do not share: whoever is in the other list,
 * too, is named by the place there.
 */
function peoplePatch(before, after) {
  const changed = after.filter((person) => !before.includes(person));
  const alike = (person, i) => person === before[i] || JSON.stringify(person) === JSON.stringify(before[i]);
  const same = before.length === after.length && after.every(alike);
  if (same) return null;
  const count = ({ left_hand, right_hand, face }) => 18 + (left_hand ? 21 : 0) + (right_hand ? 21 : 0) + (face ? 70 : 0);
  const points = changed.reduce((sum, person) => sum + count(person), 0);
  const among = (list, others) => list.map((person) => (others.includes(person) ? others.indexOf(person) : person));
  return { type: "people", before: among(before, after), after: among(after, before), bytes: 2 * POINT_BYTES * points + 8 * after.length };
}

/** The list of people that one side of a patch describes, `present` being the other side. */
function patchedPeople(present, side) {
  return side.map((person) => (typeof person === "number" ? present[person] : person));
}

/** Whether two finds are the same joint, limb or handle; of what has no parts, the same kind. */
function sameThing(a, b) {
  return a?.kind === b?.kind && a?.person === b?.person && a?.ref === b?.ref && a?.limb === b?.limb && a?.handle === b?.handle;
}

function cursorOf(found) {
  if (found.kind === "handle") return RESIZE[found.handle];
  if (found.kind === "joint") return "pointer";
  return found.kind === "rubber" ? "default" : "move";
}
