/**
 * Regions of the picture that is traced: the server cuts it into superpixels, and pointing gives one of them a class.
 *
 * The regions live as long as picture, canvas and number of regions stay; what is painted is the painter's affair.
 */

import { contextOf } from "../../shared/context.js";
import { slider } from "../../shared/controls.js";
import { rgba } from "../../canvas/stage.js";

export const COUNTS = { min: 50, max: 1000, step: 50, value: 300 };
const LINE = 1;
const HOT = 2;
const PALETTE = Uint32Array.from({ length: 256 }, (_, v) => (v === LINE ? rgba(255, 255, 255, 190) : v === HOT ? rgba(255, 255, 255, 110) : rgba(0, 0, 0, 0)));
const WAIT_MS = 350;

export class Regions {
  /** `shown()` says whether the tool is in hand, `size()` how large the map is: {width, height}. */
  constructor(shell, shown, size) {
    this.shell = shell;
    this.shown = shown;
    this.size = size;
    this.count = COUNTS.value;
    this.map = null;
    this.made = "";
    this.hot = -1;
    this.asked = 0;
    this.timer = 0;
    this.layer = shell.stage.addRaster(PALETTE);
    this.layer.canvas.classList.add("regions");
    this.layer.canvas.hidden = true;
    shell.addOption(slider({ id: "regions", label: "Regions", ...COUNTS, onInput: (value) => {
      this.count = value;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.refresh(), WAIT_MS);
    } }), shown);
  }

  /** Bring everything up to date: the tool was taken or laid down, the picture or the canvas changed. */
  async refresh() {
    this.layer.canvas.hidden = !this.shown();
    this.point(null);
    if (!this.shown()) return;
    const { underlay } = this.shell.stage;
    if (underlay.hidden) {
      this.forget();
      return this.shell.toast("Regions are cut from a picture to trace. Open one first.", [
        ["Open a picture…", () => this.shell.chooseUnderlay()], ["Cancel", () => {}],
      ]);
    }
    const { width, height } = this.size();
    const wanted = [underlay.src, width, height, this.count].join();
    if (wanted !== this.made) await this.#cut(wanted, width, height);
    return undefined;
  }

  forget() {
    [this.map, this.made] = [null, ""];
    this.layer.canvas.hidden = true;
  }

  /** The region under a document point; -1 beside the canvas or before there are regions. */
  at(point) {
    const { map } = this;
    if (!map || !point || point.x < 0 || point.y < 0 || point.x >= map.width || point.y >= map.height) return -1;
    return map.labels[Math.floor(point.y) * map.width + Math.floor(point.x)];
  }

  /** The pixels of a region, as indices row by row. */
  pixels(region) {
    const { starts, order } = this.map;
    return order.subarray(starts[region], starts[region + 1]);
  }

  /** Light up the region under the pointer. */
  point(point) {
    const region = this.at(point);
    if (region === this.hot) return;
    for (const [which, value] of [[this.hot, 0], [region, HOT]]) if (this.map && which >= 0) this.#light(which, value);
    this.hot = region;
  }

  async #cut(wanted, width, height) {
    this.forget();
    const turn = (this.asked += 1);
    this.shell.say("Cutting the picture into regions…");
    try {
      const picture = await this.#picture(width, height);
      const answer = await fetch(`${this.shell.sync.url}/regions?count=${this.count}`, { method: "POST", body: picture });
      if (!answer.ok) throw new Error((await answer.json()).error);
      const labels = await unpacked(answer.body);
      if (turn !== this.asked) return; // asked again meanwhile
      if (labels.length !== width * height) throw new Error("The answer does not fit the canvas.");
      this.#take({ width, height, labels, ...grouped(labels) }, wanted);
    } catch (error) {
      if (turn !== this.asked) return;
      const known = error instanceof TypeError ? "Is the studio still running?" : error.message;
      this.shell.toast(`The picture could not be cut into regions. ${known}`, [["Try again", () => this.refresh()], ["Cancel", () => {}]]);
    }
    this.shell.say("");
    this.shell.tellTool();
  }

  /** The picture as it lies on the paper: whole, centred, white beside it. */
  async #picture(width, height) {
    const { underlay } = this.shell.stage;
    await underlay.decode();
    const canvas = new OffscreenCanvas(width, height);
    const context = contextOf(canvas);
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    const scale = Math.min(width / underlay.naturalWidth, height / underlay.naturalHeight);
    const [w, h] = [underlay.naturalWidth * scale, underlay.naturalHeight * scale];
    context.drawImage(underlay, (width - w) / 2, (height - h) / 2, w, h);
    return canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  }

  #take(map, wanted) {
    [this.map, this.made, this.hot] = [map, wanted, -1];
    this.lines = borders(map);
    this.layer.show({ width: map.width, height: map.height, pixels: this.lines.slice() });
    this.layer.canvas.hidden = !this.shown();
  }

  #light(region, value) {
    const { width } = this.map;
    const { pixels } = this.layer.raster;
    let [x0, y0, x1, y1] = [Infinity, Infinity, 0, 0];
    for (const i of this.pixels(region)) {
      pixels[i] = this.lines?.[i] || value;
      const [x, y] = [i % width, Math.floor(i / width)];
      [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x + 1), Math.max(y1, y + 1)];
    }
    this.layer.mark([x0, y0, x1, y1]);
  }
}

/** Pixel indices sorted by label: those of label k are order[starts[k]] … order[starts[k + 1] - 1]. */
export function grouped(labels) {
  const starts = new Uint32Array(labels.reduce((most, label) => Math.max(most, label), 0) + 2);
  for (const label of labels) starts[label + 1] += 1;
  for (let k = 1; k < starts.length; k++) starts[k] += starts[k - 1];
  const [next, order] = [starts.slice(), new Uint32Array(labels.length)];
  for (let i = 0; i < labels.length; i++) order[next[labels[i]]++] = i;
  return { starts, order };
}

/** LINE where a pixel's right or lower neighbour is of another label, else 0. */
export function borders({ width, height, labels }) {
  const lines = new Uint8Array(labels.length);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const edge = (x + 1 < width && labels[i] !== labels[i + 1]) || (y + 1 < height && labels[i] !== labels[i + width]);
      if (edge) lines[i] = LINE;
    }
  }
  return lines;
}

async function unpacked(stream) {
  const bytes = await new Response(stream.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  return new Uint16Array(bytes); // the wire's byte order is that of every machine with a browser
}
