/** Puts an editor into a component of the page and keeps it there while Python reruns. */

import { showLayers } from "../canvas/layers.js";
import { Shell } from "../canvas/shell.js";

const mounted = new WeakMap(); // parentElement -> {shell, slot, kind, latest}

/** Called by Streamlit at the first run and whenever `data` comes anew; returns what to do when it goes. */
export async function mount({ parentElement, data, setTriggerValue }) {
  const { props, bytes } = unpack(data);
  let present = mounted.get(parentElement);
  if (present && (present.slot !== props.slot || present.kind !== props.kind)) {
    present.shell.destroy();
    present = null;
  }
  if (present) {
    present.setTrigger = setTriggerValue;
    await present.opened;
    await present.shell.update(props, bytes);
    showLayers(present.shell);
  } else {
    present = { slot: props.slot, kind: props.kind, setTrigger: setTriggerValue };
    mounted.set(parentElement, present);
    present.shell = new Shell(parentElement, props, (event, value) => present.setTrigger(event, value));
    present.opened = open(present.shell, props, bytes);
    await present.opened;
  }
  // Streamlit also calls this when one run overtakes another: only an element that left the page is gone.
  return () => setTimeout(() => {
    if (parentElement.isConnected || mounted.get(parentElement) !== present) return;
    present.shell.destroy();
    mounted.delete(parentElement);
  }, 0);
}

async function open(shell, props, bytes) {
  const { createEditor } = await import(`./${props.kind}/${props.kind}.js`);
  if (shell.gone) return; // the page was left meanwhile
  await shell.open(createEditor(shell, shell.options), bytes);
  showLayers(shell);
}

/** The counterpart of components.mount.pack. */
function unpack(data) {
  const length = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
  const props = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length)));
  return { props, bytes: data.slice(4 + length) };
}
