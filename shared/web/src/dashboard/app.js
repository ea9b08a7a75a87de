/**
 * @file Ties the dashboard together: the address says what to show, this file asks for it, and the panels draw it. One
 * refresh runs at a time; a newer one aborts the older. Numbers on the page stay until better ones arrive.
 */

import { ApiError, call, dropKey, hasKey, setKey, takeKeyFromAddress } from "./api.js";
import { createChart } from "./chart.js";
import { showChips, showControls } from "./controls.js";
import { el, icon, place } from "./dom.js";
import { createLive } from "./live.js";
import { isKept, metric, SETS, TILES } from "./metrics.js";
import { period as periodOf, STEPS } from "./period.js";
import { columns, questions, totalRow } from "./queries.js";
import { createReasons } from "./reasons.js";
import * as states from "./states.js";
import { changed, format, parse, toggleFilter } from "./state.js";
import { createTable } from "./table.js";
import { showTenant, tenantPicker } from "./tenants.js";
import { applyTheme, bindTheme } from "./theme.js";
import { showTiles, tilesLoading } from "./tiles.js";

const REFRESH_MS = 60_000;
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

applyTheme();
takeKeyFromAddress();

/** @type {import("./state.js").State} */
let state = parse(location.search);
/** @type {{ scope: "operator" | "tenant" | "ingest", tenant: string | null, name: string } | null} */
let caller = null;
/** @type {{ id: string, name: string }[]} */
let tenants = [];
let running = new AbortController();
let lastRange = "24h";
let refreshedAt = 0;
/** The newest replies, so that a choice that needs no new data is drawn at once. */
let replies = {};

const host = { tiles: place("tiles"), empty: place("empty"), panels: place("panels"), notice: place("notice") };
const announce = (text) => { place("announce").textContent = text; };
const on = {
  change: go,
  pick: (dimension, value) => (dimension === "tenant" ? go({ tenant: value, by: "provider" }) : go(toggleFilter(state, dimension, value))),
  zoom: (from, to) => go({ range: "custom", from, to, step: "auto" }),
  zoomOut: () => go({ range: lastRange, step: "auto" }),
  retry: () => refresh(),
  announce,
};
const chart = createChart(place("chart"), on);
const table = createTable(place("breakdown"), on);
const reasons = createReasons(place("reasons"), on.retry);
const live = createLive(place("live"));

/** Moves to another view, as a step that the back button undoes. */
function go(/** @type {Partial<import("./state.js").State>} */ change) {
  const next = changed(state, change);
  if (format(next) === format(state)) return;
  if (state.range !== "custom") lastRange = state.range;
  state = next;
  history.pushState(null, "", location.pathname + format(state));
  showChoices();
  refresh();
}

function allTenants() {
  return caller?.scope === "operator" && state.tenant === "";
}

/** What was chosen, before the numbers are there. */
function showChoices() {
  const period = periodOf(state, Date.now(), ZONE);
  if (state.by === "tenant" && !allTenants()) state = changed(state, { by: "provider" });
  showControls(place("controls"), state, period, go);
  showChips(place("chips"), state, on.pick, () => go({ filters: [] }));
  chart.choose(state, period.steps, period.step);
  table.choose(state, allTenants());
  if (caller?.scope === "operator") tenantPicker(place("tenant"), tenants, state.tenant, (tenant) => go({ tenant, filters: [] }));
  const name = caller?.scope === "tenant" ? caller.tenant : state.tenant || "All tenants";
  document.title = `${name} · Mailgauge`;
}

async function start(problem) {
  place("sign-in").hidden = true;
  if (!hasKey()) return signIn(problem);
  try {
    caller = await call("v1/whoami");
    if (caller.scope === "ingest") return signOut("this key may send events but not read numbers");
    if (caller.scope === "operator") tenants = (await call("v1/tenants")).tenants ?? [];
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return signOut(error.message);
    return showBoardFailure(error);
  }
  if (caller.scope === "tenant") {
    state = changed(state, { tenant: "" });
    showTenant(place("tenant"), caller.tenant);
  }
  place("bar").hidden = false;
  place("board").hidden = false;
  tilesLoading(host.tiles);
  showChoices();
  await refresh();
}

function signIn(problem) {
  place("bar").hidden = true;
  place("board").hidden = true;
  place("sign-in").hidden = false;
  states.showSignIn(place("sign-in"), problem, (key) => {
    setKey(key);
    start();
  });
}

function signOut(problem) {
  running.abort();
  dropKey();
  caller = null;
  replies = {};
  signIn(problem);
}

function showBoardFailure(error) {
  place("sign-in").hidden = false;
  place("sign-in").replaceChildren(el("div", { class: "card sign-in-card" }, states.failure(error, () => start())));
}

/** Asks everything anew. */
async function refresh() {
  running.abort();
  const mine = (running = new AbortController());
  const asked = state;
  const period = periodOf(asked, Date.now(), ZONE);
  const tenant = caller?.scope === "operator" ? asked.tenant : "";
  document.body.classList.add("refreshing");
  const ask = async ([name, body]) => {
    try {
      return [name, { reply: await call("v1/query", { body, tenant, signal: mine.signal }) }];
    } catch (error) {
      return [name, { error }];
    }
  };
  const results = Object.fromEntries(await Promise.all(Object.entries(questions(asked, period)).map(ask)));
  if (mine.signal.aborted) return;
  document.body.classList.remove("refreshing");
  const refused = Object.values(results).find(({ error }) => error?.status === 401);
  if (refused) return signOut(refused.error.message);
  refreshedAt = Date.now();
  show(results, asked, period);
}

/** Draws the replies; a panel whose question failed keeps its old numbers if they answer the same question. */
function show(results, asked, period) {
  const failed = results.totals.error;
  const same = replies.asked && format(replies.asked) === format(asked);
  showNotice(failed && same ? failed : null);
  live.failed(Boolean(failed));
  if (failed && same) return;
  replies = { asked };
  if (showEmptiness(results.totals.reply, asked)) return;
  const sparks = results.sparks.reply ? columns(results.sparks.reply, TILES.map((tile) => tile.metric)).values : null;
  if (failed) host.tiles.replaceChildren(states.failure(failed, on.retry));
  else {
    const select = (set) => go({ show: set });
    showTiles(host.tiles, totalRow(results.totals.reply), sparks, { show: asked.show, select, estimates: results.totals.reply.meta?.estimates ?? {} });
  }
  drawChart(results.chart, asked, period);
  if (results.breakdown.error) table.fail(results.breakdown.error);
  else table.update(results.breakdown.reply, asked, results.totals.reply ? totalRow(results.totals.reply).metrics.sends : 0);
  if (results.reasons.error) reasons.fail(results.reasons.error);
  else reasons.update(totalRow(results.reasons.reply));
}

function drawChart({ reply, error }, asked, period) {
  if (error) return chart.fail(error);
  const set = SETS.get(asked.show);
  const names = set.metrics.filter((name) => isKept(metric(name), asked.basis));
  const { times, values, previous } = columns(reply, names);
  const lines = names.map((name, index) => {
    const before = index === 0 ? previous.get(name) : undefined;
    return { metric: metric(name), values: values.get(name), stacked: set.stacked?.includes(name), previous: before?.some((value) => value !== null) ? before : undefined };
  });
  const completeUntil = Date.parse(reply.meta?.complete_until ?? "") || Date.now();
  chart.update({ times, stepMs: STEPS.get(period.step), zone: period.zone, completeUntil, lines }, asked, period.steps, period.step);
}

/** Whether there was nothing to draw, which is then said instead. */
function showEmptiness(totals, asked) {
  if (!totals) return false;
  live.update(totals.meta ?? {});
  const counts = Object.values(totalRow(totals).metrics);
  const empty = counts.every((value) => !value);
  host.empty.hidden = !empty;
  host.panels.hidden = empty;
  if (!empty) return false;
  if (!totals.meta?.newest_event) states.showFirstEvent(host.empty, () => announce("Copied"));
  else states.showNothing(host.empty, { filtered: asked.filters.length > 0, clear: () => go({ filters: [] }), widen: () => go({ range: "30d", step: "auto" }) });
  return true;
}

function showNotice(error) {
  host.notice.hidden = !error;
  if (error) host.notice.replaceChildren(states.failure(new Error(`${error.message}; the numbers shown are from ${new Date(refreshedAt).toLocaleTimeString()}`), on.retry));
}

bindTheme(place("theme"));
place("refresh").append(icon("refresh"));
place("refresh").addEventListener("click", on.retry);
place("sign-out").append(icon("out"));
place("sign-out").addEventListener("click", () => signOut());
addEventListener("popstate", () => {
  state = parse(location.search);
  if (!caller) return;
  showChoices();
  refresh();
});
addEventListener("hashchange", () => {
  takeKeyFromAddress();
  if (!caller && hasKey()) start();
});
const due = () => caller && document.visibilityState === "visible" && Date.now() - refreshedAt >= REFRESH_MS && refresh();
setInterval(due, 5_000);
document.addEventListener("visibilitychange", due);
start();
