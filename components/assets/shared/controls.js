/** The shell's parts: buttons, sliders, selects, popovers, tooltips, toasts and the sheet of keys. DOM, no state of its own. */

import { focusedBeside } from "./focus.js";
import { icon } from "./icons.js";
import { keycaps } from "../canvas/shortcuts.js";

const MAC = /Mac|iPhone|iPad/.test(globalThis.navigator?.platform ?? "");
const TOOLTIP_DELAY_MS = 350;

/**
 * An element: element("button", {class: "tool", onclick: f}, child, "text"). Texts are never read as HTML.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [attributes]  listeners as "onclick"; true sets an empty attribute, false and null set none
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children) if (child !== null && child !== undefined) node.append(child);
  return node;
}

/**
 * A square icon button. `keys` appear in its tooltip.
 *
 * @param {ControlLook & {run: (event: MouseEvent) => unknown}} look
 */
export function iconButton({ id, label, icon: name, keys = [], run }) {
  const button = element("button", { type: "button", class: "tool", "aria-label": label, "data-id": id, onclick: run }, icon(name));
  describe(button, label, keys);
  return button;
}

/**
 * A line of a menu.
 *
 * @param {ControlLook & {run: (event: MouseEvent) => unknown, pressed?: () => unknown}} look
 */
export function menuItem({ id, label, icon: name, keys = [], run, pressed }) {
  const on = pressed ? String(!!pressed()) : null;
  return element("button", { type: "button", class: "item", "data-id": id, onclick: run, "aria-pressed": on },
    icon(name, 18), label, keys.length ? keyLabel(keys[0]) : null);
}

/**
 * A button of text; `name` is what it is called where its text does not say it.
 *
 * @param {string} label
 * @param {(event: MouseEvent) => unknown} run
 * @param {{id?: string, name?: string, primary?: boolean}} [look]
 */
export function textButton(label, run, { id, name, primary } = {}) {
  const classes = primary ? "text primary" : "text";
  return element("button", { type: "button", class: classes, onclick: run, "data-id": id, "aria-label": name }, label);
}

/**
 * A labelled slider; `format` writes its value. `show(value)` sets it from outside without calling onInput.
 *
 * @param {{id: string, label: string, min: number, max: number, step?: number, value: number, format?: (value: number) => string,
 *   onInput: (value: number) => void}} look
 * @returns {Slider}
 */
export function slider({ id, label, min, max, step = 1, value, format = String, onInput }) {
  const input = element("input", { type: "range", min, max, step, "aria-label": label, "data-id": id });
  const output = element("output", { "aria-hidden": "true" });
  const show = (/** @type {number} */ next) => {
    input.value = String(next);
    input.style.setProperty("--fill", `${((next - min) / (max - min)) * 100}%`);
    input.setAttribute("aria-valuetext", format(next));
    output.textContent = format(next);
  };
  const node = Object.assign(element("label", { class: "slider" }, element("span", {}, label), input, output), { show });
  input.addEventListener("input", () => {
    node.show(Number(input.value));
    onInput(Number(input.value));
  });
  node.show(value);
  return node;
}

/**
 * A labelled choice; options are [value, text] pairs.
 *
 * @param {{id: string, label: string, options: [value: string | number, text: string][], value: string | number,
 *   onInput: (value: string) => void}} look
 */
export function select({ id, label, options, value, onInput }) {
  const node = element("select", { "aria-label": label, "data-id": id, onchange: () => onInput(node.value) },
    ...options.map(([key, text]) => element("option", { value: key, selected: String(key) === String(value) }, text)));
  return node;
}

/**
 * <kbd> caps of one combination.
 *
 * @param {string} keys
 */
export function keyLabel(keys) {
  return element("span", {}, ...keycaps(keys, MAC).map((cap) => element("kbd", {}, cap)));
}

/**
 * Give a control a tooltip (shown by `tooltips`).
 *
 * @param {HTMLElement} node
 * @param {string} label
 * @param {string[]} [keys]
 */
export function describe(node, label, keys = []) {
  node.tooltip = { label, keys };
  if (keys.length) node.setAttribute("aria-keyshortcuts", keys.join(" ").replaceAll("Ctrl", "Control"));
}

/**
 * Tooltips for everything inside `root` that was described.
 *
 * @param {HTMLElement} root
 */
export function tooltips(root) {
  const bubble = element("div", { class: "tooltip", role: "presentation" });
  root.append(bubble);
  let timer = 0;
  const hide = () => {
    clearTimeout(timer);
    bubble.classList.remove("shown");
  };
  const show = (/** @type {HTMLElement} */ node) => {
    const { label, keys } = node.tooltip ?? { label: "", keys: [] };
    bubble.replaceChildren(label, ...(keys.length ? [keyLabel(keys[0])] : []));
    const [outer, box] = [root.getBoundingClientRect(), node.getBoundingClientRect()];
    const beside = node.closest(".rail");
    const x = beside ? box.right - outer.left + 8 : box.left - outer.left + box.width / 2 - bubble.offsetWidth / 2;
    const below = box.bottom - outer.top + 6;
    const y = beside ? box.top - outer.top + (box.height - bubble.offsetHeight) / 2
      : below + bubble.offsetHeight < outer.height ? below : box.top - outer.top - bubble.offsetHeight - 6;
    bubble.style.left = `${Math.max(4, Math.min(x, outer.width - bubble.offsetWidth - 4))}px`;
    bubble.style.top = `${y}px`;
    bubble.classList.add("shown");
  };
  const find = (/** @type {Event} */ event) =>
    /** @type {HTMLElement[]} */ (event.composedPath()).find((node) => node.tooltip);
  root.addEventListener("pointerover", (event) => {
    hide();
    const node = event.pointerType === "mouse" ? find(event) : null;
    if (node) timer = setTimeout(show, TOOLTIP_DELAY_MS, node);
  });
  root.addEventListener("focusin", (event) => {
    const node = find(event);
    if (node?.matches(":focus-visible")) show(node);
  });
  for (const type of ["pointerleave", "pointerdown", "focusout", "keydown"]) root.addEventListener(type, hide);
}

/**
 * Opens content beside an anchor; closes on Esc, on a press elsewhere, or on a second call. Returns close().
 *
 * @param {HTMLElement} root
 * @param {HTMLElement} anchor
 * @param {Node} content
 */
export function popover(root, anchor, content) {
  if (anchor.popover_) {
    anchor.popover_();
    return () => {};
  }
  const node = element("div", { class: "popover", role: "dialog", "aria-label": anchor.getAttribute("aria-label") ?? "" }, content);
  root.append(node);
  const [outer, box] = [root.getBoundingClientRect(), anchor.getBoundingClientRect()];
  const below = box.bottom - outer.top + 6;
  const fitsBelow = below + node.offsetHeight <= outer.height - 8;
  const beside = anchor.closest(".rail");
  const [left, top] = beside ? [box.right - outer.left + 8, Math.min(box.top - outer.top, outer.height - node.offsetHeight - 8)]
    : [box.left - outer.left, fitsBelow ? below : box.top - outer.top - node.offsetHeight - 6];
  node.style.left = `${Math.max(8, Math.min(left, outer.width - node.offsetWidth - 8))}px`;
  node.style.top = `${Math.max(8, top)}px`;
  const elsewhere = (/** @type {Event} */ event) => {
    const path = event.composedPath();
    if (!path.includes(node) && !path.includes(anchor)) close();
  };
  function close() {
    const held = node.contains(focusedBeside(node));
    node.remove();
    if (held) root.focus({ preventScroll: true }); // else the keys would go to the page
    document.removeEventListener("pointerdown", elsewhere, true);
    anchor.popover_ = null;
    anchor.setAttribute("aria-expanded", "false");
  }
  document.addEventListener("pointerdown", elsewhere, true);
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
    anchor.focus();
  });
  anchor.popover_ = close;
  anchor.setAttribute("aria-expanded", "true");
  /** @type {HTMLElement | null} */
  const first = node.querySelector("button, input, select");
  first?.focus({ preventScroll: true });
  return close;
}

/**
 * A short message; `actions` are [label, run] pairs and keep it until one is pressed. Returns close().
 *
 * @param {HTMLElement} container
 * @param {string} text
 * @param {[label: string, run: () => unknown][]} [actions]
 * @param {number} [lastsMs]  milliseconds; 0: until it is closed
 */
export function toast(container, text, actions = [], lastsMs = actions.length ? 0 : 4000) {
  const node = element("div", { class: "toast", role: "status" }, element("span", {}, text));
  const close = () => node.remove();
  for (const [label, run] of actions) {
    node.append(textButton(label, () => {
      close();
      run();
    }));
  }
  container.append(node);
  if (lastsMs) setTimeout(close, lastsMs);
  return close;
}

/**
 * The sheet of all keys, from the table of shortcuts.js. Returns close().
 *
 * @param {HTMLElement} root
 * @param {[heading: string, rows: Shortcut[]][]} table
 * @param {() => void} [onClose]
 */
export function shortcutSheet(root, table, onClose = () => {}) {
  const veil = element("div", { class: "veil" });
  const sheet = element("div", { class: "sheet", role: "dialog", "aria-modal": "true", "aria-label": "Keyboard shortcuts",
    tabindex: "-1" });
  const close = () => {
    veil.remove();
    sheet.remove();
    onClose();
  };
  const sections = table.map(([heading, rows]) => element("section", {}, element("h3", {}, heading),
    element("dl", {}, ...rows.flatMap((row) => [
      element("dt", {}, row.label), element("dd", {}, ...row.keys.slice(0, 2).map(keyLabel)),
    ]))));
  sheet.append(
    element("header", {}, element("h2", {}, "Keyboard shortcuts"),
      iconButton({ id: "close-sheet", label: "Close", icon: "close", run: close })),
    element("div", { class: "columns" }, ...sections),
  );
  veil.addEventListener("click", close);
  root.append(veil, sheet);
  sheet.focus({ preventScroll: true });
  return close;
}
