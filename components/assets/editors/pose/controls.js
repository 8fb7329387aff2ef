/** The pose editor's buttons, keys and the popover of ready poses. */

import { describe, element, iconButton, textButton } from "../../shared/controls.js";
import { icon } from "../../shared/icons.js";
import { completed } from "./anatomy.js";
import { canHave, DETAILS, toggledDetail } from "./details.js";
import { accepted, bentOver, changed, dragPoint, mirrored, moved, swapped, toggledHidden, without } from "./edit.js";
import { toOpenPose } from "./openpose.js";
import { thumbnail } from "./paint.js";
import { personOf, placed, reposed } from "./presets.js";
import { copy, PEOPLE_MAX, present, refsOf, TAB_ORDER } from "./skeleton.js";

const BODY = /^b/;
const DUPLICATE_SHIFT_PX = 24;
const THUMBNAIL = { width: 68, height: 76 };
const ARROWS = { Up: [0, -1], Down: [0, 1], Left: [-1, 0], Right: [1, 0] };
const presetsFile = new URL("./presets.json", import.meta.url);

export function addControls(editor) {
  const { shell } = editor;
  shell.root.classList.add("pose");
  shell.root.append(element("style", {}, STYLE));
  addPresets(editor);
  shell.addSeparator("rail");
  addRules(editor);
  addPeople(editor);
  addJoints(editor);
  addKeys(editor);
  addFiles(editor);
}

/** The word on an empty canvas, with the way out of it. */
export function addEmptyWord(editor) {
  const open = () => editor.openPresets();
  const node = element("div", { class: "nobody" }, icon("person", 32), element("strong", {}, "Nobody here yet"),
    element("span", {}, "Choose a pose to begin with, or drop a pose file."),
      textButton("Choose a pose", open, { id: "choose-pose", primary: true }));
  node.addEventListener("pointerdown", (event) => event.stopPropagation());
  editor.shell.stage.element.append(node);
  return node;
}

// ---- ready poses

function addPresets(editor) {
  const { shell } = editor;
  const button = iconButton({ id: "add-person", label: "Add a person", icon: "addPerson", keys: ["A"], run: () => editor.openPresets() });
  button.setAttribute("aria-haspopup", "dialog");
  shell.addControl(button, "rail");
  shell.shortcuts.add({ keys: ["A"], label: "Add a person", group: "People", run: () => editor.openPresets() });
  /** @type {Promise<any> | null} */
  let file = null;
  editor.openPresets = async () => {
    file ??= fetch(presetsFile).then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(String(answer.status)))));
    try {
      showPresets(editor, button, await file);
    } catch {
      file = null;
      shell.toast("The ready poses did not come. Is the studio still running?");
    }
  };
}

function showPresets(editor, button, presets) {
  const { shell, selection } = editor;
  const current = selection.current;
  let replace = false;
  const use = (preset) => {
    close();
    shell.root.focus({ preventScroll: true });
    if (replace) return editor.commitEach([current], (person) => reposed(person, preset, editor.size));
    if (editor.people.length >= PEOPLE_MAX) return shell.toast(`At most ${PEOPLE_MAX} people fit on a canvas.`);
    editor.commit([...editor.people, placed(preset, { ...editor.size, people: editor.people })]);
    return editor.choosePerson(editor.people.length - 1);
  };
  const cards = presets.map((preset) => element("button", { type: "button", class: "card", "data-preset": preset.name,
    onclick: () => use(preset) },
    thumbnail(personOf(preset, { x: 0, y: 0 }, 1), THUMBNAIL.width, THUMBNAIL.height), element("span", {}, preset.label)));
  /** @type {[label: string, value: boolean][]} */
  const uses = [["As a new person", false], [`For person ${current + 1}`, true]];
  const choices = uses.map(([label, value]) =>
    element("button", { type: "button", class: "text", "aria-pressed": String(value === replace), onclick: () => {
      replace = value;
      for (const [i, each] of choices.entries()) each.setAttribute("aria-pressed", String(!!i === replace));
    } }, label));
  const head = element("div", { class: "presets-head" }, element("h3", {}, "Ready poses"),
    editor.people[current] ? element("div", { class: "choice" }, ...choices) : null);
  const close = shell.popover(button, element("div", { class: "presets" }, head, element("div", { class: "cards" }, ...cards)));
}

// ---- how dragging works

function addRules(editor) {
  const { shell } = editor;
  const rule = (id, word, label, name, key, words) => {
    const run = () => {
      editor.rules[id] = !editor.rules[id];
      shell.refresh();
      shell.say(words[editor.rules[id] ? 0 : 1]);
    };
    const button = element("button", { type: "button", class: "text rule-button", "data-id": id, "aria-label": label, onclick: run },
      icon(name, 18), element("span", {}, word));
    describe(button, label, [key]);
    shell.addOption(button);
    shell.shortcuts.add({ keys: [key], label, group: "Dragging", run });
    shell.onRefresh(() => button.setAttribute("aria-pressed", String(editor.rules[id])));
  };
  rule("ik", "Limbs follow", "Limbs follow hands and feet (IK)", "bend", "I",
    ["Drag a hand: the elbow follows. Drag a hip: the feet stay.", "Joints are dragged one by one."]);
  rule("lock", "Keep lengths", "Limbs keep their lengths", "lock", "L", ["Limbs keep their lengths.", "Limbs may grow and shrink."]);
  rule("symmetric", "Both sides", "The other side does the same", "mirror", "Y",
    ["The other side does the same, in the mirror.", "Each side by itself."]);
  for (const [keys, label] of [["Drag", "Over empty canvas: choose what is inside"],
    ["Shift", "Click: choose several; handles: free ratio, steps of 15°"], ["Alt", "Drag: this joint alone, no rules"],
    ["Ctrl", "Drag a hand: the trunk leans after it"]]) shell.shortcuts.add({ keys: [keys], label, group: "Dragging" });
}

// ---- people

function addPeople(editor) {
  const { shell, selection } = editor;
  const some = () => editor.meant.length > 0;
  const act = (id, label, name, keys, run, place = "rail") => shell.addAction({ id, label, icon: name, keys, place, group: "People",
    enabled: some, run });
  act("mirror", "Mirror", "flip", ["M"], () => editor.commitEach(editor.meant, mirrored));
  act("swap", "Turn round (swap left and right)", "swap", ["Shift+M"], () => editor.commitEach(editor.meant, swapped), "menu");
  act("duplicate", "Duplicate", "copy", ["Ctrl+D"], () => duplicate(editor));
  act("forward", "Bring forward", "forward", ["Ctrl+]"], () => restack(editor, +1));
  act("backward", "Send back", "backward", ["Ctrl+["], () => restack(editor, -1));
  act("visible", "Hide or show the person", "eye", ["Shift+X"],
    () => editor.commitEach(editor.meant, (person) => ({ ...person, visible: !person.visible })), "keys");
  act("delete", "Delete", "trash", ["Del"], () => remove(editor));
  const all = () => {
    const { current } = selection;
    const person = editor.people[current];
    if (person && selection.byPerson().get(current)?.length !== refsOf(person).length) selection.person(editor.people, current);
    else selection.everyone(editor.people);
    editor.selectionChanged();
  };
  shell.addAction({ id: "all", label: "Choose the whole person; again: everybody", icon: "person", keys: ["Ctrl+A"], place: "keys",
    group: "People", run: all });
  shell.addAction({ id: "clear", label: "Clear the canvas", icon: "trash", keys: ["Ctrl+Del"], place: "menu", group: "People",
    enabled: () => editor.people.length > 0, run: () => editor.commit([]) });
}

function duplicate(editor) {
  const { meant, people } = editor;
  if (people.length + meant.length > PEOPLE_MAX) return editor.shell.toast(`At most ${PEOPLE_MAX} people fit on a canvas.`);
  const twins = meant.map((i) => moved(copy(people[i]), DUPLICATE_SHIFT_PX, 0));
  editor.commit([...people, ...twins]);
  return editor.choosePerson(people.length);
}

/** The current person one step to the front (+1) or the back (-1). */
function restack(editor, step) {
  const index = editor.meant.at(-1);
  const other = index + step;
  if (other < 0 || other >= editor.people.length) return;
  const people = [...editor.people];
  [people[index], people[other]] = [people[other], people[index]];
  editor.selection.clear();
  editor.commit(people);
  editor.choosePerson(other);
}

/** Whole chosen people go; of others only the chosen points. */
function remove(editor) {
  const chosen = editor.selection.byPerson();
  const { meant } = editor;
  const people = editor.people.flatMap((person, i) => {
    if (!meant.includes(i)) return [person];
    const refs = chosen.get(i) ?? [];
    if (!refs.length || refs.length === refsOf(person).length) return [];
    return [without(person, refs)];
  });
  editor.selection.keys.clear();
  if (people.length < editor.people.length) editor.selection.current = -1;
  editor.commit(people);
}

// ---- joints

function addJoints(editor) {
  const { shell, selection } = editor;
  const joints = (index) => (selection.byPerson().get(index) ?? []).filter((ref) => BODY.test(ref)).map((ref) => Number(ref.slice(1)));
  const chosen = () => editor.meant.some((index) => joints(index).length > 0);
  const add = (action) => shell.addAction({ group: "Joints", place: "keys", ...action });
  add({ id: "hide", label: "Hide or show joints", icon: "eyeOff", keys: ["X"], place: "rail", enabled: chosen,
    run: () => editor.commitEach(editor.meant, (person, i) => toggledHidden(person, joints(i))) });
  add({ id: "complete", label: "Bring missing joints back", icon: "add", keys: ["B"], place: "menu", enabled: () => editor.meant.length > 0,
    run: () => editor.commitEach(editor.meant, (person) => completed(person, editor.size)) });
  for (const [part, label] of DETAILS) {
    add({ id: `toggle-${part}`, label: `${label}: add or remove`, icon: part === "face" ? "person" : "hand", place: "menu",
      enabled: () => editor.meant.some((i) => canHave(editor.people[i], part)),
      run: () => editor.commitEach(editor.meant, (person) => (canHave(person, part) ? toggledDetail(person, part) : person)) });
  }
  const bend = () => editor.commitEach(editor.meant, (person, i) => joints(i).reduce(bentOver, person));
  add({ id: "bend", label: "Bend elbow or knee the other way", icon: "bend", keys: ["F"], enabled: chosen, run: bend });
  const ghosts = () => editor.people.reduce((sum, person) => sum + person.ghosts.length, 0);
  const accept = () => editor.commit(editor.people.map((person) => accepted(person)));
  add({ id: "accept", label: "Accept all unsure joints", icon: "check", keys: ["G"], enabled: () => ghosts() > 0, run: accept });
  const button = textButton("", accept, { id: "accept-all", primary: true });
  shell.addOption(button, () => ghosts() > 0);
  shell.onRefresh(() => (button.textContent = `Accept ${ghosts()} unsure`));
  shell.shortcuts.add({ keys: ["Right click"], label: "Hide or show a joint", group: "Joints" });
}

function addKeys(editor) {
  const { shell, selection } = editor;
  const focused = () => shell.root.getRootNode().activeElement === shell.root;
  const step = (direction) => () => {
    const index = Math.max(0, selection.current);
    const person = editor.people[index];
    const there = TAB_ORDER.filter((i) => present(person.body[i]));
    if (!there.length) return;
    const single = selection.single();
    const at = single && BODY.test(single[1]) ? there.indexOf(Number(single[1].slice(1))) : direction > 0 ? -1 : 0;
    selection.only(index, `b${there[(at + direction + there.length) % there.length]}`);
    editor.selectionChanged();
  };
  // Only while something is chosen: otherwise Tab leaves the canvas, as people without a mouse need it.
  const when = () => focused() && selection.current >= 0 && editor.people.length > 0;
  shell.shortcuts.add({ keys: ["Tab"], label: "Next joint", group: "Joints", when, run: step(+1) });
  shell.shortcuts.add({ keys: ["Shift+Tab"], label: "Joint before", group: "Joints", when, run: step(-1) });
  for (const [name, [dx, dy]] of Object.entries(ARROWS)) {
    for (const { prefix, length } of [{ prefix: "", length: 1 }, { prefix: "Shift+", length: 10 }]) {
      shell.shortcuts.add({ keys: [prefix + name], when: () => selection.size > 0, run: () => nudge(editor, dx * length, dy * length) });
    }
  }
  shell.shortcuts.add({ keys: ["Up", "Shift+Up"], label: "Move by 1 px, by 10 px", group: "Joints" });
  shell.addAction({ id: "look", label: "White paper", icon: "contrast", keys: ["K"], place: "top", spare: true, group: "View",
    pressed: () => editor.look === "light", run: () => {
    editor.setLook(editor.look === "dark" ? "light" : "dark");
    shell.refresh();
  } });
}

function nudge(editor, dx, dy) {
  const single = editor.selection.single();
  const chosen = editor.selection.byPerson();
  const free = { ik: false, lock: false, symmetric: editor.rules.symmetric };
  editor.commit(editor.people.map((person, i) => {
    if (!chosen.has(i)) return person;
    if (!single) return changed(person, chosen.get(i), ({ x, y }) => ({ x: x + dx, y: y + dy }));
    const point = person[{ b: "body", l: "left_hand", r: "right_hand", f: "face" }[single[1][0]]][Number(single[1].slice(1))];
    return dragPoint(person, single[1], { x: point.x + dx, y: point.y + dy }, free);
  }));
}

// ---- files

function addFiles(editor) {
  const { shell } = editor;
  const save = (normalised) => () => {
    const text = JSON.stringify(toOpenPose(editor.document(), { normalised }));
    shell.download(new Blob([text], { type: "application/json" }), `${editor.name}.json`);
  };
  shell.addAction({ id: "download", label: "Download as OpenPose JSON", icon: "download", keys: ["Ctrl+S"], place: "menu", group: "Files",
    run: save(false) });
  shell.addAction({ id: "download-normalised", label: "Download with coordinates from 0 to 1", icon: "download", place: "menu",
    group: "Files", run: save(true) });
  shell.root.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text/plain").trim();
    if (!text || !/^[[{]/.test(text) || event.target.closest?.("input, textarea")) return;
    event.preventDefault();
    shell.importFile(new File([text], "pasted.json", { type: "application/json" }));
  });
}

const STYLE = `
[data-look=dark] .paper { outline: 1px solid rgb(255 255 255 / .08); }
.nobody { position: absolute; inset: 0; margin: auto; width: fit-content; height: fit-content; display: flex; flex-direction: column;
  align-items: center; gap: 6px;
  color: rgb(255 255 255 / .62); text-align: center; padding: 16px; cursor: default; }
.nobody strong { font-weight: 600; font-size: 15px; color: #fff; }
.nobody button.text { margin-top: 10px; height: 36px; padding: 0 16px; border-radius: 8px; font-weight: 500; }
.options { column-gap: 4px !important; }
button.rule-button { height: 32px; padding: 0 10px 0 8px; border-radius: 8px; }
.options button.primary { height: 28px; margin-left: 8px; padding: 0 10px; }
.studio[data-look=light] .nobody { color: rgb(20 20 24 / .66); }
.studio[data-look=light] .nobody strong { color: #17181c; }
.presets { width: 584px; max-width: 100%; }
.narrow .presets { width: 360px; }
.narrow .rule-button span { display: none; }
.narrow button.rule-button { padding: 0 7px; }
.presets-head { display: flex; align-items: center; justify-content: space-between; min-height: 28px; margin-bottom: 4px; }
.choice { display: flex; gap: 2px; padding: 2px; border-radius: 8px; background: var(--hover); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(84px, 1fr)); padding: 1px; gap: 6px; }
button.card { all: unset; box-sizing: border-box; cursor: pointer; display: flex; flex-direction: column; align-items: center;
  border-radius: 8px; overflow: hidden;
  background: var(--hover); border: 1px solid var(--faint); }
button.card canvas { width: 100% !important; object-fit: contain; background: #0b0c0f; }
button.card span { width: 100%; padding: 4px 2px 5px; font-size: 11px; line-height: 1.2; text-align: center; color: var(--soft);
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
button.card:hover { border-color: var(--accent); }
button.card:hover span { color: var(--text); }
button.card:active { transform: scale(.98); }
.people { width: 224px; padding: 8px; display: flex; flex-direction: column; gap: 2px; }
.people header { display: flex; align-items: center; justify-content: space-between; height: 28px; padding: 0 0 0 8px; }
.people header h3 { margin: 0; }
.person { display: flex; align-items: center; border-radius: 8px; min-height: 36px; flex: none;
  content-visibility: auto; contain-intrinsic-size: auto 36px; } /* every canvas in sight is a layer of each frame */
.person:hover { background: var(--hover); }
.person.current { background: var(--tint); }
.person > button.name { all: unset; cursor: pointer; flex: 1; min-width: 0; display: flex; align-items: center; gap: 8px;
  padding: 2px 0 2px 6px; min-height: 36px; box-sizing: border-box; border-radius: 8px; }
.person .number { width: 20px; height: 20px; border-radius: 50%; display: grid; place-items: center; font-size: 11px; font-weight: 600;
  background: var(--faint); flex: none; }
.person.current .number { background: var(--accent); color: var(--ground); }
.person canvas { flex: none; border-radius: 6px; background: #0b0c0f; }
.person.away canvas, .person.away .label { opacity: .45; }
.person .label { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.person button.tool { width: 28px; height: 28px; opacity: 0; }
.person:hover button.tool, .person button.tool:focus-visible, .person.current button.tool, .person.away button.tool { opacity: 1; }
.people .rule { height: 1px; background: var(--faint); margin: 8px -8px; }
.people .note { padding: 0 8px; color: var(--soft); font-size: 12px; line-height: 1.45; }
.people .place { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; padding: 0 8px; }
.people .place label { display: flex; align-items: center; gap: 6px; color: var(--soft); font-size: 12px; }
.people .place input { width: 100%; min-width: 0; font-variant-numeric: tabular-nums; }
.chips { display: flex; flex-wrap: wrap; gap: 4px; padding: 2px 8px 0; }
.chips button.text { background: var(--hover); color: var(--text); font-size: 12px; }
.chips button.has { background: var(--tint); color: var(--accent-text); }
.chips button.unsure { border: 1px dashed var(--soft); background: none; }
.studio.pose.narrow { grid: "top top" 44px "rail stage" minmax(0, 1fr) "panel panel" auto "status status" 32px / 48px minmax(0, 1fr); }
.pose.narrow .panel { border-left: 0; border-top: 1px solid var(--faint); max-height: 232px; }
.pose.narrow .people { width: auto; display: grid;
  grid-template: "head detail" 28px "list detail" minmax(56px, auto) / 200px minmax(0, 1fr); gap: 0 8px; padding: 8px 8px 12px; }
.pose.narrow .people .detail { grid-area: detail; border-left: 1px solid var(--faint); padding-left: 4px; }
.pose.narrow .people .detail .rule { display: none; }
.pose.narrow .people .detail h3 { margin-top: 8px; }
.pose.narrow .people .detail > h3:first-of-type { margin-top: 6px; }
@media (pointer: coarse) { .studio.pose.narrow { grid-template-columns: 56px minmax(0, 1fr);
  grid-template-rows: 52px minmax(0, 1fr) auto 36px; } .person button.tool { opacity: 1; width: 36px; height: 36px; }
  .person, .person > button.name { min-height: 44px; } .people { width: 240px; }
  .chips button.text { height: 32px; } }
`;
