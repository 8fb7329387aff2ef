/** The size of the canvas: a word in the status line that opens shapes and sides to choose from; none where the page fixes it. */

import { describe, element, select, textButton } from "../shared/controls.js";
import { shapeSides, SHAPES, SIDES } from "./size-shapes.js";

export function sizeControl(shell) {
  if (shell.options.sizes?.fixed) return null;
  const limits = { ...SIDES, ...shell.options.sizes };
  const button = textButton("", () => shell.popover(button, content()), { id: "size", name: "Canvas size" });
  describe(button, "Canvas size");
  shell.onRefresh(() => (button.textContent = `${shell.view.width} × ${shell.view.height}`));
  const sides = [];
  for (let side = limits.min; side <= limits.max; side += limits.step) sides.push([side, String(side)]);

  const use = (width, height) => {
    if (width === shell.view.width && height === shell.view.height) return;
    shell.replace(shell.resized(width, height));
  };

  function content() {
    const { width, height } = shell.view;
    const box = (value, label, onInput) => {
      const options = sides.some(([side]) => side === value) ? sides : [[value, String(value)], ...sides];
      return select({ id: `size-${label.toLowerCase()}`, label, options, value, onInput: (text) => onInput(Number(text)) });
    };
    const node = element("div", {}, element("h3", {}, "Canvas size"));
    const seen = new Set(); // on a coarse grid two shapes may come to the same sides
    for (const [label, across, down] of SHAPES) {
      const [w, h] = shapeSides(across, down, Math.max(width, height), limits);
      if (seen.has(`${w} ${h}`)) continue;
      seen.add(`${w} ${h}`);
      const picture = element("span", { style: "display:grid;place-items:center;width:20px;height:20px" }, element("span", {
        style: `border:1.5px solid currentColor;border-radius:2px;width:${(16 * across) / Math.max(across, down)}px;height:${(16 * down) / Math.max(across, down)}px`,
      }));
      node.append(element("button", { type: "button", class: "item", "data-id": `shape-${across}-${down}`,
        "aria-pressed": String(w === width && h === height), onclick: () => {
          use(w, h);
          button.popover_?.();
        } }, picture, label, element("span", { style: "margin-left:auto;padding-left:16px;opacity:.6;font-variant-numeric:tabular-nums" },
          `${w} × ${h}`)));
    }
    node.append(element("div", { class: "rule" }), element("div", { style: "display:flex;align-items:center;gap:8px;padding:0 8px 4px" },
      box(width, "Width", (side) => use(side, shell.view.height)), "×",
      box(height, "Height", (side) => use(shell.view.width, side))));
    return node;
  }
  return button;
}
