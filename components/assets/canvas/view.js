/**
 * Where the document lies on the stage: zoom, pan, fit.
 *
 * Stage coordinates are CSS pixels from the stage's top left corner; document coordinates are document pixels, pixel
 * (0, 0) covering 0..1. `zoom` is CSS pixels per document pixel. No DOM: whoever owns the stage calls `resize` and
 * listens through `onChange`.
 */

export const ZOOM_MIN = 0.1;
export const ZOOM_MAX = 32;
const FIT_MARGIN_PX = 24;
const KEEP_VISIBLE_PX = 48;

export class View {
  /** @param {(view: View) => void} [onChange] */
  constructor(onChange = () => {}) {
    this.onChange = onChange;
    this.stageWidth = 1;
    this.stageHeight = 1;
    this.pixelRatio = 1;
    this.width = 1;
    this.height = 1;
    this.zoom = 1;
    this.x = 0; // stage position of the document's top left corner
    this.y = 0;
    this.fitted = true; // stays fitted while the stage changes size, until someone zooms or pans
  }

  /**
   * The stage has a new size in CSS pixels, or the screen a new pixel ratio.
   *
   * @param {number} stageWidth
   * @param {number} stageHeight
   * @param {number} [pixelRatio]  device pixels per CSS pixel
   */
  resize(stageWidth, stageHeight, pixelRatio = 1) {
    const dx = (stageWidth - this.stageWidth) / 2;
    const dy = (stageHeight - this.stageHeight) / 2;
    this.stageWidth = Math.max(1, stageWidth);
    this.stageHeight = Math.max(1, stageHeight);
    this.pixelRatio = pixelRatio;
    if (this.fitted) return this.fit();
    this.x += dx;
    this.y += dy;
    return this.#settle();
  }

  /**
   * The document has a new size in document pixels; the view fits it.
   *
   * @param {number} width
   * @param {number} height
   */
  setDocumentSize(width, height) {
    this.width = width;
    this.height = height;
    this.fit();
  }

  /** Show the whole document, centred. */
  fit() {
    const margin = Math.min(FIT_MARGIN_PX, this.stageWidth / 8, this.stageHeight / 8);
    const zoom = Math.min((this.stageWidth - 2 * margin) / this.width, (this.stageHeight - 2 * margin) / this.height);
    this.zoom = clampZoom(zoom);
    this.#centre();
    this.fitted = true;
    this.#settle();
  }

  /** One document pixel on one CSS pixel, centred. */
  actual() {
    this.zoom = 1;
    this.#centre();
    this.fitted = false;
    this.#settle();
  }

  /**
   * Zoom so that the document point under stage point (sx, sy) stays there.
   *
   * @param {number} zoom  CSS pixels per document pixel, ZOOM_MIN..ZOOM_MAX
   * @param {number} [sx]
   * @param {number} [sy]
   */
  zoomTo(zoom, sx = this.stageWidth / 2, sy = this.stageHeight / 2) {
    const target = clampZoom(zoom);
    this.x = sx - ((sx - this.x) * target) / this.zoom;
    this.y = sy - ((sy - this.y) * target) / this.zoom;
    this.zoom = target;
    this.fitted = false;
    this.#settle();
  }

  /**
   * @param {number} factor
   * @param {number} [sx]
   * @param {number} [sy]
   */
  zoomBy(factor, sx, sy) {
    this.zoomTo(this.zoom * factor, sx, sy);
  }

  /**
   * @param {number} dx  CSS pixels
   * @param {number} dy  CSS pixels
   */
  panBy(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.#settle();
  }

  /**
   * @param {number} sx
   * @param {number} sy
   * @returns {Place}
   */
  toDocument(sx, sy) {
    return { x: (sx - this.x) / this.zoom, y: (sy - this.y) / this.zoom };
  }

  /**
   * @param {number} x
   * @param {number} y
   * @returns {Place}
   */
  toStage(x, y) {
    return { x: this.x + x * this.zoom, y: this.y + y * this.zoom };
  }

  /** Whether the document is larger than the stage in either direction, so that there is something to scroll to. */
  get overflows() {
    return this.width * this.zoom > this.stageWidth || this.height * this.zoom > this.stageHeight;
  }

  #centre() {
    this.x = (this.stageWidth - this.width * this.zoom) / 2;
    this.y = (this.stageHeight - this.height * this.zoom) / 2;
  }

  #settle() {
    // A strip of the document always stays in sight, and its corner lies on a device pixel, which keeps it crisp.
    const round = (/** @type {number} */ value) => Math.round(value * this.pixelRatio) / this.pixelRatio;
    const keepX = Math.min(KEEP_VISIBLE_PX, this.width * this.zoom, this.stageWidth);
    const keepY = Math.min(KEEP_VISIBLE_PX, this.height * this.zoom, this.stageHeight);
    this.x = round(clamp(this.x, keepX - this.width * this.zoom, this.stageWidth - keepX));
    this.y = round(clamp(this.y, keepY - this.height * this.zoom, this.stageHeight - keepY));
    this.onChange(this);
  }
}

/** @param {number} zoom */
function clampZoom(zoom) {
  return clamp(zoom, ZOOM_MIN, ZOOM_MAX);
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
