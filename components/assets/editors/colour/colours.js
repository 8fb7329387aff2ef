/** Colours as lists of red, green and blue, and as CSS writes them. No DOM. */

/** @param {Colour} colour */
export function css([red, green, blue]) {
  return `#${[red, green, blue].map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

/** The colour of a text such as "#ce423a". @param {string} text @returns {Colour} */
export function colourOf(text) {
  const at = (/** @type {number} */ start) => parseInt(text.slice(start, start + 2), 16);
  return [at(1), at(3), at(5)];
}

/** Whether something that was remembered is a colour. @param {unknown} given @returns {given is Colour} */
export function isColour(given) {
  return Array.isArray(given) && given.length === 3 && given.every((value) => Number.isInteger(value) && value >= 0 && value <= 255);
}
