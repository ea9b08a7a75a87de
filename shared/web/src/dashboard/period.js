/**
 * @file Turns the chosen range into the exact times that are asked for. Figures cover the range up to this minute; the chart
 * covers whole buckets of the same length, so that the ghost of the period before lies at the same hour of the day.
 * Pure: `now` is given.
 */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The ranges that can be picked: name, how long, and the chart's granularity. */
export const PRESETS = new Map([
  ["1h", { label: "1 h", title: "Last hour", length: HOUR, step: "1m" }],
  ["6h", { label: "6 h", title: "Last 6 hours", length: 6 * HOUR, step: "5m" }],
  ["24h", { label: "24 h", title: "Last 24 hours", length: DAY, step: "15m" }],
  ["7d", { label: "7 d", title: "Last 7 days", length: 7 * DAY, step: "1h" }],
  ["30d", { label: "30 d", title: "Last 30 days", length: 30 * DAY, step: "1d" }],
  ["90d", { label: "90 d", title: "Last 90 days", length: 90 * DAY, step: "1d" }],
]);

/** Granularities of the chart, in milliseconds. */
export const STEPS = new Map([["auto", 0], ["1m", MINUTE], ["5m", 5 * MINUTE], ["15m", 15 * MINUTE], ["1h", HOUR], ["1d", DAY]]);

const MAX_POINTS = 1500;
const GOOD_POINTS = 140;
const SPARK_POINTS = 170;
/** Minutes are kept this long, less a day of margin; what reaches further back, the period before included, is asked for by whole hours. */
const MINUTES_KEPT = 29 * DAY;
/** By-the-day history older than this has lost its hours, so that only UTC days are exact. */
const HOURS_KEPT = 400 * DAY;

/**
 * @typedef {object} Period
 * @property {number} from Start of the figures. @property {number} to End of the figures.
 * @property {number} chartFrom @property {number} chartTo
 * @property {string} step The chart's granularity. @property {number} stepMs
 * @property {string} sparkStep The tiles' granularity.
 * @property {string[]} steps What the chart's granularity may be.
 * @property {string} zone For days and for what is written.
 */

/** The times to ask for. */
export function period(/** @type {import("./state.js").State} */ state, now, localZone) {
  const preset = PRESETS.get(state.range);
  const length = preset ? preset.length : state.to - state.from;
  // Send cohorts are kept by the hour.
  const least = state.basis === "send" ? HOUR : MINUTE;
  const grain = Math.max(least, grainOf(now - (preset ? now : state.to) + 2 * length));
  // Mail of the running hour is too young to have outcomes, and only whole hours compare fairly.
  const to = preset && state.basis === "send" ? down(now, grain) : up(preset ? now : state.to, grain);
  const from = preset ? to - length : down(state.from, grain);
  const zone = dayZone(from, to, now, localZone);
  const step = stepFor(state.step, preset?.step, to - from, least);
  const stepMs = /** @type {number} */ (STEPS.get(step));
  return { from, to, ...whole(from, to, step, zone), step, stepMs, sparkStep: firstStep(to - from, SPARK_POINTS, least), steps: stepsFor(to - from, least), zone };
}

/** The granularities that make sense for a range. */
function stepsFor(length, least) {
  return [...STEPS].filter(([name, ms]) => name === "auto" || (ms >= least && length / ms <= MAX_POINTS && length / ms >= 2)).map(([name]) => name);
}

function stepFor(asked, presetStep, length, least) {
  if (asked !== "auto" && stepsFor(length, least).includes(asked)) return asked;
  if (presetStep && (STEPS.get(presetStep) ?? 0) >= least) return presetStep;
  return firstStep(length, GOOD_POINTS, least);
}

function firstStep(length, points, least) {
  for (const [name, ms] of STEPS) if (ms >= least && length / ms <= points) return name;
  return "1d";
}

/** Whole buckets that end with the one `to` lies in, as long as the range. */
function whole(from, to, step, zone) {
  const ms = /** @type {number} */ (STEPS.get(step));
  if (step !== "1d") {
    const end = up(to, ms);
    return { chartFrom: down(end - (to - from), ms), chartTo: end };
  }
  const end = zone === "UTC" ? up(to, DAY) : localDay(to, 1);
  const days = Math.max(1, Math.round((to - from) / DAY));
  return { chartFrom: zone === "UTC" ? end - days * DAY : localDay(end, -days), chartTo: end };
}

/** The start of the browser's day that lies `days` after the one of `time`. */
function localDay(time, days) {
  const date = new Date(days > 0 ? time - 1 : time);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).getTime();
}

/** Days of zones that are not whole hours from UTC, and very old days, are only kept as UTC days. */
function dayZone(from, to, now, localZone) {
  const odd = [from, to].some((time) => new Date(time).getTimezoneOffset() % 60 !== 0);
  return odd || now - from + (to - from) > HOURS_KEPT ? "UTC" : localZone;
}

function grainOf(oldest) {
  if (oldest > HOURS_KEPT) return DAY;
  return oldest > MINUTES_KEPT ? HOUR : MINUTE;
}

function up(time, ms) {
  return Math.ceil(time / ms) * ms;
}

function down(time, ms) {
  return Math.floor(time / ms) * ms;
}
