/**
 * The inpaint editor: holes painted over a picture. Its document is the picture with its holes as transparency; colours stay
 * under a hole, so rubbing it out brings the picture back.
 */

import { contextOf } from "../../shared/context.js";
import { element } from "../../shared/controls.js";
import { readPicture } from "../../canvas/files.js";
import { VEIL } from "../../canvas/layers.js";
import { canvasOf, scaled } from "../../canvas/scaled.js";
import { fitInto } from "../../canvas/transform.js";
import { holesOf, withHoles } from "./holes.js";
import { Scribble } from "../scribble/scribble.js";
import { encodePng } from "../seg/png.js";
import { canvasFor } from "../seg/scale.js";

const BRUSH_PX = 48;

export function createEditor(shell, options) {
  return new Inpaint(shell, { name: "inpaint", brush_px: BRUSH_PX, ...options, mask: true });
}

class Inpaint extends Scribble {
  kind = "rgba";
  imports = { accept: "image/png,image/jpeg,image/webp", label: "Open as picture", run: (file) => this.#open(file) };

  constructor(shell, options) {
    super(shell, options);
    this.layer.setPalette(VEIL);
  }

  load({ width, height, pixels }) {
    const whole = pixels.length === 4 * width * height; // the canvas begins with a mask alone
    this.picture = whole ? pixels.slice() : new Uint8Array(4 * width * height);
    super.load({ width, height, pixels: whole ? holesOf(pixels) : pixels });
    if (!this.canvas) this.canvas = this.shell.paper.insertBefore(element("canvas"), this.layer.canvas);
    [this.canvas.width, this.canvas.height] = [width, height];
    contextOf(this.canvas).putImageData(new ImageData(new Uint8ClampedArray(withHoles(this.picture, null)), width, height), 0, 0);
  }

  document() {
    const { width, height, pixels } = this.raster;
    return { kind: "rgba", width, height, pixels: withHoles(this.picture, pixels) };
  }

  /** What a larger canvas adds around the picture is a hole: there is nothing there yet. */
  resized(width, height) {
    const { pixels } = fitInto(this.raster, width, height, { paper: 255 });
    return { kind: "rgba", width, height, pixels: withHoles(scaled(this.canvas, width, height, "contain"), pixels) };
  }

  async download() {
    const { width, height } = this.raster;
    const bytes = await encodePng({ width, height, pixels: this.document().pixels });
    this.shell.download(new Blob([bytes], { type: "image/png" }), `${this.name}.png`);
  }

  async #open(file) {
    const picture = await readPicture(file);
    const [width, height] = this.shell.options.sizes?.fixed ? [this.raster.width, this.raster.height] : canvasFor(picture, this.shell.options.sizes);
    const pixels = new Uint8Array(scaled(canvasOf(picture), width, height, "cover"));
    this.shell.replace({ kind: "rgba", width, height, pixels });
    this.shell.toast(holesOf(pixels).some((value) => value > 127) ? "Opened. What is transparent in it is a hole already." : "Opened. Paint over what should be made anew.");
  }
}
