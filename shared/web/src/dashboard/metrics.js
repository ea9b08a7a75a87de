/**
 * @file Describes each metric for the dashboard: its name, how it is written, which direction is good and which counts
 * it is made of. Names and denominators are those of the query API; nothing is computed here. Limits are the reader's own
 * and come from the server's catalogue.
 */

/**
 * @typedef {object} Metric
 * @property {string} name The API's name.
 * @property {string} label
 * @property {"count" | "rate" | "duration"} kind
 * @property {string} tone The class that colours it.
 * @property {"up" | "down" | "none"} better Which direction is good.
 * @property {number} [digits] Digits after the point, for rates.
 * @property {[string, string]} [of] Numerator and denominator.
 * @property {string[]} [failed] The counts of failures, for a rate that should be high.
 * @property {number} [least] The fewest events that can break a limit, as in the server's detection.
 * @property {boolean} [nearOne] Usually so close to 1 that an axis from 0 would show nothing.
 * @property {{ value: number, side: "above" | "below" } | null} [limit] Values on this side break it; set by {@link learnLimits}.
 */

const LIST = [
  { name: "sends", label: "Sends", kind: "count", tone: "accent", better: "none" },
  { name: "deliveries", label: "Deliveries", kind: "count", tone: "delivery", better: "up" },
  { name: "bounces", label: "Bounces", kind: "count", tone: "bounce", better: "down" },
  { name: "complaints", label: "Complaints", kind: "count", tone: "complaint", better: "down" },
  { name: "unique_opens", label: "Unique opens", kind: "count", tone: "accent", better: "up" },
  { name: "unique_clicks", label: "Unique clicks", kind: "count", tone: "second", better: "up" },
  { name: "in_flight", label: "In flight", kind: "count", tone: "accent", better: "none" },
  {
    name: "delivery_rate",
    label: "Delivery rate",
    kind: "rate",
    tone: "delivery",
    better: "up",
    digits: 2,
    of: ["deliveries", "sends"],
    failed: ["bounces_permanent", "bounces_transient"],
    least: 8,
    nearOne: true,
  },
  {
    name: "bounce_rate",
    label: "Bounce rate",
    kind: "rate",
    tone: "bounce",
    better: "down",
    digits: 2,
    of: ["bounces", "sends"],
    least: 8,
  },
  {
    name: "hard_bounce_rate",
    label: "Hard bounce rate",
    kind: "rate",
    tone: "complaint",
    better: "down",
    digits: 2,
    of: ["hard_bounces", "sends"],
    least: 8,
  },
  {
    name: "complaint_rate",
    label: "Complaint rate",
    kind: "rate",
    tone: "complaint",
    better: "down",
    digits: 3,
    of: ["complaints", "deliveries"],
    least: 5,
  },
  {
    name: "open_rate",
    label: "Open rate",
    kind: "rate",
    tone: "accent",
    better: "up",
    digits: 1,
    of: ["unique_opens", "deliveries"],
  },
  {
    name: "click_rate",
    label: "Click rate",
    kind: "rate",
    tone: "second",
    better: "up",
    digits: 2,
    of: ["unique_clicks", "deliveries"],
  },
  { name: "delivery_ms_p50", label: "Median", kind: "duration", tone: "second", better: "down" },
  {
    name: "delivery_ms_p95",
    label: "Delivery time p95",
    kind: "duration",
    tone: "accent",
    better: "down",
    least: 20,
  },
  { name: "queue_depth", label: "Waiting at the sender", kind: "count", tone: "second", better: "down" },
];

/** @type {Map<string, Metric>} */
export const METRICS = new Map(LIST.map((metric) => [metric.name, /** @type {Metric} */ (metric)]));

/**
 * Stores the limits that apply to the mail being shown.
 * @param {{ metrics: { name: string, limit: { value: number, side: "above" | "below" } | null }[] } | undefined} catalogue
 * Undefined if it could not be loaded: then no limit is drawn and no figure is compared with one.
 */
export function learnLimits(catalogue) {
  const limits = new Map(catalogue?.metrics.map(({ name, limit }) => [name, limit]));
  for (const metric of METRICS.values()) metric.limit = limits.get(metric.name) ?? null;
}

/** A metric that is known to exist. */
export function metric(name) {
  const found = METRICS.get(name);
  if (!found) throw new Error(`metrics.js has no metric ${name}`);
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

/** Bounce reasons: the API's name after `bounces_` and a label. */
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
