/** Puts an editor into a component of the page and keeps it there while Python reruns. */

import { showLayers } from "../canvas/layers.js";
import { Shell } from "../canvas/shell.js";
import { mounted } from "../shared/mounted.js";

/** Called by Streamlit; `data` is what components.mount.pack made. Another drawing or another kind needs another editor. */
export const mount = mounted(
  (host, /** @type {Bytes} */ data) => new Place(host, propsOf(data)),
  (place, data, trigger) => place.take(data, trigger),
  ({ props }, data) => {
    const { slot, kind } = propsOf(data);
    return slot === props.slot && kind === props.kind;
  },
);

/** One editor on the page, for as long as it shows the same drawing. */
class Place {
  /** @type {Trigger} */
  #trigger = () => {};
  /** @type {Promise<void> | null} */
  #opened = null;

  /**
   * @param {HTMLElement | ShadowRoot} host
   * @param {EditorProps} props
   */
  constructor(host, props) {
    this.props = props;
    this.shell = new Shell(host, props, (/** @type {string} */ event, /** @type {unknown} */ value) => this.#trigger(event, value));
  }

  /**
   * @param {Bytes} data
   * @param {Trigger} trigger
   */
  async take(data, trigger) {
    this.#trigger = trigger;
    if (!this.#opened) {
      this.#opened = this.#open(data);
      return this.#opened;
    }
    await this.#opened;
    await this.shell.update(propsOf(data), documentOf(data));
    return showLayers(this.shell);
  }

  destroy() {
    this.shell.destroy();
  }

  /** @param {Bytes} data */
  async #open(data) {
    const { shell } = this;
    const { kind } = this.props;
    const { createEditor } = await import(`./${kind}/${kind}.js`);
    if (shell.gone) return; // the page was left meanwhile
    await shell.open(createEditor(shell, shell.options), documentOf(data));
    showLayers(shell);
  }
}

/** @param {Bytes} data */
function headLength(data) {
  return new DataView(data.buffer, data.byteOffset).getUint32(0, true);
}

/**
 * @param {Bytes} data
 * @returns {EditorProps}
 */
function propsOf(data) {
  return JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + headLength(data))));
}

/**
 * @param {Bytes} data
 * @returns {Bytes} the document's container, a copy
 */
function documentOf(data) {
  return data.slice(4 + headLength(data));
}
