/**
 * A picture that holds a recipe, dropped anywhere on a page: its prompt, settings and documents come back. Pictures without
 * one, and what is dropped where files are uploaded, go on to whoever wants them. On a canvas the person is asked.
 */

import { UPLOAD_MAX_BYTES } from "./amounts.js";

const PICTURES = ["image/png", "image/jpeg", "image/webp"];
const UPLOADS = '[data-testid="stFileUploaderDropzone"]';

const passedOn = new WeakSet();

/**
 * Catch drops on the whole page. The server, at `address()`, says what a picture holds; `found({kind, text, file}, onCanvas,
 * goOn)` hears of it. Returns what ends it.
 *
 * @param {() => string} address
 * @param {(told: {kind: string, text: string, file: File}, onCanvas: boolean, goOn: () => void) => void} found
 */
export function catchDrops(address, found) {
  const over = (/** @type {DragEvent} */ event) => {
    if (holdsFiles(event) && !aimed(event)) event.preventDefault(); // or the browser would open the file
  };
  const drop = async (/** @type {DragEvent} */ event) => {
    if (passedOn.has(event) || !holdsFiles(event) || aimed(event)) return;
    const [target, files] = [/** @type {Element} */ (event.composedPath()[0]), [...(event.dataTransfer?.files ?? [])]];
    const { clientX, clientY } = event;
    event.preventDefault();
    event.stopImmediatePropagation();
    // Who showed a sign that it may be dropped here does not hear that it was.
    target.dispatchEvent(new DragEvent("dragleave", { bubbles: true, composed: true }));
    const goOn = () => again(target, files, { clientX, clientY });
    const told = files.length === 1 && PICTURES.includes(files[0].type) ? await settingsIn(files[0], address()) : null;
    if (told?.kind) found({ kind: told.kind, text: told.text, file: files[0] }, onCanvas(target), goOn);
    else goOn();
  };
  window.addEventListener("dragover", over);
  window.addEventListener("drop", drop, true);
  return () => {
    window.removeEventListener("dragover", over);
    window.removeEventListener("drop", drop, true);
  };
}

/**
 * {kind, text}; null where nobody can tell: then the picture is only a picture.
 *
 * @param {File} file
 * @param {string} address
 */
async function settingsIn(file, address) {
  if (file.size > UPLOAD_MAX_BYTES) return null;
  try {
    const response = await fetch(new URL(address, document.baseURI), { method: "POST", body: file });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** @param {DragEvent} event */
function holdsFiles(event) {
  return !!event.dataTransfer?.types.includes("Files");
}

/** Whether it was dropped on a place that asks for files: whoever aims there means the picture itself. @param {Event} event */
function aimed(event) {
  return event.composedPath().some((/** @type {any} */ node) => node.matches?.(`${UPLOADS}, input[type=file], [data-drop]`));
}

/** @param {Element} target */
function onCanvas(target) {
  const root = target.getRootNode();
  return !!target.closest?.(".stage") || (root instanceof ShadowRoot && root.host.matches(".stage"));
}

/**
 * The same drop once more, for those who would have had it.
 *
 * @param {Element} target
 * @param {File[]} files
 * @param {{clientX: number, clientY: number}} where
 */
function again(target, files, where) {
  const dataTransfer = new DataTransfer();
  for (const file of files) dataTransfer.items.add(file);
  const event = new DragEvent("drop", { bubbles: true, cancelable: true, composed: true, dataTransfer, ...where });
  passedOn.add(event);
  target.dispatchEvent(event);
}
