/** Keeps one object in an element of the page while Python reruns, and lets it go when the element leaves. */

/**
 * The function that Streamlit calls at the first run and whenever `data` comes anew.
 *
 * `make(host, data)` builds the object. `take(object, data, trigger)` gives it what came, at once or in its own time; `trigger`
 * is Streamlit's setTriggerValue. Where `same(object, data)` is false, the data is another's and a new object takes the place.
 *
 * @template {{destroy(): void}} T
 * @template D
 * @param {(host: HTMLElement | ShadowRoot, data: D) => T} make
 * @param {(object: T, data: D, trigger: Trigger) => void | Promise<void>} take
 * @param {(object: T, data: D) => boolean} [same]
 */
export function mounted(make, take, same = () => true) {
  /** @type {WeakMap<Node, T>} */
  const shown = new WeakMap(); // parentElement -> object
  return async (/** @type {Component<D>} */ { parentElement, data, setTriggerValue }) => {
    let object = shown.get(parentElement);
    if (object && !same(object, data)) {
      object.destroy();
      object = undefined;
    }
    const present = object ?? make(parentElement, data);
    shown.set(parentElement, present);
    await take(present, data, setTriggerValue);
    // Streamlit also calls this when one run overtakes another: only an element that left the page is gone.
    return () => setTimeout(() => {
      if (parentElement.isConnected || shown.get(parentElement) !== present) return;
      present.destroy();
      shown.delete(parentElement);
    }, 0);
  };
}
