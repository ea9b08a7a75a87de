/**
 * @file Light or dark: the system's choice until the reader makes another, which this browser remembers. It never touches
 * colours itself; the style sheet follows `data-theme`.
 */

import { el, icon } from "./dom.js";

const STORED = "mailgauge-theme";

/** Applies the remembered choice. Called before the first paint. */
export function applyTheme() {
  const stored = read();
  if (stored) document.documentElement.dataset.theme = stored;
}

/** Wires the button that switches. */
export function bindTheme(/** @type {HTMLElement} */ button) {
  const show = () => {
    const next = isDark() ? "light" : "dark";
    button.replaceChildren(icon(next === "light" ? "sun" : "moon"), el("span", { class: "sr" }, `Switch to the ${next} theme`));
    button.title = `Switch to the ${next} theme`;
  };
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try { localStorage.setItem(STORED, theme); } catch { /* Without storage the choice lasts until the reload. */ }
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function read() {
  try {
    const theme = localStorage.getItem(STORED);
    return theme === "light" || theme === "dark" ? theme : null;
  } catch {
    return null;
  }
}
