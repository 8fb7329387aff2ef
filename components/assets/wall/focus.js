/** Keys go on where they were, although the button that had them was drawn anew. */

/** Run `render()`; if what had the focus inside `root` is gone then, its successor (same data-id) or `fallback` has it. */
export function keepingFocus(root, render, fallback = root) {
  const before = root.getRootNode().activeElement;
  const held = !!before && root.contains(before);
  render();
  if (!held || before.isConnected) return;
  const { id } = before.dataset;
  (root.querySelector(`[data-id="${id}"]`) ?? fallback).focus({ preventScroll: true });
}
