/**
 * A picture that holds a recipe, dropped anywhere on a page: its prompt, settings and documents come back. Pictures without
 * one, and what is dropped where files are uploaded, go on to whoever wants them. On a canvas the person is asked.
 */

import { textOf } from "./png-text.js";

const NAMES = ["studio", "parameters"];
const HEAD_BYTES = 1 << 20; // the texts stand before the pixels
const UPLOADS = '[data-testid="stFileUploaderDropzone"]';

const passedOn = new WeakSet();

/** Catch drops on the whole page. `found({kind, text, file}, onCanvas, goOn)` hears of recipes; returns what ends it. */
export function catchDrops(found) {
  const over = (event) => {
    if (holdsFiles(event) && !aimed(event)) event.preventDefault(); // or the browser would open the file
  };
  const drop = async (event) => {
    if (passedOn.has(event) || !holdsFiles(event) || aimed(event)) return;
    const [target, files] = [event.composedPath()[0], [...event.dataTransfer.files]];
    const { clientX, clientY } = event;
    event.preventDefault();
    event.stopImmediatePropagation();
    const goOn = () => again(target, files, { clientX, clientY });
    const told = files.length === 1 && files[0].type === "image/png" ? await textIn(files[0]) : null;
    if (told) found({ kind: told.name, text: told.text, file: files[0] }, onCanvas(target), goOn);
    else goOn();
  };
  window.addEventListener("dragover", over);
  window.addEventListener("drop", drop, true);
  return () => {
    window.removeEventListener("dragover", over);
    window.removeEventListener("drop", drop, true);
  };
}

async function textIn(file) {
  const head = await file.slice(0, HEAD_BYTES).arrayBuffer().catch(() => new ArrayBuffer()); // gone meanwhile, or a folder
  return textOf(new Uint8Array(head), NAMES);
}

function holdsFiles(event) {
  return !!event.dataTransfer?.types.includes("Files");
}

/** Whether it was dropped on a place that asks for files: whoever aims there means the picture itself. */
function aimed(event) {
  return event.composedPath().some((node) => node.matches?.(`${UPLOADS}, input[type=file], [data-drop]`));
}

function onCanvas(target) {
  return !!target.closest?.(".stage") || target.getRootNode().host?.matches?.(".stage");
}

/** The same drop once more, for those who would have had it. */
function again(target, files, where) {
  const dataTransfer = new DataTransfer();
  for (const file of files) dataTransfer.items.add(file);
  const event = new DragEvent("drop", { bubbles: true, cancelable: true, composed: true, dataTransfer, ...where });
  passedOn.add(event);
  target.dispatchEvent(event);
}
