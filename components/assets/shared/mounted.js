/** Keeps one object in an element of the page while Python reruns, and lets it go when the element leaves. */

/**
 * The function that Streamlit calls at the first run and whenever `data` comes anew.
 *
 * `make(host, data)` builds the object, which has a `destroy()`. `take(object, data, trigger)` gives it what came; `trigger` is
 * Streamlit's setTriggerValue. Where `same(object, data)` is false, the data is another's and a new object takes the place.
 */
export function mounted(make, take, same = () => true) {
  const shown = new WeakMap(); // parentElement -> object
  return ({ parentElement, data, setTriggerValue }) => {
    let object = shown.get(parentElement);
    if (object && !same(object, data)) {
      object.destroy();
      object = null;
    }
    if (!object) {
      object = make(parentElement, data);
      shown.set(parentElement, object);
    }
    take(object, data, setTriggerValue);
    // Streamlit also calls this when one run overtakes another: only an element that left the page is gone.
    return () => setTimeout(() => {
      if (parentElement.isConnected || shown.get(parentElement) !== object) return;
      object.destroy();
      shown.delete(parentElement);
    }, 0);
  };
}
