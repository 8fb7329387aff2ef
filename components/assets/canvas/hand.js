/** How closely a brush follows the hand: one choice of this browser for every editor. */

import { element, slider } from "../shared/controls.js";
import { remember, remembered } from "../shared/memory.js";

/** Damping of smoothing.js: 0 follows the hand exactly, the most steadies a stroke that is drawn slowly. */
export const STEADY = { min: 0, max: 0.95, usual: 0.35 };
const NAME = "hand.steady";

/** What was chosen, or the usual damping. */
export function steadiness() {
  const kept = remembered(NAME);
  return typeof kept === "number" && kept >= STEADY.min && kept <= STEADY.max ? kept : STEADY.usual;
}

/** Adds the choice to an editor's menu, under a heading of its keys. */
export function addSteadiness(shell, group) {
  const run = () => {
    const choice = slider({ id: "steady", label: "Steady strokes", min: STEADY.min, max: STEADY.max, step: 0.05, value: steadiness(),
      format: (value) => (value > 0 ? `${Math.round(value * 100)} %` : "off"), onInput: (value) => remember(NAME, value) });
    const hint = element("p", { class: "told" }, "Off follows the hand exactly. More calms a trembling hand: the line trails the pen.");
    shell.popover(shell.menuButton, element("div", {}, choice, hint));
  };
  shell.addAction({ id: "steady", label: "Steady strokes…", icon: "steady", keys: ["J"], place: "menu", group, run });
}
