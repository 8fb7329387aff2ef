/** How a photo comes in: chosen, dropped on a place, pasted anywhere on the page, or taken from the gallery. */

import { TOO_LARGE, UPLOAD_MAX_BYTES } from "../../shared/amounts.js";
import { element, iconButton, popover, textButton } from "../../shared/controls.js";
import { icon } from "../../shared/icons.js";

/** A button's hidden file chooser: {node, open}. `take(file)` hears of the choice; `more` are kinds of files beside pictures. */
export function chooser(take, more = "") {
  const node = element("input", { type: "file", accept: `image/png,image/jpeg,image/webp${more}`, hidden: true, "aria-label": "Photo",
    onchange: () => {
      const file = node.files?.[0];
      node.value = "";
      if (file) take(file);
    } });
  return { node, open: () => node.click() };
}

/** Take what is dropped on `root` or pasted while it is on the page; returns what ends that. */
export function catchPictures(root, take) {
  /** @type {HTMLElement | null} */
  let shade = null;
  const leave = () => {
    shade?.remove();
    shade = null;
  };
  root.dataset.drop = ""; // whoever drops here means the picture itself
  root.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    shade ??= root.appendChild(element("div", { class: "drop" }, "Drop the photo"));
  });
  root.addEventListener("dragleave", (event) => root.contains(event.relatedTarget) || leave());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    leave();
    const [file] = event.dataTransfer.files;
    if (file) take(file);
  });
  const paste = (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (!file || event.composedPath()[0]?.matches?.("input[type=text], textarea")) return;
    event.preventDefault();
    take(file);
  };
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}

/** The button that offers pictures of the gallery, [{url, name}]; hidden while there are none. */
export function galleryButton(root, pictures, take) {
  const button = iconButton({ id: "gallery", label: "A picture from the gallery", icon: "picture", run: () => {
    const close = popover(root(), button, thumbs(pictures(), (picture) => {
      close();
      take(picture);
    }));
  } });
  return button;
}

/** Where a photo is asked for: dropped, pasted, chosen, or one of the examples, [{url, name}], whose name `take`
 * hears too. `words` say what happens to it. */
export function invitation(words, open, examples, take) {
  return element("div", { class: "invite" }, icon("camera", 28), element("strong", {}, "Drop a photo here"), element("span", {}, words),
    element("div", { class: "row" }, textButton("Choose a photo", open, { id: "choose-first", primary: true })),
    element("span", { class: "or" }, "or try one of these"), thumbs(examples, take));
}

/** A wall of small pictures, [{url, name}]; `take(picture, name)` hears which is taken. */
function thumbs(pictures, take) {
  return element("div", { class: "gallery" }, ...pictures.map((one) =>
    element("button", { type: "button", "aria-label": one.name, onclick: async () => {
      const answer = await fetch(new URL(one.url, document.baseURI)).catch(() => null);
      if (answer?.ok) take(await answer.blob(), one.name);
    } }, element("img", { src: new URL(`${one.url}?thumb`, document.baseURI), alt: "", loading: "lazy" }))));
}

/** Send a photo; returns the server's answer, or {error, hint}. */
export async function send(url, file) {
  if (file.size > UPLOAD_MAX_BYTES) return { error: TOO_LARGE, hint: "Save the picture smaller or as JPEG." };
  return post(url, file);
}

/** POST to a route of ours; returns its answer, or {error, hint}. */
export async function post(url, body) {
  try {
    const answer = await fetch(new URL(url, document.baseURI), { method: "POST", body });
    return await answer.json();
  } catch {
    return { error: "The studio does not answer.", hint: "Is it still running?" };
  }
}
