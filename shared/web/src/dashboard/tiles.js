/**
 * @file The key figures: value, change against the period before, shape, and on hover or focus the counts behind a
 * rate. A tile is a button that shows its metric in the chart. A figure beyond the reader's limit says so in words,
 * not by colour only; one that may be past it by chance says so instead.
 */

import { isReal, standing } from "./chance.js";
import { el, icon, refill } from "./dom.js";
import * as format from "./format.js";
import { metric, TILES } from "./metrics.js";
import { sparkline } from "./sparkline.js";

/** The lowest value in the sparkline of a rate close to 1 that has no limit. */
const NEAR_ONE = 0.9;
export const NOT_REPORTED =
  "Gmail and Apple report no complaints to SES, so a rate of zero would mean nothing. Gmail shows its own in Postmaster Tools.";

/** Whether a row has no value of a metric because its providers do not report it. */
export function notReported(row, name) {
  return row.reasons?.[name] === "not_reported";
}

/** The text for a figure that may be past its limit by chance. */
export function unsureText(of) {
  const { value, side } = /** @type {{ value: number, side: string }} */ (of.limit);
  return `${side === "above" ? "Above" : "Below"} the limit of ${format.limit(of, value)}, but in too little mail to rule out chance`;
}

/** Placeholders until the first numbers. Before the catalogue is there, they only keep the space of the tiles. */
export function tilesLoading(/** @type {HTMLElement} */ host, /** @type {boolean} */ labelled) {
  refill(
    host,
    ...TILES.map((tile) =>
      el("div", { class: "tile loading" }, el("span", { class: "tile-label" }, labelled ? metric(tile.metric).label : "\u00a0")),
    ),
  );
}

/**
 * Shows the figures.
 * @param {HTMLElement} host
 * @param {{ metrics: Record<string, number | null>, previous?: Record<string, number | null>, reasons?: Record<string, string> }} row
 * @param {Map<string, (number | null)[]> | null} series
 * @param {{ show: string, select: (set: string) => void }} options
 */
export function showTiles(host, row, series, options) {
  const picked = TILES.find((tile) => tile.set === options.show)?.metric;
  refill(
    host,
    ...TILES.map((entry) =>
      tile(metric(entry.metric), entry.set, row, series, {
        ...options,
        current: entry.metric === picked || entry.set === options.show,
      }),
    ),
  );
}

function tile(of, set, row, series, { current, select }) {
  const value = row.metrics[of.name] ?? null;
  const stands = standing(of, row.metrics);
  const beyond = stands === "beyond";
  const unreported = notReported(row, of.name);
  const id = `tip-${of.name}`;
  const values = series?.get(of.name) ?? [];
  const tone = beyond ? "complaint" : of.tone;
  return el(
    "div",
    { class: `tile${beyond ? " beyond" : ""}${current ? " current" : ""}` },
    el(
      "button",
      {
        class: "tile-button",
        type: "button",
        "data-key": of.name,
        "data-metric": of.name,
        "aria-pressed": String(current),
        "aria-describedby": id,
        onclick: () => select(set),
      },
      el(
        "span",
        { class: "tile-label" },
        of.label,
        beyond && el("span", { class: "badge" }, icon("alert"), limitText(of)),
        stands === "unsure" && el("span", { class: "badge unsure" }, "too few to say"),
      ),
      el(
        "span",
        { class: "tile-figure" },
        el(
          "span",
          { class: `tile-value${unreported ? " words" : ""}` },
          unreported ? "not reported" : format.value(of, value, "tile"),
        ),
        changePill(of, row),
      ),
    ),
    // The newest bucket still fills, so it would always seem to fall.
    sparkline(values.slice(0, -1), { tone, base: of.nearOne ? (of.limit?.value ?? NEAR_ONE) : 0 }),
    tip(of, id, row, { stands, unreported }),
  );
}

function changePill(of, row) {
  const change = format.change(of, row.metrics[of.name], row.previous?.[of.name]);
  if (!change) return null;
  if (change.direction === "same") return el("span", { class: "change same" }, "no change");
  const judged = of.direction !== "none" && isReal(of, row.metrics, row.previous);
  const better = of.direction === "higher" ? "up" : "down";
  const good = !judged ? "" : change.direction === better ? " good" : " bad";
  const word = change.direction === "up" ? "up" : "down";
  return el(
    "span",
    { class: `change${good}` },
    icon(change.direction === "up" ? "up" : "fall"),
    el("span", { class: "sr" }, word),
    change.text,
  );
}

function limitText(of) {
  return `${of.limit.side === "above" ? "over" : "under"} ${format.limit(of, of.limit.value)}`;
}

function tip(of, id, row, { stands, unreported }) {
  const lines = [];
  const note = unreported ? NOT_REPORTED : stands === "unsure" ? unsureText(of) : null;
  if (of.denominator) {
    for (const name of [of.numerator, of.denominator]) lines.push([metric(name).label, format.exact(row.metrics[name])]);
  } else if (of.unit === "count") lines.push(["Exactly", format.exact(row.metrics[of.name])]);
  const before = row.previous?.[of.name];
  if (before !== null && before !== undefined) lines.push(["Period before", format.value(of, before)]);
  if (of.limit)
    lines.push([
      of.limit.side === "above" ? "Keep below" : "Keep above",
      format.limit(of, of.limit.value),
    ]);
  return el(
    "div",
    { class: "tile-tip", id, role: "tooltip" },
    note && el("span", { class: "tip-note" }, note),
    ...lines.map(([name, text]) => el("span", { class: "tip-row" }, el("span", {}, name), el("b", {}, text))),
  );
}
