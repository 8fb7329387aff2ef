/** Keys go on where they were, although the button that had them was drawn anew or hidden. */

/**
 * What has the focus in the tree (page or shadow root) that `node` is part of.
 *
 * @param {Node} node
 */
export function focusedBeside(node) {
  const tree = /** @type {Document | ShadowRoot} */ (node.getRootNode());
  return tree.activeElement instanceof HTMLElement ? tree.activeElement : null;
}

/**
 * Run `render()`; if what had the focus inside `root` is gone or hidden then, its successor (same data-id) or `fallback`
 * has it.
 *
 * @param {HTMLElement} root
 * @param {() => void} render
 */
export function keepingFocus(root, render, fallback = root) {
  const before = focusedBeside(root);
  const held = !!before && root.contains(before);
  render();
  if (!held || before.checkVisibility()) return;
  /** @type {HTMLElement | null} */
  const successor = !before.dataset.id ? null : root.querySelector(`[data-id="${CSS.escape(before.dataset.id)}"]`);
  (successor?.checkVisibility() ? successor : fallback).focus({ preventScroll: true });
}
