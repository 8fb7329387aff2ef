/** Small things that a browser keeps for a person: favourites, recents, what was in hand. Never documents. */

const PREFIX = "controlnet-studio.seg.";

/** What was remembered under a name; null when there is nothing or the browser keeps nothing. */
export function remembered(name) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name) ?? "null");
  } catch {
    return null;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // A private window or a full disk: it is only forgotten.
  }
}
