/**
 * Pictures of the page's under the document: the other layers of a composition, or the picture that a mask is painted over.
 *
 * Options: layers, a list from the bottom up of {url, opacity}, filling the paper; mask, to see through what is painted.
 */

import { element } from "../shared/controls.js";
import { rgba } from "./stage.js";

/** Strokes of a mask are a veil, so that one sees what they cover. */
export const VEIL = Uint32Array.from({ length: 256 }, (_, value) => rgba(228, 87, 46, Math.round(value * 0.6)));
const STYLE = `
.paper > .layers { overflow: hidden; }
.paper > .layers img { position: absolute; inset: 0; width: 100%; height: 100%; }
`;

/** Whether an editor's document fills its canvas, so that what lies under it is not seen. @param {any} editor */
export function covers(editor) {
  return editor.covers ?? ["classes", "rgb", "rgba"].includes(editor.kind);
}

/** Bring the pictures under the document up to date with the shell's options. */
export function showLayers(shell) {
  const { layers = [], mask = false } = shell.options;
  const box = boxOf(shell, layers.length > 0);
  // A document that fills its canvas would hide them: they lie over it.
  const over = covers(shell.editor);
  if (box) {
    box.style.zIndex = over ? 1 : "";
    const images = [...box.children];
    layers.forEach(({ url, opacity }, index) => {
      const image = images[index] ?? box.appendChild(element("img", { alt: "", draggable: "false" }));
      const address = new URL(url, document.baseURI).href;
      if (image.src !== address) image.src = address; // an unchanged picture is not fetched again
      image.style.opacity = opacity;
    });
    for (const image of images.slice(layers.length)) image.remove();
  }
  if (mask && shell.editor.layer?.palette !== VEIL) shell.editor.layer?.setPalette(VEIL);
}

function boxOf(shell, wanted) {
  const box = shell.paper.querySelector(":scope > .layers");
  if (box || !wanted) return box;
  const made = element("div", { class: "layers" });
  shell.stage.underlay.after(made);
  shell.root.append(element("style", {}, STYLE));
  return made;
}
