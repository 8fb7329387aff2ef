/** Pictures on another size. */

import { contextOf } from "../shared/context.js";

/**
 * A canvas on another size, smoothed; "contain" shows all of it, its shape kept, "cover" fills with it, its shape kept, "stretch"
 * fills. `ground` is a CSS colour under what it leaves free or lets through; without one that stays transparent. RGBA bytes.
 *
 * @param {HTMLCanvasElement | OffscreenCanvas} source
 * @param {number} width  pixels
 * @param {number} height  pixels
 * @param {"contain" | "cover" | "stretch"} how
 * @param {string} [ground]
 */
export function scaled(source, width, height, how, ground) {
  const context = contextOf(new OffscreenCanvas(width, height));
  if (ground) {
    context.fillStyle = ground;
    context.fillRect(0, 0, width, height);
  }
  context.imageSmoothingQuality = "high";
  const scale = Math[how === "cover" ? "max" : "min"](width / source.width, height / source.height);
  const [w, h] = how === "stretch" ? [width, height] : [source.width * scale, source.height * scale];
  context.drawImage(source, (width - w) / 2, (height - h) / 2, w, h);
  return context.getImageData(0, 0, width, height).data;
}

/**
 * A canvas with the pixels of a picture, as `readPicture` gives them.
 *
 * @param {{rgba: Uint8ClampedArray<ArrayBuffer>, width: number, height: number}} picture
 */
export function canvasOf({ rgba, width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  contextOf(canvas).putImageData(new ImageData(rgba, width, height), 0, 0);
  return canvas;
}
