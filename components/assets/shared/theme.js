/** Light or dark: told by the page's background, so that it follows whatever theme Streamlit has. */

import { contextOf } from "./context.js";

/**
 * Keep the class "dark" on `root` right; returns a function that stops doing so.
 *
 * @param {HTMLElement} root
 */
export function followTheme(root) {
  let last = "";
  const look = () => {
    const colour = getComputedStyle(root).getPropertyValue("--st-background-color").trim();
    if (colour === last || !root.isConnected) return;
    last = colour;
    root.classList.toggle("dark", luminance(colour) < 128);
    root.style.colorScheme = root.classList.contains("dark") ? "dark" : "light";
  };
  look();
  requestAnimationFrame(look);
  const timer = setInterval(look, 500); // custom properties have no change event; one comparison of two strings
  return () => clearInterval(timer);
}

/** @param {string} colour */
function luminance(colour) {
  const context = contextOf(new OffscreenCanvas(1, 1));
  context.fillStyle = colour || "#fff";
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return 0.299 * red + 0.587 * green + 0.114 * blue;
}
