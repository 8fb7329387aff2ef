/** A picture under the drawing, to trace: opened, dropped or given by the page; kept in the browser with the drawing. */

import { element, iconButton, menuItem, slider } from "../shared/controls.js";

/** Adds the control to the shell and gives it `setUnderlay(blob | url | null)` and `chooseUnderlay()`. */
export function underlayControl(shell) {
  const { underlay } = shell.stage;
  const key = `${shell.props.slot}/underlay`;
  let opacity = 0.5;
  /** @type {string | null} */
  let address = null;
  /** @type {Blob | null} */
  let blob = null; // what is kept; an address given by the page is not

  const show = (source) => {
    if (address) URL.revokeObjectURL(address);
    address = source instanceof Blob ? URL.createObjectURL(source) : null;
    underlay.hidden = !source;
    underlay.style.opacity = opacity;
    if (source) underlay.src = address ?? new URL(source, document.baseURI).href;
    else {
      underlay.removeAttribute("src");
      shell.editor.underlayChanged?.();
    }
    shell.refresh();
  };
  const keep = () => (blob ? shell.store.put(key, { blob, opacity }) : shell.store.delete(key));
  shell.setUnderlay = (source) => {
    show(source);
    blob = source instanceof Blob ? source : null;
    keep();
  };
  shell.onEnd(() => address && URL.revokeObjectURL(address));
  shell.chooseUnderlay = () => shell.chooseFile("image/png,image/jpeg,image/webp", (file) => shell.setUnderlay(file));
  underlay.addEventListener("load", () => shell.editor.underlayChanged?.());
  underlay.addEventListener("error", () => {
    if (!underlay.hasAttribute("src")) return;
    shell.setUnderlay(null);
    shell.toast("This file is no picture that the browser can read.");
  });
  shell.store.get(key).then((kept) => {
    if (!kept) return show(shell.options.underlay ?? null);
    opacity = kept.opacity ?? opacity;
    blob = kept.blob;
    show(blob);
  });

  const button = iconButton({ id: "underlay", label: "Picture to trace", icon: "picture", run: () => {
    const content = element("div", {}, element("h3", {}, "Picture to trace"));
    content.append(menuItem({ id: "open-underlay", label: "Open a picture…", icon: "open", run: () => {
      close();
      shell.chooseUnderlay();
    } }));
    if (!underlay.hidden) {
      const fade = slider({ id: "underlay-opacity", label: "Opacity", min: 0, max: 1, step: 0.05, value: opacity,
        format: (value) => `${Math.round(value * 100)} %`, onInput: (value) => {
          opacity = value;
          underlay.style.opacity = value;
        } });
      fade.addEventListener("change", () => blob && keep()); // once the slider rests: the picture is written with it
      content.append(
        fade,
        menuItem({ id: "remove-underlay", label: "Remove it", icon: "trash", run: () => {
          close();
          shell.setUnderlay(null);
        } }));
    }
    const close = shell.popover(button, content);
  } });
  button.setAttribute("aria-haspopup", "dialog");
  shell.addControl(button);
  shell.onRefresh(() => button.setAttribute("aria-pressed", String(!underlay.hidden)));
}
