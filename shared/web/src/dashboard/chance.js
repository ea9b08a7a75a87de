/**
 * @file Whether a difference to the period before is more than chance, so that noise is not painted green or red.
 * Pure. Counts are compared as Poisson counts, rates as two proportions, both at three standard errors; a difference
 * of less than one per cent is never called a change, however many mails it rests on.
 * A limit counts as passed if chance alone would rarely carry a rate at the limit so far: one bounce in 13 mails is no alarm.
 */

const ERRORS = 3;
/** One-sided, 95%. */
const LIMIT_ERRORS = 1.64;
const LEAST = 0.01;
const LEAST_DURATION = 0.05;

/**
 * Whether a metric really changed.
 * @param {import("./metrics.js").Metric} metric
 * @param {Record<string, number | null>} now @param {Record<string, number | null>} before
 */
export function isReal(metric, now, before) {
  const [a, b] = [now[metric.name] ?? 0, before[metric.name] ?? 0];
  const relative = Math.abs(a - b) / Math.max(a, b, Number.MIN_VALUE);
  if (metric.kind === "duration") return relative >= LEAST_DURATION;
  if (metric.kind === "count") return relative >= LEAST && Math.abs(a - b) > ERRORS * Math.sqrt(a + b);
  const [n, m] = metric.of ? [now[metric.of[1]] ?? 0, before[metric.of[1]] ?? 0] : [0, 0];
  if (n === 0 || m === 0) return false;
  // The rarer side decides: 98% to 97% delivered is half as much lost again.
  const side = a > 0.5 ? (1 - a) / Math.max(1 - b, Number.MIN_VALUE) : a / Math.max(b, Number.MIN_VALUE);
  const pooled = (a * n + b * m) / (n + m);
  const error = Math.sqrt(Math.max(0, pooled * (1 - pooled)) * (1 / n + 1 / m));
  return Math.abs(side - 1) >= LEAST && Math.abs(a - b) > ERRORS * error;
}

/**
 * Whether a rate lies beyond its limit.
 * @param {import("./metrics.js").Metric} metric
 * @param {Record<string, number | null>} counts The rate itself and, if known, its denominator.
 */
export function isBeyond(metric, counts) {
  const value = counts[metric.name] ?? null;
  if (!metric.limit || value === null) return false;
  const { value: limit, side } = metric.limit;
  const mails = metric.of ? (counts[metric.of[1]] ?? 0) : 0;
  const slack = mails > 0 ? LIMIT_ERRORS * Math.sqrt((limit * (1 - limit)) / mails) : 0;
  return side === "above" ? value > limit + slack : value < limit - slack;
}
