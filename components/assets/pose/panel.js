/** The column beside the stage: everybody in a list, front first, and what is to be said about the chosen person. */

import { element, iconButton, textButton } from "../engine/controls.js";
import { completed } from "./anatomy.js";
import { canHave, DETAILS, toggledDetail } from "./details.js";
import { accepted, dragPoint } from "./edit.js";
import { thumbnail } from "./paint.js";
import { NAMES, nameOf, pointAt, present } from "./skeleton.js";

const ROW = { width: 28, height: 32, size: { limb: 1.2, joint: 1.1, detail: 0.6 } };

export class Panel {
  constructor(editor) {
    this.editor = editor;
    const { shell } = editor;
    const add = iconButton({ id: "add-person-2", label: "Add a person", icon: "add", keys: ["A"], run: () => editor.openPresets() });
    this.list = element("div", { role: "list", "aria-label": "People" });
    this.detail = element("div", { class: "detail" });
    shell.panel.append(element("div", { class: "people" }, element("header", {}, element("h3", {}, "People"), add), this.list, this.detail));
    this.drawn = []; // the people whose rows are there
    this.rows = [];
  }

  /** Bring it up to date; called with every change, so that only what changed is made anew. */
  show() {
    const { people, selection } = this.editor;
    if (people.length !== this.drawn.length || people.some((person, i) => person !== this.drawn[i])) {
      this.rows = people.map((person, i) => (person === this.drawn[i] && this.rows[i]) || this.#row(person, i));
      this.drawn = people;
      this.list.replaceChildren(...this.rows.toReversed());
    }
    this.rows.forEach((row, i) => {
      row.classList.toggle("current", i === selection.current);
      row.firstChild.setAttribute("aria-current", String(i === selection.current));
    });
    this.#showDetail();
  }

  /** While a joint is dragged only its numbers change. */
  follow() {
    const single = this.editor.selection.single();
    const point = single && this.fields && pointAt(this.editor.people[single[0]], single[1]);
    if (point) for (const axis of ["x", "y"]) this.fields[axis].value = point[axis].toFixed(1);
  }

  #row(person, index) {
    const { editor } = this;
    const choose = () => {
      editor.choosePerson(index);
      editor.shell.root.focus({ preventScroll: true });
    };
    const name = element("button", { type: "button", class: "name", "data-person": index, "aria-label": `Person ${index + 1}`, onclick: choose },
      element("span", { class: "number" }, String(index + 1)), thumbnail(person, ROW.width, ROW.height, 3, ROW.size), element("span", { class: "label" }, `Person ${index + 1}`));
    const button = (id, label, icon, run) => iconButton({ id: `${id}-${index}`, label, icon, run });
    const row = element("div", { class: person.visible ? "person" : "person away", role: "listitem" }, name,
      button("visible", person.visible ? "Hide" : "Show", person.visible ? "eye" : "eyeOff", () => editor.commitEach([index], (it) => ({ ...it, visible: !it.visible }))),
      button("remove", "Delete", "trash", () => {
        editor.selection.clear();
        editor.commit(editor.people.filter((_, i) => i !== index));
      }));
    return row;
  }

  #showDetail() {
    const { people, selection } = this.editor;
    const person = people[selection.current];
    const single = selection.single();
    const key = person && [person, single?.join("/"), selection.current];
    if (key && this.key && key.every((each, i) => each === this.key[i])) return;
    const focused = this.detail.getRootNode().activeElement;
    const inHere = this.detail.contains(focused);
    if (inHere && focused.matches("input")) return; // somebody types here
    this.key = key;
    this.fields = null;
    if (!person) return this.detail.replaceChildren(...(people.length ? [element("div", { class: "rule" }), element("p", { class: "note" }, "Choose somebody to see what is missing or unsure, and to add hands and a face.")] : []));
    this.detail.replaceChildren(...(person ? [single && this.#place(single), this.#unsure(person), this.#missing(person), this.#details(person)].filter(Boolean).flatMap((part) => [element("div", { class: "rule" }), ...part]) : []));
    if (inHere) this.editor.shell.root.focus({ preventScroll: true }); // the pressed button is gone, the keys must not go with it
  }

  #place([index, ref]) {
    const { editor } = this;
    const point = pointAt(editor.people[index], ref);
    this.fields = {};
    const field = (axis) => {
      const input = element("input", { type: "number", step: "1", value: point[axis].toFixed(1), "aria-label": `${nameOf(ref)}, ${axis}`, "data-id": `place-${axis}` });
      input.addEventListener("change", () => {
        const value = Number(input.value);
        if (input.value === "" || !Number.isFinite(value)) return void (input.value = point[axis].toFixed(1));
        const to = { ...pointAt(editor.people[index], ref), [axis]: value };
        return editor.commitEach([index], (person) => dragPoint(person, ref, to, { ik: false, lock: false, symmetric: false }));
      });
      this.fields[axis] = input;
      return element("label", {}, axis.toUpperCase(), input);
    };
    return [element("h3", {}, nameOf(ref)), element("div", { class: "place" }, field("x"), field("y"))];
  }

  #unsure(person) {
    if (!person.ghosts.length) return null;
    const { editor } = this;
    const index = editor.selection.current;
    const accept = (joints) => () => editor.commitEach([index], (it) => accepted(it, joints));
    const chips = person.ghosts.map((i) => chip(NAMES[i], accept([i]), "unsure"));
    return [element("h3", {}, "Unsure: click what is right"), element("div", { class: "chips" }, ...chips,
      person.ghosts.length > 1 ? textButton("Accept all", accept(person.ghosts), { id: "accept-person", primary: true }) : null)];
  }

  #missing(person) {
    const missing = person.body.flatMap((point, i) => (present(point) ? [] : [i]));
    if (!missing.length) return null;
    const { editor } = this;
    const index = editor.selection.current;
    const bring = (joints) => () => editor.commitEach([index], (it) => completed(it, editor.size, joints));
    return [element("h3", {}, "Missing: click to bring back"), element("div", { class: "chips" }, ...missing.map((i) => chip(NAMES[i], bring([i]))),
      missing.length > 1 ? textButton("All", bring(missing), { id: "complete-person", primary: true }) : null)];
  }

  #details(person) {
    const { editor } = this;
    const index = editor.selection.current;
    const chips = DETAILS.filter(([part]) => person[part] || canHave(person, part)).map(([part, label]) => {
      const button = chip(label, () => editor.commitEach([index], (it) => toggledDetail(it, part)), person[part] ? "has" : "");
      button.setAttribute("aria-pressed", String(!!person[part]));
      button.dataset.id = `detail-${part}`;
      return button;
    });
    return chips.length ? [element("h3", {}, "Hands and face"), element("div", { class: "chips" }, ...chips)] : null;
  }
}

function chip(name, run, extra = "") {
  const button = textButton(name, run, { name });
  if (extra) button.classList.add(extra);
  return button;
}
