/** Files: chosen, dropped or pasted in; downloaded out. What is too large is refused before its pixels are decoded. */

import { TOO_LARGE, UPLOAD_MAX_BYTES } from "../shared/amounts.js";
import { contextOf } from "../shared/context.js";
import { element } from "../shared/controls.js";
import { DocumentError, SIDE_MAX_PX } from "./document.js";

const PICTURE_MAX_PIXELS = 33e6;

/** Adds opening, dropping, pasting to the shell, and `chooseFile`, `download`, `importFile`. */
export function files(shell) {
  const { imports } = shell.editor;
  const picker = element("input", { type: "file", hidden: true, "aria-label": "Open a file" });
  shell.root.append(picker);
  shell.picker = picker;

  shell.chooseFile = (accept, use) => {
    picker.accept = accept;
    picker.value = "";
    picker.onchange = () => picker.files?.[0] && guarded(shell, picker.files[0], use);
    picker.click();
  };
  shell.importFile = (file) => guarded(shell, file, imports.run);
  shell.download = (blob, name) => {
    const link = element("a", { href: URL.createObjectURL(blob), download: name, hidden: true });
    shell.root.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
  if (imports) {
    shell.addAction({ id: "import", label: `${imports.label}…`, icon: "open", place: "menu", keys: ["Ctrl+O"], group: "Files",
      run: () => shell.chooseFile(imports.accept, imports.run) });
  }
  bindDrop(shell, (file) => offer(shell, file));
  shell.root.addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (!file) return;
    event.preventDefault();
    event.stopPropagation();
    offer(shell, file);
  });
}

/** A picture may be meant as a document or as something to trace: people say which. */
function offer(shell, file) {
  const { imports } = shell.editor;
  const picture = file.type.startsWith("image/");
  const opens = imports && (picture ? imports.accept.includes("image/") : true);
  if (picture && opens) {
    shell.toast(file.name || "A pasted picture", [
      [imports.label, () => shell.importFile(file)],
      ["Trace over it", () => guarded(shell, file, (it) => shell.setUnderlay(it))],
      ["Cancel", () => {}],
    ]);
  } else if (picture) guarded(shell, file, (it) => shell.setUnderlay(it));
  else if (opens) shell.importFile(file);
  else shell.toast("This kind of file cannot be opened here.");
}

function bindDrop(shell, use) {
  const { root } = shell;
  const sign = element("div", { class: "drop" }, "Drop it here");
  root.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    shell.stage.element.append(sign);
  });
  root.addEventListener("dragleave", (event) => {
    if (!root.contains(event.relatedTarget)) sign.remove();
  });
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    sign.remove();
    if (event.dataTransfer.files[0]) use(event.dataTransfer.files[0]);
  });
}

async function guarded(shell, file, use) {
  try {
    if (file.size > UPLOAD_MAX_BYTES) throw new DocumentError(`${TOO_LARGE} Choose a smaller one.`);
    await use(file);
  } catch (error) {
    shell.toast(error instanceof DocumentError ? error.message : "This file could not be read: it may be damaged.");
  }
}

/**
 * The pixels of a picture file: {rgba, width, height}, its sides at most `sideMax` px.
 * Throws a DocumentError when it is none, or has more than 33 megapixels.
 */
export async function readPicture(file, sideMax = SIDE_MAX_PX) {
  const address = URL.createObjectURL(file);
  try {
    const picture = await headOf(address);
    const [across, down] = [picture.naturalWidth, picture.naturalHeight];
    if (across * down > PICTURE_MAX_PIXELS) throw new DocumentError("This picture has more than 33 megapixels. Choose a smaller one.");
    await picture.decode().catch(unreadable);
    const scale = Math.min(1, sideMax / across, sideMax / down);
    const [width, height] = [across, down].map((side) => Math.max(1, Math.round(side * scale)));
    const context = contextOf(new OffscreenCanvas(width, height), { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, width, height);
    return { rgba: context.getImageData(0, 0, width, height).data, width, height };
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** An image that knows its size; browsers decode its pixels only when somebody wants them. */
function headOf(address) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = reject;
    image.src = address;
  }).catch(unreadable);
}

function unreadable() {
  throw new DocumentError("This file is no picture that the browser can read. Use PNG, JPEG or WebP.");
}

/** A PNG of RGBA bytes. */
export async function toPng(rgba, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  contextOf(canvas).putImageData(new ImageData(new Uint8ClampedArray(rgba), width, height), 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
