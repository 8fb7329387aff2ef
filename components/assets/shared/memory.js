/** Small things that a browser keeps for a person: favourites, recents, how the hand is followed. Never documents. */

const PREFIX = "controlnet-studio.";

/**
 * What was remembered under a name; null when there is nothing or the browser keeps nothing.
 *
 * @param {string} name
 */
export function remembered(name) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name) ?? "null");
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {unknown} value  as JSON
 */
export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // A private window or a full disk: it is only forgotten.
  }
}
