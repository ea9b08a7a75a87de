/**
 * @file The panels of the board: takes the replies of a refresh and hands each panel its part, or says in their place
 * why there is nothing to show. It asks for nothing itself.
 */

import { createAlerts } from "./alerts.js";
import { createChart } from "./chart.js";
import { showSpan } from "./controls.js";
import { el, place } from "./dom.js";
import { createLive } from "./live.js";
import { metric, SETS, TILES, useMetrics } from "./metrics.js";
import { STEPS } from "./period.js";
import { columns, totalRow } from "./queries.js";
import { createReasons } from "./reasons.js";
import { failure, showFirstEvent, showNothing } from "./states.js";
import { createTable } from "./table.js";
import { NOT_REPORTED, notReported, showTiles, tilesLoading } from "./tiles.js";

/**
 * @typedef {object} Answers
 * @property {Record<string, { reply?: any, error?: any, body?: object }>} results By the question's name; `body` is the query. The
 * catalogue is always among them; if it failed, the others may be missing.
 * @property {import("./state.js").State} asked
 * @property {import("./period.js").Period} period
 * @property {number} at When the last of them that succeeded came, in milliseconds.
 *
 * @typedef {object} Choices What a reader can do; each leads to another view.
 * @property {(change: Partial<import("./state.js").State>) => void} change
 * @property {(dimension: string, value: string) => void} pick
 * @property {(cursor: string | null) => void} page Shows another page of the breakdown; null for the first.
 * @property {(from: number, to: number) => void} zoom
 * @property {() => void} zoomOut
 * @property {() => void} retry
 * @property {(alert: any) => void} look Shows the numbers around an alert.
 * @property {(id: string) => Promise<void>} acknowledge
 * @property {(text: string) => void} announce Says something to screen readers.
 */

/** Builds the panels. */
export function createBoard(/** @type {Choices} */ on) {
  const chart = createChart(place("chart"), on);
  const table = createTable(place("breakdown"), on);
  const reasons = createReasons(place("reasons"), on.retry);
  const alerts = createAlerts(place("alerts"), on);
  const live = createLive(place("live"));
  return {
    /** Placeholders until the first numbers; without labels until the catalogue is in use. */
    loading: (/** @type {boolean} */ labelled) => tilesLoading(place("tiles"), labelled),
    /** What was chosen, before its numbers are there. */
    choose(state, period, allTenants) {
      chart.choose(state, period.steps, period.step);
      table.choose(state, allTenants);
    },
    /** Draws the answers. */
    show(/** @type {Answers} */ { results, asked, period }) {
      const { totals, sparks, breakdown, catalogue } = results;
      if (catalogue.reply) useMetrics(catalogue.reply);
      showSpan(place("controls"), period);
      if (totals?.reply) live.update(totals.reply.meta ?? {});
      if (results.alerts?.reply) alerts.update(results.alerts.reply.alerts ?? [], asked.alert, period.zone);
      else alerts.fail();
      if (showEmptiness(results, asked, on)) return;
      if (totals.error) place("tiles").replaceChildren(failure(totals.error, on.retry));
      else drawTiles(totals.reply, sparks.reply, asked, on);
      if (results.chart.error) chart.fail(results.chart.error);
      else chart.update(chartModel(results.chart.reply, asked, period), asked, period);
      if (breakdown.error) table.fail(breakdown.error);
      else table.update(breakdown.reply, asked);
      if (results.reasons.error) reasons.fail(results.reasons.error);
      else reasons.update(totalRow(results.reasons.reply));
      place("foot").textContent = footnote(totals.reply?.meta);
    },
    /** Whether the last refresh failed, and how. */
    failed: (error) => live.failed(error),
    /** Says that older numbers are still shown, or takes that back. */
    notice(error, at) {
      const notice = place("notice");
      notice.hidden = !error;
      notice.replaceChildren();
      if (!error) return;
      const text = `${error.message}; what is shown is from ${new Date(at).toLocaleTimeString()}`;
      notice.append(failure(new Error(text), on.retry));
    },
  };
}

function drawTiles(totals, sparks, asked, on) {
  const names = TILES.map((tile) => tile.metric);
  const series = sparks ? columns(sparks, names).values : null;
  const select = (show) => on.change({ show });
  showTiles(place("tiles"), totalRow(totals), series, { show: asked.show, select });
}

/** @returns {import("./plot.js").Model} */
function chartModel(reply, asked, period) {
  const set = SETS.get(asked.show);
  const names = set.metrics;
  const { times, values, previous } = columns(reply, names);
  const lines = names.map((name, index) => {
    const before = index === 0 ? previous.get(name) : undefined;
    return {
      metric: metric(name),
      values: values.get(name),
      stacked: set.stacked?.includes(name),
      previous: before?.some((value) => value !== null) ? before : undefined,
    };
  });
  const completeUntil = Date.parse(reply.meta?.complete_until ?? "") || Date.now();
  const unreported = (reply.rows ?? []).some((row) => notReported(row, names[0]));
  const note = unreported && values.get(names[0]).every((value) => value === null) ? NOT_REPORTED : "";
  // A metric without any value gets no line, such as the queue depth if no sender reports it.
  const drawn = lines.filter((line, index) => index === 0 || line.values.some((value) => value !== null));
  return { times, stepMs: STEPS.get(period.step), zone: period.zone, completeUntil, lines: drawn, note };
}

/** Whether there is nothing to draw. If so, says why in place of the panels. */
function showEmptiness(results, asked, on) {
  const errors = Object.keys(results)
    .filter((name) => name !== "alerts" && name !== "catalogue")
    .map((name) => results[name].error);
  const broken = catalogueFailure(results.catalogue.error) ?? (errors.every(Boolean) ? errors[0] : null);
  const totals = results.totals?.reply;
  const counts = totals ? Object.values(totalRow(totals).metrics) : null;
  const empty = broken !== null || (counts !== null && counts.every((value) => !value));
  const host = place("empty");
  host.hidden = !empty;
  place("panels").hidden = empty;
  place("foot").hidden = empty;
  if (!empty) return false;
  if (broken) host.replaceChildren(el("div", { class: "card" }, failure(broken, on.retry)));
  else if (!totals.meta?.newest_event) showFirstEvent(host, () => on.announce("Copied"));
  else {
    showNothing(host, {
      filtered: asked.filters.length > 0,
      clear: () => on.change({ filters: [] }),
      widen: () => on.change({ range: "30d", step: "auto" }),
    });
  }
  return true;
}

/** Without the catalogue there are no labels and no limits, so no number is shown either. */
function catalogueFailure(/** @type {Error | undefined} */ error) {
  return error ? new Error(`the metric catalogue could not be loaded: ${error.message}`) : null;
}

function footnote(meta) {
  const unique = Object.entries(meta?.estimates ?? {}).filter(([name]) => name.startsWith("unique_"));
  const error = Math.max(0, ...unique.map(([, value]) => value));
  const people = "Open and click rates count people, not mail proxies and link scanners.";
  if (error === 0) return people;
  return `${people} Unique counts this large are estimates, give or take ${(error * 100).toFixed(1)}%.`;
}
