/**
 * @file What is chosen for everything below it: range, clock, and the filters as chips. It reports changes; it keeps none.
 */

import { el, icon, refill } from "./dom.js";
import * as format from "./format.js";
import { DIMENSIONS } from "./metrics.js";
import { popover, segmented } from "./menus.js";
import { PRESETS } from "./period.js";

const BASES = [
  { name: "event", label: "By event", title: "Each event counts when it happened" },
  { name: "send", label: "By send", title: "Each outcome counts when its message was sent, so that rates are of the same mail" },
];

/**
 * Shows the range, the clock and the zone.
 * @param {HTMLElement} host
 * @param {import("./state.js").State} state
 * @param {import("./period.js").Period} period
 * @param {(change: Partial<import("./state.js").State>) => void} change
 */
export function showControls(host, state, period, change) {
  const presets = [...PRESETS].map(([name, { label, title }]) => ({ name, label, title }));
  const ranges = segmented({ label: "Range", options: presets, value: state.range, choose: (range) => change({ range }) });
  const zone = format.offset(period.to, period.zone);
  const named = period.zone === "UTC" ? "UTC" : `${period.zone.replaceAll("_", " ")} (${zone})`;
  refill(host,
    el("div", { class: "range" }, ranges, customRange(state, period, change)),
    segmented({ label: "Count by", options: BASES, value: state.basis, choose: (basis) => change({ basis: basis === "send" ? "send" : "event" }) }),
    el("p", { class: "zone" }, el("span", { class: "span" }, format.span(period.from, period.to, period.zone)), el("span", {}, `Times in ${named}`)));
}

function customRange(state, period, change) {
  const custom = state.range === "custom";
  const button = el("button", { class: `button range-custom${custom ? " chosen" : ""}`, type: "button", "aria-haspopup": "dialog", "data-key": "custom" }, icon("calendar"), "Custom");
  const from = el("input", { type: "datetime-local", required: true, name: "from" });
  const to = el("input", { type: "datetime-local", required: true, name: "to" });
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const form = el("form", {
    class: "range-form",
    onsubmit: (event) => {
      event.preventDefault();
      const start = fromField(from.value, period.zone);
      const end = fromField(to.value, period.zone);
      problem.hidden = start < end;
      problem.textContent = "The end must be later than the start.";
      if (!(start < end)) return;
      close();
      change({ range: "custom", from: start, to: end });
    },
  }, el("label", {}, "From", from), el("label", {}, "To", to), problem, el("button", { class: "button primary", type: "submit" }, "Show"));
  const panel = el("div", { class: "panel", role: "dialog", "aria-label": "Custom range" }, form);
  const close = popover(button, panel, () => {
    from.value = toField(period.from, period.zone);
    to.value = toField(period.to, period.zone);
    problem.hidden = true;
    from.focus();
  });
  return el("div", { class: "picker" }, button, panel);
}

/** A time for a `datetime-local` field: its wall clock in the zone shown. */
function toField(time, zone) {
  const shift = zone === "UTC" ? 0 : new Date(time).getTimezoneOffset() * 60_000;
  return new Date(time - shift).toISOString().slice(0, 16);
}

function fromField(text, zone) {
  return Date.parse(zone === "UTC" ? `${text}Z` : text);
}

/** Keeps the written range up to date, without touching what is being chosen. */
export function showSpan(/** @type {HTMLElement} */ host, period) {
  const span = host.querySelector(".zone .span");
  if (span) span.textContent = format.span(period.from, period.to, period.zone);
}

/** The filters, each with a button that removes it. */
export function showChips(/** @type {HTMLElement} */ host, state, toggle, clear) {
  host.hidden = state.filters.length === 0;
  const chips = state.filters.map(({ dimension, value }) => {
    const label = DIMENSIONS.get(dimension)?.label ?? dimension;
    const text = value === "" ? "(none)" : value;
    return el("span", { class: "chip" }, el("span", { class: "chip-name" }, label), el("span", { class: "chip-value", dir: "auto" }, text),
      el("button", { type: "button", "aria-label": `Remove the filter ${label} ${text}`, "data-key": `chip-${dimension}-${value}`, onclick: () => toggle(dimension, value) }, icon("close")));
  });
  const all = state.filters.length > 1 && el("button", { class: "link", type: "button", "data-key": "clear", onclick: clear }, "Clear all");
  refill(host, ...chips, all);
}
