/**
 * Ctrl+Up and Ctrl+Down in a prompt: the words in hand weigh more or less, "(red house:1.2)", as the studio and other programs
 * read it.
 */

const STEP = 0.1;
const MOST = 2; // beyond it pictures fall apart; whoever wants more can write it
const PROMPTS = 'textarea[aria-label^="Prompt"], textarea[aria-label^="Negative prompt"]';
const WEIGHED = /(?<!\\)\(([^()[\]]*):(\d+(?:\.\d+)?)\)/g;
const WORD = /[^\s,.;:()[\]]/;

/**
 * What to put in place of `from`..`to` of a text, and what of it is in hand afterwards, so that the key can be pressed again;
 * null where there is no word. In hand are `start`..`end`; without a length the word around it, within brackets with a weight
 * all that they hold.
 *
 * @param {string} text
 * @param {number} start
 * @param {number} end
 * @param {1 | -1} direction
 * @returns {{from: number, to: number, words: string, start: number, end: number} | null}
 */
export function weighed(text, start, end, direction) {
  const group = [...text.matchAll(WEIGHED)].find(({ index, 0: { length } }) => index <= start && end <= index + length);
  const [from, to] = group ? [group.index, group.index + group[0].length] : inHand(text, start, end);
  const inner = group ? group[1] : text.slice(from, to);
  if (!inner.trim()) return null;
  const old = group ? Number(group[2]) : 1;
  const weight = Math.min(Math.max(MOST, old), Math.max(0, Math.round((old + direction * STEP) * 100) / 100));
  const words = weight === 1 ? inner : `(${inner}:${weight})`;
  const first = from + (weight === 1 ? 0 : 1);
  return { from, to, words, start: first, end: first + inner.length };
}

/**
 * @param {string} text
 * @param {number} start
 * @param {number} end
 * @returns {[from: number, to: number]}  without the spaces around
 */
function inHand(text, start, end) {
  let [from, to] = [start, end];
  if (from === to) {
    while (from > 0 && WORD.test(text[from - 1])) from--;
    while (to < text.length && WORD.test(text[to])) to++;
  }
  while (from < to && text[from] === " ") from++;
  while (to > from && text[to - 1] === " ") to--;
  return [from, to];
}

let listening = false;

/** Have the keys weigh words in every prompt of the page. */
export function weighWords() {
  if (listening) return;
  listening = true;
  document.addEventListener("keydown", (event) => {
    const direction = { ArrowUp: /** @type {const} */ (1), ArrowDown: /** @type {const} */ (-1) }[event.key];
    const prompt = event.target;
    if (!direction || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
    if (!(prompt instanceof HTMLTextAreaElement) || !prompt.matches(PROMPTS)) return;
    event.preventDefault();
    const change = weighed(prompt.value, prompt.selectionStart, prompt.selectionEnd, direction);
    if (!change) return;
    prompt.setSelectionRange(change.from, change.to);
    document.execCommand("insertText", false, change.words); // as if it were typed: with undo, and the page hears of it
    prompt.setSelectionRange(change.start, change.end);
  });
}
