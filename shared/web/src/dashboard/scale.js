/**
 * @file Axes: round steps for numbers and for times. Pure arithmetic, no drawing.
 */

/**
 * Round ticks that span the values.
 * @param {{ low: number, high: number, wanted: number, unit: "count" | "fraction" | "milliseconds" }} input
 * @returns {number[]} Ascending, at least two; the first is at or below `low`, the last at or above `high`.
 */
export function valueTicks({ low, high, wanted, unit }) {
  const span = high - low || Math.abs(high) || 1;
  let step = unit === "milliseconds" ? timeStep(span / wanted) : roundStep(span / wanted);
  if (unit === "count") step = Math.max(1, step);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  const ticks = [];
  for (let index = first; index <= last; index++) ticks.push(Number((index * step).toPrecision(12)));
  return ticks;
}

/** The smallest of 1, 2, 5 times a power of ten that is at least `least`. */
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  for (const factor of [1, 2, 5, 10]) if (factor * power >= least * 0.999) return factor * power;
  return 10 * power;
}

const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400].map(
  (seconds) => seconds * 1000,
);

function timeStep(least) {
  if (least < 1000) return roundStep(least);
  return TIME_STEPS.find((step) => step >= least) ?? roundStep(least);
}

const MINUTE = 60_000;
const DAY = 1440 * MINUTE;
const CLOCK_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 480, 720].map((minutes) => minutes * MINUTE);
const DAY_STEPS = [1, 2, 3, 7, 14, 28];

/**
 * Bucket starts to write under the axis, at round times of the zone.
 * @param {number[]} times Bucket starts, ascending.
 * @param {number} wanted At most this many.
 * @param {(time: number) => number} minuteOfDay The minute of the day, in the zone that is shown.
 * @returns {{ time: number, midnight: boolean }[]}
 */
export function timeTicks(times, wanted, minuteOfDay) {
  if (times.length === 0) return [];
  const span = times[times.length - 1] - times[0];
  const clockStep = CLOCK_STEPS.find((step) => span / step <= wanted);
  if (clockStep && span < 3 * DAY) {
    const minutes = clockStep / MINUTE;
    return times
      .filter((time) => minuteOfDay(time) % minutes === 0)
      .map((time) => ({ time, midnight: minuteOfDay(time) === 0 }));
  }
  const midnights = times.filter((time) => minuteOfDay(time) === 0);
  const every = DAY_STEPS.find((days) => midnights.length / days <= wanted) ?? Math.ceil(midnights.length / wanted);
  return midnights
    .filter((_, index) => (midnights.length - 1 - index) % every === 0)
    .map((time) => ({ time, midnight: true }));
}
