/**
 * @file Two controls used in many places: a row of choices, and a panel that opens below a button. Both work by keyboard.
 */

import { el } from "./dom.js";

/**
 * A row of buttons of which one is chosen. Arrow keys move between them, as in a radio group.
 * @param {{ label: string, options: { name: string, label: string, title?: string, off?: boolean }[], value: string, choose: (name: string) => void, kind?: "tabs" | "pills" }} options
 */
export function segmented({ label, options, value, choose, kind = "pills" }) {
  const buttons = options.map((option) => {
    const chosen = option.name === value;
    return el("button", {
      type: "button", role: "radio", "aria-checked": String(chosen), "aria-disabled": option.off ? "true" : null, tabindex: chosen ? 0 : -1,
      title: option.title || null, "data-key": `${label}-${option.name}`, "data-name": option.name, onclick: () => !option.off && choose(option.name),
    }, option.label);
  });
  if (!options.some((option) => option.name === value)) buttons[0]?.setAttribute("tabindex", "0");
  const moves = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
  const onkeydown = (/** @type {KeyboardEvent} */ event) => {
    const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    if (!(event.key in moves) || at < 0) return;
    event.preventDefault();
    buttons[(at + moves[event.key] + buttons.length) % buttons.length].focus();
  };
  return el("div", { class: `segmented ${kind}`, role: "radiogroup", "aria-label": label, onkeydown }, ...buttons);
}

/**
 * Opens and closes a panel below a button: Escape and a click elsewhere close it, and the focus returns.
 * @param {HTMLElement} button
 * @param {HTMLElement} panel
 * @param {() => void} [opened]
 * @returns {() => void} Closes it.
 */
export function popover(button, panel, opened) {
  panel.hidden = true;
  button.setAttribute("aria-expanded", "false");
  const outside = (event) => {
    if (!panel.contains(event.target) && !button.contains(event.target)) close(false);
  };
  const close = (refocus = true) => {
    if (panel.hidden) return;
    panel.hidden = true;
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside);
    if (refocus) button.focus();
  };
  button.addEventListener("click", () => {
    if (!panel.hidden) return close();
    panel.hidden = false;
    button.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", outside);
    opened?.();
  });
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
  });
  panel.addEventListener("focusout", (event) => {
    const next = /** @type {Node | null} */ (event.relatedTarget);
    if (next && !panel.contains(next) && next !== button) close(false);
  });
  return close;
}
