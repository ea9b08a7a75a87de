/**
 * @file Ties the dashboard together: the address says what to show, this file asks for it, and the panels draw it. One
 * refresh runs at a time; a newer one aborts the older. Numbers on the page stay until better ones arrive.
 */

import { ApiError, call, dropKey, hasKey, setKey, takeKeyFromAddress } from "./api.js";
import { createChart } from "./chart.js";
import { showChips, showControls, showSpan } from "./controls.js";
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
const ALL = ["totals", "sparks", "chart", "breakdown", "reasons"];
/** Choices that concern one question only; all others concern all. */
const CONCERNS = { show: ["chart"], step: ["chart"], by: ["breakdown"], top: ["breakdown"], sort: [] };
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
let busy = false;
let triedAt = 0;
/** The newest replies and what they answer. @type {{ results: Record<string, { reply?: any, error?: Error }>, asked: typeof state, period: import("./period.js").Period, at: number } | null} */
let latest = null;

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
  const touched = Object.keys(change);
  state = next;
  history.pushState(null, "", location.pathname + format(state));
  showChoices();
  if (touched.every((name) => name === "sort") && latest && !busy) {
    latest.asked = state;
    return show();
  }
  refresh(touched.every((name) => name in CONCERNS) ? [...new Set(touched.flatMap((name) => CONCERNS[name]))] : ALL);
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
  latest = null;
  signIn(problem);
}

function showBoardFailure(error) {
  place("sign-in").hidden = false;
  place("sign-in").replaceChildren(el("div", { class: "card sign-in-card" }, states.failure(error, () => start())));
}

/** Asks anew: everything, or the questions of these names. */
async function refresh(names = ALL) {
  // Parts of an answer only fit to a whole one.
  const wanted = busy || !latest ? ALL : names;
  running.abort();
  const mine = (running = new AbortController());
  const asked = state;
  const period = periodOf(asked, Date.now(), ZONE);
  const tenant = caller?.scope === "operator" ? asked.tenant : "";
  const bodies = questions(asked, period);
  const ask = async (name) => {
    try {
      return [name, { reply: await call("v1/query", { body: bodies[name], tenant, signal: mine.signal }) }];
    } catch (error) {
      return [name, { error }];
    }
  };
  busy = true;
  document.body.classList.add("refreshing");
  const fresh = Object.fromEntries(await Promise.all(wanted.map(ask)));
  if (mine.signal.aborted) return;
  busy = false;
  document.body.classList.remove("refreshing");
  triedAt = Date.now();
  const refused = Object.values(fresh).find(({ error }) => error?.status === 401);
  if (refused) return signOut(refused.error.message);
  take(fresh, asked, period);
  show();
}

/** Takes new replies. Where one failed, an older reply to the same question stays, and the notice says so. */
function take(fresh, asked, period) {
  const old = latest && format(latest.asked) === format(asked) ? latest.results : {};
  const kept = Object.keys(fresh).filter((name) => fresh[name].error && old[name]?.reply);
  showNotice(kept.length > 0 ? fresh[kept[0]].error : null);
  live.failed(fresh.totals?.error);
  const results = { ...latest?.results, ...fresh };
  for (const name of kept) results[name] = old[name];
  latest = { results, asked, period, at: kept.length > 0 ? latest.at : Date.now() };
}

/** Draws the newest replies. */
function show() {
  const { results, asked, period } = latest;
  showSpan(place("controls"), period);
  if (showEmptiness(results, asked)) return;
  const { totals, sparks, breakdown } = results;
  if (totals.error) host.tiles.replaceChildren(states.failure(totals.error, on.retry));
  else {
    const series = sparks.reply ? columns(sparks.reply, TILES.map((tile) => tile.metric)).values : null;
    showTiles(host.tiles, totalRow(totals.reply), series, { show: asked.show, basis: asked.basis, select: (set) => go({ show: set }) });
  }
  drawChart(results.chart, asked, period);
  if (breakdown.error) table.fail(breakdown.error);
  else table.update(breakdown.reply, asked);
  if (results.reasons.error) reasons.fail(results.reasons.error);
  else reasons.update(totalRow(results.reasons.reply));
  place("foot").textContent = footnote(totals.reply?.meta);
}

function footnote(meta) {
  const error = Math.max(0, ...Object.entries(meta?.estimates ?? {}).filter(([name]) => name.startsWith("unique_")).map(([, error]) => error));
  const people = "Open and click rates count people, not mail proxies and link scanners.";
  return error > 0 ? `${people} Unique counts this large are estimates, give or take ${(error * 100).toFixed(1)}%.` : people;
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
function showEmptiness(results, asked) {
  const errors = Object.values(results).map(({ error }) => error);
  const broken = errors.every(Boolean);
  const totals = results.totals.reply;
  if (totals) live.update(totals.meta ?? {});
  const empty = broken || (totals && Object.values(totalRow(totals).metrics).every((value) => !value));
  host.empty.hidden = !empty;
  host.panels.hidden = empty;
  place("foot").hidden = empty;
  if (broken) host.empty.replaceChildren(el("div", { class: "card" }, states.failure(errors[0], on.retry)));
  else if (empty && !totals.meta?.newest_event) states.showFirstEvent(host.empty, () => announce("Copied"));
  else if (empty) states.showNothing(host.empty, { filtered: asked.filters.length > 0, clear: () => go({ filters: [] }), widen: () => go({ range: "30d", step: "auto" }) });
  return empty;
}

function showNotice(error) {
  host.notice.hidden = !error;
  if (error) host.notice.replaceChildren(states.failure(new Error(`${error.message}; what is shown is from ${new Date(latest.at).toLocaleTimeString()}`), on.retry));
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
const due = () => caller && !busy && document.visibilityState === "visible" && Date.now() - triedAt >= REFRESH_MS && refresh();
setInterval(due, 5_000);
document.addEventListener("visibilitychange", due);
start();
