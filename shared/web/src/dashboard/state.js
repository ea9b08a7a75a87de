/**
 * @file What the reader looks at, kept in the address so that a link, a reload and the back button all show the same
 * thing. An address may come from anybody: every part is checked, and what is not understood falls back to the
 * default. The key of a sign-in link and the theme are never part of it.
 */

import { COLUMNS, DIMENSIONS, SETS } from "./metrics.js";
import { PRESETS, STEPS } from "./period.js";

/**
 * @typedef {object} State
 * @property {string} range One of the presets, or `custom`.
 * @property {number} from Milliseconds; for `custom` only.
 * @property {number} to Milliseconds; for `custom` only.
 * @property {string} tenant Empty for all tenants, or the key's own.
 * @property {"event" | "send"} basis
 * @property {{ dimension: string, value: string }[]} filters
 * @property {string} by The dimension of the breakdown.
 * @property {string} show The metric set of the chart.
 * @property {string} step The chart's granularity, or `auto`.
 * @property {string} sort A column, with `-` in front for descending. Sorts all rows, not only those shown.
 * @property {string} find A text that the names of the rows must contain; empty for all.
 * @property {number} top Rows on a page of the breakdown.
 * @property {string} alert The alert that a message pointed to; empty for none.
 */

const MAX_FILTERS = 20;
const MAX_VALUE = 256;
/** In characters. The server accepts 256 bytes, and a character may take several. */
const MAX_FIND = 60;
export const TOPS = [20, 50, 100, 500];

/** @type {State} */
const DEFAULTS = {
  range: "24h",
  from: 0,
  to: 0,
  tenant: "",
  basis: "event",
  filters: [],
  by: "provider",
  show: "volume",
  step: "auto",
  sort: "-sends",
  find: "",
  top: TOPS[0],
  alert: "",
};

/** Reads a state from the query part of an address. */
export function parse(/** @type {string} */ search) {
  const query = new URLSearchParams(search);
  const state = { ...DEFAULTS, filters: [] };
  const from = Date.parse(query.get("from") ?? "");
  const to = Date.parse(query.get("to") ?? "");
  const range = query.get("range") ?? "";
  if (PRESETS.has(range)) state.range = range;
  else if (from < to) Object.assign(state, { range: "custom", from, to });
  state.tenant = (query.get("tenant") ?? "").slice(0, MAX_VALUE);
  if (query.get("basis") === "send") state.basis = "send";
  for (const text of query.getAll("f").slice(0, MAX_FILTERS)) {
    const colon = text.indexOf(":");
    const dimension = text.slice(0, colon);
    if (colon < 1 || !DIMENSIONS.has(dimension) || dimension === "tenant") continue;
    state.filters.push({ dimension, value: text.slice(colon + 1, colon + 1 + MAX_VALUE) });
  }
  choose(state, query, "by", DIMENSIONS);
  choose(state, query, "show", SETS);
  choose(state, query, "step", STEPS);
  const sort = query.get("sort") ?? "";
  if (["name", ...COLUMNS].includes(sort.replace(/^-/, ""))) state.sort = sort;
  state.find = (query.get("find") ?? "").slice(0, MAX_FIND);
  if (/^al_[a-z0-9]{1,60}$/.test(query.get("alert") ?? "")) state.alert = query.get("alert");
  if (TOPS.includes(Number(query.get("top")))) state.top = Number(query.get("top"));
  return fit(state);
}

function choose(state, query, name, known) {
  const value = query.get(name);
  if (value !== null && known.has(value)) state[name] = value;
}

/** Drops what the basis does not know: send cohorts are kept by campaign and provider only. */
function fit(state) {
  if (state.basis !== "send") return state;
  state.filters = state.filters.filter(({ dimension }) => DIMENSIONS.get(dimension)?.cohort);
  if (!DIMENSIONS.get(state.by)?.cohort) state.by = DEFAULTS.by;
  return state;
}

/** The query part of the address of a state; what is at its default is left out. */
export function format(/** @type {State} */ state) {
  const query = new URLSearchParams();
  if (state.range === "custom") {
    query.set("from", new Date(state.from).toISOString());
    query.set("to", new Date(state.to).toISOString());
  }
  for (const name of ["range", "tenant", "basis", "by", "show", "step", "sort", "find", "top", "alert"]) {
    if (state[name] !== DEFAULTS[name] && state[name] !== "custom") query.set(name, String(state[name]));
  }
  for (const { dimension, value } of state.filters) query.append("f", `${dimension}:${value}`);
  const text = query.toString().replaceAll("%3A", ":");
  return text ? `?${text}` : "";
}

/** The state after a change; a value that does not fit the others is put right. */
export function changed(/** @type {State} */ state, /** @type {Partial<State>} */ change) {
  return fit({ ...state, ...change });
}

/** The state with one value filtered for, or no longer if it was. */
export function toggleFilter(/** @type {State} */ state, dimension, value) {
  const rest = state.filters.filter((filter) => filter.dimension !== dimension || filter.value !== value);
  const added = rest.length === state.filters.length && rest.length < MAX_FILTERS;
  return changed(state, { filters: added ? [...rest, { dimension, value }] : rest });
}
