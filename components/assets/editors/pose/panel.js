/** The column beside the stage: everybody in a list, front first, and what is to be said about the chosen person. */

import { element, iconButton, textButton } from "../../shared/controls.js";
import { focusedBeside } from "../../shared/focus.js";
import { completed } from "./anatomy.js";
import { canHave, DETAILS, toggledDetail } from "./details.js";
import { accepted, dragPoint } from "./edit.js";
import { paintThumbnail } from "./paint.js";
import { NAMES, nameOf, pointAt, present } from "./skeleton.js";

const ROW = { width: 28, height: 32, size: { limb: 1.2, joint: 1.1, detail: 0.6 } };

export class Panel {
  constructor(editor) {
    this.editor = editor;
    /** Where the chosen joint's place is written. @type {Record<string, HTMLInputElement> | null} */
    this.fields = null;
    const { shell } = editor;
    const add = iconButton({ id: "add-person-2", label: "Add a person", icon: "add", keys: ["A"], run: () => editor.openPresets() });
    this.list = element("div", { role: "list", "aria-label": "People" });
    this.detail = element("div", { class: "detail" });
    shell.panel.append(element("div", { class: "people" }, element("header", {}, element("h3", {}, "People"), add), this.list,
      this.detail));
    this.rows = [];
  }

  /** Bring it up to date; called with every change, so that only what changed is touched. */
  show() {
    const { people, selection } = this.editor;
    if (people.length !== this.rows.length) {
      this.rows = people.map((_, i) => this.rows[i] ?? new Row(this.editor, i));
      this.list.replaceChildren(...this.rows.map(({ node }) => node).toReversed());
    }
    this.rows.forEach((row, i) => row.show(people[i], i === selection.current));
    this.#showDetail();
  }

  /** While a joint is dragged only its numbers change. */
  follow() {
    const single = this.editor.selection.single();
    const point = single && this.fields && pointAt(this.editor.people[single[0]], single[1]);
    if (point) for (const [axis, input] of Object.entries(this.fields ?? {})) input.value = point[axis].toFixed(1);
  }

  #showDetail() {
    const { people, selection } = this.editor;
    const person = people[selection.current];
    const single = selection.single();
    // What is to be read there; where a joint is comes by itself, see `follow`.
    const parts = person && DETAILS.map(([part]) => [!!person[part], canHave(person, part)]);
    const key = JSON.stringify([people.length > 0, selection.current, single, person && [person.body.map(present), person.ghosts, parts]]);
    if (key === this.key) return this.follow();
    const focused = focusedBeside(this.detail);
    const inHere = !!focused && this.detail.contains(focused);
    if (inHere && focused.matches("input")) return; // somebody types here
    this.key = key;
    this.fields = null;
    const hint = "Choose somebody to see what is missing or unsure, and to add hands and a face.";
    const told = person
      ? [single && this.#place(single), this.#unsure(person), this.#missing(person), this.#details(person)]
      : [people.length > 0 && [element("p", { class: "note" }, hint)]];
    this.detail.replaceChildren(...told.flatMap((part) => (part ? [element("div", { class: "rule" }), ...part] : [])));
    if (!person) return undefined;
    if (inHere) this.editor.shell.root.focus({ preventScroll: true }); // the pressed button is gone, the keys must not go with it
  }

  #place([index, ref]) {
    const { editor } = this;
    const point = pointAt(editor.people[index], ref);
    const fields = (this.fields = {});
    const field = (axis) => {
      const input = element("input", { type: "number", step: "1", value: point[axis].toFixed(1), "aria-label": `${nameOf(ref)}, ${axis}`,
        "data-id": `place-${axis}` });
      input.addEventListener("change", () => {
        const value = Number(input.value);
        if (input.value === "" || !Number.isFinite(value)) return this.follow();
        const to = { ...pointAt(editor.people[index], ref), [axis]: value };
        return editor.commitEach([index], (person) => dragPoint(person, ref, to, { ik: false, lock: false, symmetric: false }));
      });
      fields[axis] = input;
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
    return [element("h3", {}, "Missing: click to bring back"),
      element("div", { class: "chips" }, ...missing.map((i) => chip(NAMES[i], bring([i]))),
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

/** One person's line of the list. */
class Row {
  constructor(editor, index) {
    this.person = null;
    this.current = null;
    const choose = () => {
      editor.choosePerson(index);
      editor.shell.root.focus({ preventScroll: true });
    };
    const remove = () => {
      editor.selection.clear();
      editor.commit(editor.people.filter((_, i) => i !== index));
    };
    this.picture = element("canvas");
    this.name = element("button", { type: "button", class: "name", "data-person": index, "aria-label": `Person ${index + 1}`,
      onclick: choose },
      element("span", { class: "number" }, String(index + 1)), this.picture, element("span", { class: "label" }, `Person ${index + 1}`));
    this.makeEye = (visible) => iconButton({ id: `visible-${index}`, label: visible ? "Hide" : "Show", icon: visible ? "eye" : "eyeOff",
      run: () => editor.commitEach([index], (it) => ({ ...it, visible: !it.visible })) });
    this.visible = true;
    this.eye = this.makeEye(true);
    this.node = element("div", { class: "person", role: "listitem" }, this.name, this.eye,
      iconButton({ id: `remove-${index}`, label: "Delete", icon: "trash", run: remove }));
  }

  show(person, current) {
    if (person !== this.person) {
      paintThumbnail(this.picture, person, ROW.width, ROW.height, 3, ROW.size);
      if (person.visible !== this.visible) this.#showEye(person.visible);
    }
    if (current !== this.current) {
      this.node.classList.toggle("current", current);
      this.name.setAttribute("aria-current", String(current));
    }
    [this.person, this.current] = [person, current];
  }

  #showEye(visible) {
    const { eye } = this;
    const held = focusedBeside(eye) === eye;
    this.eye = this.makeEye(visible);
    this.visible = visible;
    this.node.classList.toggle("away", !visible);
    eye.replaceWith(this.eye);
    if (held) this.eye.focus({ preventScroll: true });
  }
}

function chip(name, run, extra = "") {
  const button = textButton(name, run, { name });
  if (extra) button.classList.add(extra);
  return button;
}
