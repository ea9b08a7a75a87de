/**
 * @file The requests of one refresh, at most seven, and how their replies are read. Pure, except that the order of the breakdown
 * depends on the catalogue in use. It asks for rates by name and never computes one: sums and denominators are the server's.
 */

import { COLUMNS, DIMENSIONS, metric, REASONS, SETS, TILES } from "./metrics.js";

const TOTALS = [
  "sends",
  "deliveries",
  "bounces",
  "hard_bounces",
  "bounces_permanent",
  "bounces_transient",
  // Mail that was delivered all the same, which a limit on the delivery rate leaves out of the bounces.
  "bounces_after_acceptance",
  "complaints",
  "unique_opens",
  "unique_clicks",
  // Needed to compare delivery times with a limit on the 95th percentile.
  "delivery_ms_p90",
];
/** The call for the metrics, with the limits that apply to the mail being shown. */
export const CATALOGUE = "v1/metrics/catalogue";

/** What the counts by reason are called. */
export const REASON_METRICS = REASONS.map(([name]) => `bounces_${name}`);

/**
 * The bodies of the queries by name.
 * @param {import("./state.js").State} state
 * @param {import("./period.js").Period} period
 */
export function questions(state, period) {
  const common = { basis: state.basis, timezone: period.zone, ...filterOf(state.filters) };
  const figures = { ...common, from: iso(period.from), to: iso(period.to) };
  const tiles = TILES.map((tile) => tile.metric);
  const set = /** @type {{ metrics: string[] }} */ (SETS.get(state.show)).metrics;
  const each = (...names) => [...new Set(names)];
  return {
    totals: { ...figures, metrics: each(...tiles, ...TOTALS), granularity: "total", compare: "previous_period" },
    sparks: { ...figures, metrics: each(...tiles), granularity: period.sparkStep, fill: "zero" },
    chart: {
      ...common,
      from: iso(period.chartFrom),
      to: iso(period.chartTo),
      metrics: each(...set),
      granularity: period.step,
      fill: "zero",
      compare: "previous_period",
    },
    breakdown: {
      ...figures,
      filter: breakdownFilter(state),
      metrics: each(...COLUMNS, ...TOTALS),
      granularity: "total",
      group_by: [state.by],
      order_by: orderOf(state),
      limit: state.top,
    },
    reasons: { ...figures, metrics: ["bounces", ...REASON_METRICS], granularity: "total" },
  };
}

/** The search narrows the breakdown's own dimension, but picked values do not, so that more can be picked. */
function breakdownFilter(state) {
  const others = filterOf(state.filters.filter(({ dimension }) => dimension !== state.by)).filter;
  if (!state.find) return others;
  const found = { dimension: state.by, op: "contains", value: state.find };
  return others ? { and: [others, found] } : found;
}

/** The order of all groups, of which one page is shown. Rates are ordered by their confidence bound. */
function orderOf({ sort, by }) {
  const falls = sort.startsWith("-");
  const name = falls ? sort.slice(1) : sort;
  if (name === "name") return `${by}:${falls ? "desc" : "asc"}`;
  const { unit, direction } = metric(name);
  if (unit !== "fraction") return `${name}:${falls ? "desc" : "asc"}`;
  return `${name}:${falls === (direction === "lower") ? "worst" : "best"}`;
}

/** The call for the alerts of a period. */
export function alertsIn(/** @type {import("./period.js").Period} */ period) {
  return `v1/alerts?from=${iso(period.from)}&to=${iso(period.to)}&limit=200`;
}

/** Values of one dimension are alternatives; dimensions narrow each other. */
function filterOf(filters) {
  const conditions = [];
  for (const dimension of DIMENSIONS.keys()) {
    const values = filters.filter((filter) => filter.dimension === dimension).map((filter) => filter.value);
    if (values.length === 1) conditions.push({ dimension, op: "eq", value: values[0] });
    if (values.length > 1) conditions.push({ dimension, op: "in", value: values });
  }
  if (conditions.length === 0) return {};
  return { filter: conditions.length === 1 ? conditions[0] : { and: conditions } };
}

/** The only row of a total, or none if there was nothing. */
export function totalRow(reply) {
  return reply.rows?.[0] ?? { metrics: {}, previous: {} };
}

/**
 * The rows over time as columns.
 * @returns {{ times: number[], values: Map<string, (number | null)[]>, previous: Map<string, (number | null)[]> }}
 */
export function columns(reply, names) {
  const rows = [...(reply.rows ?? [])].sort((a, b) => (a.time < b.time ? -1 : 1));
  const column = (name, part) => rows.map((row) => number(row[part]?.[name]));
  return {
    times: rows.map((row) => Date.parse(row.time)),
    values: new Map(names.map((name) => [name, column(name, "metrics")])),
    previous: new Map(names.map((name) => [name, column(name, "previous")])),
  };
}

function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function iso(time) {
  return new Date(time).toISOString();
}
