/**
 * Keys: one table drives what they do, the tooltips and the "?" sheet.
 *
 * A combination is written "B", "[", "Ctrl+Z", "Ctrl+Shift+Z", "Space", "Esc", "Del", "Enter", "Up". Ctrl stands for Cmd on a
 * Mac too. No DOM: `handle` takes anything with the fields of a keydown event.
 */

/** @type {Record<string, string>} */
const NAMES = {
  " ": "Space", Escape: "Esc", Delete: "Del", Backspace: "Del", Enter: "Enter", Tab: "Tab",
  ArrowUp: "Up", ArrowDown: "Down", ArrowLeft: "Left", ArrowRight: "Right",
};

const HEADINGS = ["Tools", "Draw", "Edit", "View", "Files", "General"];

/**
 * The combination that a keydown event stands for; "" for a lone modifier.
 *
 * @param {KeyPress} event
 */
export function combination(event) {
  if (["Control", "Shift", "Alt", "Meta", "AltGraph"].includes(event.key)) return "";
  let name = NAMES[event.key] ?? event.key;
  // Where the layout gives no Latin letter, or Ctrl or Alt changed it, the key's place counts.
  const { code = "" } = event;
  if (/^Key[A-Z]$/.test(code) && !/^[a-z]$/i.test(name)) name = code.slice(3);
  if (/^Digit\d$/.test(code) && (event.ctrlKey || event.metaKey)) name = code.slice(5);
  if (name.length === 1) name = name.toUpperCase();
  // Shift belongs to the combination only where it does not choose the character itself ("?" needs it, "[" must not).
  const shift = event.shiftKey && (name.length > 1 || /[A-Z0-9]/.test(name));
  return [(event.ctrlKey || event.metaKey) && "Ctrl", event.altKey && "Alt", shift && "Shift", name]
    .filter(Boolean)
    .join("+");
}

export class Shortcuts {
  constructor() {
    /** @type {Shortcut[]} */
    this.rows = [];
  }

  /**
   * `row`: keys (list of combinations), label, group (heading in the sheet), run(event), when() (optional). Without
   * `run` it is only told in the sheet ("Space-drag"). A later row wins over an earlier one with the same keys.
   *
   * @param {Shortcut} row
   */
  add(row) {
    this.rows.push(row);
  }

  /**
   * Run what the event's keys stand for; returns whether there was anything.
   *
   * @param {KeyPress} event
   */
  handle(event) {
    const keys = combination(event);
    if (!keys) return false;
    for (let i = this.rows.length - 1; i >= 0; i--) {
      const row = this.rows[i];
      if (row.run && row.keys.includes(keys) && (row.when?.() ?? true)) {
        row.run(event);
        return true;
      }
    }
    return false;
  }

  /**
   * [heading, rows] pairs for the sheet: what is used most stands first, headings of an editor's own after it.
   *
   * @returns {[heading: string, rows: Shortcut[]][]}
   */
  table() {
    /** @type {Map<string, Shortcut[]>} */
    const groups = new Map(HEADINGS.map((heading) => [heading, []]));
    for (const row of this.rows) {
      if (!row.label) continue;
      const heading = row.group ?? "General";
      groups.set(heading, [...(groups.get(heading) ?? []), row]);
    }
    return [...groups].filter(([, rows]) => rows.length);
  }
}

/**
 * How a combination is shown on this machine: ["Ctrl", "Z"] or ["⌘", "Z"].
 *
 * @param {string} keys
 * @param {boolean} [mac]
 */
export function keycaps(keys, mac = false) {
  /** @type {Record<string, string>} */
  const symbols = mac ? { Ctrl: "⌘", Alt: "⌥", Shift: "⇧" } : {};
  return keys.split(/\+(?=.)/).map((part) => symbols[part] ?? part);
}
