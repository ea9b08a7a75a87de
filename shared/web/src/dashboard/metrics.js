/**
 * @file Which metrics the dashboard shows where, and how they look. What a metric means (its label, unit, direction, the counts it
 * is made of and the limit on it) comes from `GET /v1/metrics/catalogue`, so that it is declared once, on the server. This file
 * computes no metric.
 */

/**
 * A metric of the catalogue, and how it looks.
 * @typedef {object} Metric
 * @property {string} name The name in queries and replies.
 * @property {string} label
 * @property {string} description
 * @property {"count" | "fraction" | "milliseconds"} unit
 * @property {string} formula
 * @property {"higher" | "lower" | "none"} direction The direction that is better.
 * @property {string | null} numerator Null unless the metric is a rate; so is `denominator`.
 * @property {string | null} denominator
 * @property {{ value: number, side: "above" | "below" } | null} limit The limit for the mail being shown; values on this side
 * break it.
 * @property {string} tone The class that colours it.
 * @property {number} digits Digits after the point, for fractions.
 * @property {boolean} nearOne Whether values are usually so close to 1 that an axis from 0 would show nothing.
 */

/** How a metric looks unless {@link LOOKS} says otherwise. */
const DEFAULT_LOOK = { tone: "accent", digits: 2, nearOne: false };

const LOOKS = {
  deliveries: { tone: "delivery" },
  bounces: { tone: "bounce" },
  complaints: { tone: "complaint" },
  delivery_rate: { tone: "delivery", nearOne: true },
  net_delivery_rate: { tone: "delivery", nearOne: true },
  bounce_rate: { tone: "bounce" },
  hard_bounce_rate: { tone: "complaint" },
  // Its limits are near 0.1%, where two digits hide half of what matters.
  complaint_rate: { tone: "complaint", digits: 3 },
  open_rate: { digits: 1 },
  click_rate: { tone: "second" },
  delivery_ms_p50: { tone: "second" },
  queue_depth: { tone: "second" },
};

/** @type {Map<string, Metric>} The catalogue in use; empty until {@link useMetrics} is called. */
let metrics = new Map();

/**
 * Reads a reply of the catalogue.
 * @param {{ metrics: { name: string, numerator: string | null, denominator: string | null }[] }} catalogue
 * @returns {Map<string, Metric>}
 * @throws {Error} If a metric that is shown somewhere is missing: labels must never be blank.
 */
export function metricsOf(catalogue) {
  if (!Array.isArray(catalogue?.metrics)) throw new Error("the reply holds no list of metrics");
  const found = new Map(
    catalogue.metrics.map((entry) => [
      entry.name,
      /** @type {Metric} */ ({ ...entry, ...DEFAULT_LOOK, ...LOOKS[entry.name] }),
    ]),
  );
  const shown = [...TILES.map((tile) => tile.metric), ...[...SETS.values()].flatMap((set) => set.metrics), ...COLUMNS];
  for (const name of shown) {
    const counts = [found.get(name)?.numerator, found.get(name)?.denominator].filter(Boolean);
    const missing = [name, ...counts].find((needed) => !found.has(needed));
    if (missing) throw new Error(`it has no metric ${missing}`);
  }
  return found;
}

/** Makes {@link metric} answer from these metrics. Metrics handed out before keep the limits they had. */
export function useMetrics(/** @type {Map<string, Metric>} */ found) {
  metrics = found;
}

/** A metric of the catalogue in use. */
export function metric(/** @type {string} */ name) {
  const found = metrics.get(name);
  if (!found) throw new Error(`the catalogue in use has no metric ${name}`);
  return found;
}

/** What the main chart can show. The first metric has the ghost of the period before; `stacked` ones are columns. */
export const SETS = new Map([
  ["volume", { label: "Volume", metrics: ["sends", "deliveries", "bounces"], stacked: ["deliveries", "bounces"] }],
  ["delivery", { label: "Delivery", metrics: ["delivery_rate"] }],
  ["bounces", { label: "Bounces", metrics: ["bounce_rate", "hard_bounce_rate"] }],
  ["complaints", { label: "Complaints", metrics: ["complaint_rate"] }],
  ["engagement", { label: "Engagement", metrics: ["open_rate", "click_rate"] }],
  ["latency", { label: "Delivery time", metrics: ["delivery_ms_p95", "delivery_ms_p50"] }],
  ["in_flight", { label: "In flight", metrics: ["in_flight", "queue_depth"] }],
]);

/** The set that shows a metric, if any. */
export function setOf(/** @type {string} */ name) {
  return [...SETS].find(([, set]) => set.metrics.includes(name))?.[0];
}

/** The tiles, and the set that each opens in the chart. */
export const TILES = [
  { metric: "sends", set: "volume" },
  { metric: "delivery_rate", set: "delivery" },
  { metric: "bounce_rate", set: "bounces" },
  { metric: "complaint_rate", set: "complaints" },
  { metric: "open_rate", set: "engagement" },
  { metric: "click_rate", set: "engagement" },
  { metric: "in_flight", set: "in_flight" },
  { metric: "delivery_ms_p95", set: "latency" },
];

/** The columns of the breakdown after the name. */
export const COLUMNS = [
  "sends",
  "delivery_rate",
  "bounce_rate",
  "complaint_rate",
  "open_rate",
  "click_rate",
  "delivery_ms_p95",
];

/** What the mail can be broken down by. By send cohort only campaign and provider are kept. */
export const DIMENSIONS = new Map([
  ["tenant", { label: "Tenant", cohort: true }],
  ["provider", { label: "Provider", cohort: true }],
  ["campaign", { label: "Campaign", cohort: true }],
  ["segment", { label: "Segment", cohort: false }],
  ["recipient_domain", { label: "Recipient domain", cohort: false }],
  ["sending_domain", { label: "Sending domain", cohort: false }],
  ["configuration_set", { label: "Configuration set", cohort: false }],
]);

/**
 * Bounce reasons: the API's name after `bounces_`, and the words for it under the heading "Why mail bounced". The catalogue's labels
 * (`Bounces: spam block`) are made to stand alone.
 */
export const REASONS = [
  ["invalid_recipient", "Invalid recipient"],
  ["invalid_domain", "Invalid domain"],
  ["mailbox_full", "Mailbox full"],
  ["spam_block", "Blocked as spam"],
  ["reputation_block", "Blocked for reputation"],
  ["authentication", "Authentication failed"],
  ["policy_block", "Blocked by policy"],
  ["rate_limit", "Rate limited"],
  ["message_too_large", "Message too large"],
  ["content_rejected", "Content rejected"],
  ["server_error", "Server error"],
  ["connection", "Connection failed"],
  ["expired", "Gave up after retries"],
  ["suppressed", "On a suppression list"],
  ["configuration", "Receiver misconfigured"],
  ["unknown", "Unknown"],
];
