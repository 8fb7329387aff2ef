/**
 * Where the document is seen: the stage, the paper on it, pixel layers, and the overlay for everything that is not pixels.
 *
 * The paper is an element that the browser's compositor moves and scales, so zooming repaints nothing. Pixel layers are canvases
 * in document resolution; the overlay is one canvas over the whole stage in device resolution. Drawing happens once a frame.
 */

import { contextOf } from "../shared/context.js";
import { element } from "../shared/controls.js";
import { clip, union } from "./patch.js";
import { View } from "./view.js";

const PIXELATED_FROM_ZOOM = 4;

export class Stage {
  constructor() {
    this.element = element("div", { class: "stage" });
    this.paper = element("div", { class: "paper" });
    this.underlay = element("img", { alt: "", draggable: "false", hidden: true });
    this.overlay = element("canvas", { class: "overlay" });
    this.paper.append(this.underlay);
    this.element.append(this.paper, this.overlay);
    this.view = new View(() => this.#place());
    /** @type {(view: View) => void} */
    this.onView = () => {};
    /** Hears which pixels of which layer changed. @type {(layer: RasterLayer, rect: number[]) => void} */
    this.onPixels = () => {};
    /** Called once a frame, in order. @type {((context: CanvasRenderingContext2D, view: View) => void)[]} */
    this.painters = [];
    /** @type {RasterLayer[]} */
    this.layers = [];
    this.requested = 0;
    this.observer = new ResizeObserver(() => this.#measure());
    this.observer.observe(this.element);
  }

  /** Add a pixel layer above those that are there; see RasterLayer. @param {Uint32Array | null} palette */
  addRaster(palette) {
    const layer = new RasterLayer(palette, (rect) => {
      if (rect) this.onPixels(layer, rect);
      this.repaint();
    });
    layer.show({ width: 1, height: 1, pixels: new Uint8Array(layer.channels) });
    this.layers.push(layer);
    this.paper.append(layer.canvas);
    return layer;
  }

  /** Draw the overlay (and changed pixels) with the next frame. */
  repaint() {
    this.requested ||= requestAnimationFrame(() => {
      this.requested = 0;
      for (const layer of this.layers) layer.flush();
      const { context, view } = { context: contextOf(this.overlay), view: this.view };
      context.setTransform(view.pixelRatio, 0, 0, view.pixelRatio, 0, 0);
      context.clearRect(0, 0, view.stageWidth, view.stageHeight);
      for (const paint of this.painters) paint(context, view);
    });
  }

  destroy() {
    this.observer.disconnect();
    cancelAnimationFrame(this.requested);
  }

  #measure() {
    const { clientWidth, clientHeight } = this.element;
    if (!clientWidth || !clientHeight) return; // hidden: the view stays as it was
    const ratio = globalThis.devicePixelRatio || 1;
    this.overlay.width = Math.round(clientWidth * ratio);
    this.overlay.height = Math.round(clientHeight * ratio);
    this.view.resize(clientWidth, clientHeight, ratio);
  }

  #place() {
    const { view, paper } = this;
    paper.style.width = `${view.width * view.zoom}px`;
    paper.style.height = `${view.height * view.zoom}px`;
    paper.style.transform = `translate(${view.x}px, ${view.y}px)`;
    paper.classList.toggle("pixels", view.zoom >= PIXELATED_FROM_ZOOM);
    this.repaint();
    this.onView(view);
  }
}

/**
 * One byte per pixel, shown through a palette of 256 colours (Uint32Array in the canvas's byte order, see `rgba`); without a palette
 * red, green and blue on white paper, three bytes a pixel: white is clear. The bytes are the truth, the canvas is never read.
 */
export class RasterLayer {
  /**
   * @param {Uint32Array | null} palette
   * @param {(rect: number[] | null) => void} onDirty  hears which bytes changed; null: they only look different
   */
  constructor(palette, onDirty) {
    this.palette = palette;
    this.onDirty = onDirty;
    this.canvas = element("canvas");
    this.context = contextOf(this.canvas);
    /** @type {Rect | null} */
    this.dirty = null;
    /** @type {Plane} */
    this.raster = { width: 1, height: 1, pixels: new Uint8Array(this.channels) };
  }

  /** Bytes a pixel. */
  get channels() {
    return this.palette ? 1 : 3;
  }

  /** Show another raster {width, height, pixels}; its bytes are looked at again wherever `mark` says. @param {Plane} raster */
  show(raster) {
    this.raster = raster;
    if (this.canvas.width !== raster.width || this.canvas.height !== raster.height) {
      this.canvas.width = raster.width;
      this.canvas.height = raster.height;
    }
    this.mark([0, 0, raster.width, raster.height]);
  }

  /** @param {Uint32Array} palette */
  setPalette(palette) {
    this.palette = palette;
    /** @type {Rect} */
    const all = [0, 0, this.raster.width, this.raster.height];
    this.dirty = all;
    this.onDirty(null); // other colours, the same bytes
  }

  /** The bytes within `rect` changed. @param {Rect | null} rect */
  mark(rect) {
    this.dirty = union(this.dirty, rect);
    if (rect) this.onDirty(rect);
  }

  flush() {
    const { raster, palette } = this;
    const rect = clip(this.dirty, raster.width, raster.height);
    this.dirty = null;
    if (!rect) return;
    const [x0, y0, x1, y1] = rect;
    const image = this.context.createImageData(x1 - x0, y1 - y0);
    const colours = new Uint32Array(image.data.buffer);
    let i = 0;
    for (let y = y0; y < y1; y++) {
      for (let p = y * raster.width + x0, end = y * raster.width + x1; p < end; p++) {
        colours[i++] = palette ? palette[raster.pixels[p]] : onPaper(raster.pixels, 3 * p);
      }
    }
    this.context.putImageData(image, x0, y0);
  }
}

const LITTLE_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
const COLOURLESS = 24;

/**
 * The colour whose red, green and blue begin at byte `at`, as an entry of a palette that looks the same on white paper: what has no
 * colour is as clear as it is light.
 *
 * @param {Bytes} pixels
 * @param {number} at
 */
function onPaper(pixels, at) {
  let [red, green, blue] = [pixels[at], pixels[at + 1], pixels[at + 2]];
  const lowest = Math.min(red, green, blue);
  if (lowest === 255) return 0;
  const alpha = Math.max(red, green, blue) - lowest < COLOURLESS ? 255 - lowest : 255;
  if (alpha < 255) {
    const scale = 255 / (alpha || 1);
    [red, green, blue] = [red, green, blue].map((value) => 255 - Math.round((255 - value) * scale));
  }
  return LITTLE_ENDIAN ? ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0
    : ((red << 24) | (green << 16) | (blue << 8) | alpha) >>> 0;
}

/**
 * One entry of a palette: red, green, blue and, where it is not 255, alpha, 0..255 each, as the canvas wants them.
 *
 * @param {...number} colour
 */
export function rgba(...colour) {
  const [red, green, blue, alpha = 255] = colour;
  const bytes = new Uint8Array([red, green, blue, alpha]);
  return new Uint32Array(bytes.buffer)[0];
}
