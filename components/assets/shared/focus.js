/** Keys go on where they were, although the button that had them was drawn anew or hidden. */

/** Run `render()`; if what had the focus inside `root` is gone or hidden then, its successor (same data-id) or `fallback` has it. */
export function keepingFocus(root, render, fallback = root) {
  const before = root.getRootNode().activeElement;
  const held = !!before && root.contains(before);
  render();
  if (!held || before.checkVisibility()) return;
  const successor = before.dataset.id && root.querySelector(`[data-id="${CSS.escape(before.dataset.id)}"]`);
  (successor?.checkVisibility() ? successor : fallback).focus({ preventScroll: true });
}
