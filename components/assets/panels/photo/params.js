/** The panel of a detector: what it is, what it needs, its parameters. Tells every change, and when a change has settled. */

import { sizeOfMib } from "../../shared/amounts.js";
import { element, select, slider, textButton } from "../../shared/controls.js";

/** Fill `panel` for a detector; `values` holds its values and is changed in place. `onInput()` hears of every change. */
export function fillPanel(panel, detector, values, { onInput, mapSize }) {
  const rows = detector.params.map((param) => row(param, values, onInput));
  const missing = detector.needs.filter((need) => !need.here);
  panel.replaceChildren(
    element("p", {}, detector.help),
    ...rows,
    mapSize,
    resetButton(panel, detector, values, { onInput, mapSize }),
    element("div", { class: "spring" }),
    ...(detector.needs.length ? [needs(detector.needs, missing)] : []),
  );
}

/** The defaults of a detector's parameters. */
export function defaults(detector) {
  return Object.fromEntries(detector.params.map((param) => [param.key, param.default]));
}

function row(param, values, onInput) {
  const set = (value) => {
    values[param.key] = value;
    onInput();
  };
  const node = element("div", { class: "param", title: param.help || null }, control(param, values[param.key] ?? param.default, set));
  return node;
}

function control(param, value, set) {
  if (param.choices.length) {
    return element("label", { class: "choice" }, param.title,
      select({ id: param.key, label: param.title, options: param.choices.map((one) => [one, one]), value, onInput: set }));
  }
  if (typeof param.default === "boolean") {
    const box = element("input", { type: "checkbox", checked: value, "data-id": param.key, onchange: () => set(box.checked) });
    return element("label", { class: "switch" }, param.title, box);
  }
  const digits = param.step >= 1 ? 0 : String(param.step).split(".")[1]?.length ?? 2;
  const whole = param.whole;
  return slider({ id: param.key, label: param.title, min: param.low, max: param.high, step: param.step, value,
    format: (number) => `${number.toFixed(digits)}${param.unit ? ` ${param.unit}` : ""}`,
    onInput: (number) => set(whole ? Math.round(number) : number) });
}

function resetButton(panel, detector, values, more) {
  const changed = detector.params.some((param) => values[param.key] !== undefined && values[param.key] !== param.default);
  const button = textButton("Reset", () => {
    Object.assign(values, defaults(detector));
    fillPanel(panel, detector, values, more);
    more.onInput();
  }, { id: "reset", name: "Reset to defaults" });
  button.hidden = detector.params.length === 0;
  button.style.alignSelf = "flex-start";
  button.title = changed ? "" : "Everything is at its default";
  return button;
}

function needs(all, missing) {
  if (!missing.length) {
    return element("div", { class: "need" }, element("b", {}, "On this machine"), ...all.map((need) => `${need.title} · ${need.licence}`));
  }
  const total = missing.reduce((sum, need) => sum + need.size_mib, 0);
  return element("div", { class: "need" }, element("b", {}, `Downloaded on first use: ${sizeOfMib(total)}`),
    ...missing.map((need) => element("span", {}, `${need.title} · ${need.licence}`)));
}
