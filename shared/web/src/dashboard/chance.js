/**
 * @file Separates real changes and broken limits from chance, so that noise is painted neither green nor red. Pure.
 *
 * A change: counts are compared as Poisson counts, rates as two proportions, both at three standard errors; a difference
 * of less than one per cent is never called a change, however many mails it rests on.
 *
 * A limit: the same exact binomial test and constants as in the server's detection, so that a figure is red where an
 * alert would fire. One bounce in 11 mails does not break a limit of 2%; 30 bounces in 500 mails do. The limit itself comes
 * from the catalogue.
 */

const ERRORS = 3;
const LEAST = 0.01;
const LEAST_DURATION = 0.05;
/** A limit is broken if so many events were less likely than this at a rate equal to the limit. */
const LEAST_DOUBT = 1e-4;
/** The fewest bad outcomes that can break a limit, by metric, as in the server's detection; 1 for all others. */
const LEAST_EVENTS = {
  delivery_rate: 8,
  net_delivery_rate: 8,
  bounce_rate: 8,
  hard_bounce_rate: 8,
  complaint_rate: 5,
  delivery_ms_p95: 20,
};
const BOUNCES = ["bounces_permanent", "bounces_transient"];
/** For rates that count good outcomes: the counts of bad ones, and of those among them that the rate counts as good. */
const FAILURES = {
  delivery_rate: { bad: BOUNCES, good: ["bounces_after_acceptance"] },
  net_delivery_rate: { bad: BOUNCES, good: [] },
};
/** Share of deliveries that may take longer than a limit on the 95th percentile. */
const SLOW_SHARE = 0.05;

/**
 * Whether a metric really changed.
 * @param {import("./metrics.js").Metric} metric
 * @param {Record<string, number | null>} now @param {Record<string, number | null>} before
 */
export function isReal(metric, now, before) {
  const [a, b] = [now[metric.name] ?? 0, before[metric.name] ?? 0];
  const relative = Math.abs(a - b) / Math.max(a, b, Number.MIN_VALUE);
  if (metric.unit === "milliseconds") return relative >= LEAST_DURATION;
  if (metric.unit === "count") return relative >= LEAST && Math.abs(a - b) > ERRORS * Math.sqrt(a + b);
  const [n, m] = [now[metric.denominator] ?? 0, before[metric.denominator] ?? 0];
  if (n === 0 || m === 0) return false;
  // The rarer side decides: 98% to 97% delivered is half as much lost again.
  const side = a > 0.5 ? (1 - a) / Math.max(1 - b, Number.MIN_VALUE) : a / Math.max(b, Number.MIN_VALUE);
  const pooled = (a * n + b * m) / (n + m);
  const error = Math.sqrt(Math.max(0, pooled * (1 - pooled)) * (1 / n + 1 / m));
  return Math.abs(side - 1) >= LEAST && Math.abs(a - b) > ERRORS * error;
}

/**
 * Compares a metric with its limit: `within` it, `beyond` it for certain, or past it in too little mail to say (`unsure`).
 * @param {import("./metrics.js").Metric} metric
 * @param {Record<string, number | null>} counts The metric itself and the counts it is made of.
 * @returns {"within" | "beyond" | "unsure"}
 */
export function standing(metric, counts) {
  const value = counts[metric.name] ?? null;
  if (!metric.limit || value === null) return "within";
  const { value: limit, side } = metric.limit;
  if (side === "above" ? value <= limit : value >= limit) return "within";
  const { events, mails, share } = evidence(metric, counts, limit);
  const enough = events >= (LEAST_EVENTS[metric.name] ?? 1) && events > share * mails;
  const proven = enough && upperTail(events, mails, share) < LEAST_DOUBT;
  return proven ? "beyond" : "unsure";
}

/** The number of bad outcomes, the number of mails, and the share of bad outcomes that the limit allows. */
function evidence(metric, counts, limit) {
  const count = (name) => counts[name] ?? 0;
  if (metric.unit === "milliseconds") {
    // Only percentiles are known: if the 90th is beyond the limit, at least a tenth of the mail is.
    const mails = count("deliveries");
    return { events: count("delivery_ms_p90") > limit ? 0.1 * mails : 0, mails, share: SLOW_SHARE };
  }
  const failures = FAILURES[metric.name];
  if (failures) {
    // Mail in flight has not failed, so it is left out.
    const sum = (names) => names.reduce((total, name) => total + count(name), 0);
    const events = Math.max(0, sum(failures.bad) - sum(failures.good));
    return { events, mails: count(metric.numerator) + events, share: 1 - limit };
  }
  if (metric.denominator) return { events: count(metric.numerator), mails: count(metric.denominator), share: limit };
  // A count, such as the queue depth, has no share of bad outcomes, so a limit on it is never proven broken.
  return { events: 0, mails: 0, share: 1 };
}

/** Probability of `hits` or more in `trials` at probability `chance` each. */
export function upperTail(hits, trials, chance) {
  if (hits <= 0 || chance >= 1) return 1;
  if (chance <= 0) return 0;
  return incompleteBeta(hits, Math.max(trials, hits) - hits + 1, chance);
}

/** The regularised incomplete beta function. */
function incompleteBeta(a, b, x) {
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x));
  return x < (a + 1) / (a + b + 2)
    ? (front * betaFraction(a, b, x)) / a
    : 1 - (front * betaFraction(b, a, 1 - x)) / b;
}

/** Lentz's continued fraction. The number of steps grows with the square root of the larger of `a` and `b`. */
function betaFraction(a, b, x) {
  const guard = (value) => (Math.abs(value) < 1e-300 ? 1e-300 : value);
  let above = 1;
  let below = 1 / guard(1 - ((a + b) * x) / (a + 1));
  let result = below;
  for (let m = 1; m < 10_000; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    for (const term of [even, odd]) {
      below = 1 / guard(1 + term * below);
      above = guard(1 + term / above);
      result *= below * above;
    }
    if (Math.abs(below * above - 1) < 1e-12) break;
  }
  return result;
}

/** The logarithm of the gamma function for `x > 0`: recurrence up to 12, then Stirling's series. */
function logGamma(x) {
  let shift = 0;
  let y = x;
  for (; y < 12; y++) shift += Math.log(y);
  const square = 1 / (y * y);
  const series = (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680))) / y;
  return (y - 0.5) * Math.log(y) - y + 0.5 * Math.log(2 * Math.PI) + series - shift;
}
