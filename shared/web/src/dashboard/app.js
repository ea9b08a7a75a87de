/**
 * @file Ties the dashboard together: the address says what to show, this file asks for it, and the panels draw it.
 * One refresh runs at a time; a newer one aborts the older. Numbers on the page stay until better ones arrive.
 */

import { ApiError, call, failedAtProvider, keyFromAddress, session, signInWith, signOutHere } from "./api.js";
import { createBoard } from "./board.js";
import { showChips, showControls } from "./controls.js";
import { el, icon, place } from "./dom.js";
import { period as periodOf } from "./period.js";
import { metricsOf, setOf, useMetrics } from "./metrics.js";
import { alertsIn, CATALOGUE, questions } from "./queries.js";
import { changed, format, parse, toggleFilter } from "./state.js";
import { failure, showSignIn } from "./states.js";
import { showTenant, tenantPicker } from "./tenants.js";
import { applyTheme, bindTheme } from "./theme.js";

const REFRESH_MS = 60_000;
/** What is looked at around an alert. */
const BEFORE_MS = 3 * 3_600_000;
const AFTER_MS = 3_600_000;
const ALL = ["totals", "sparks", "chart", "breakdown", "reasons", "alerts", "catalogue"];
const BREAKDOWN = ["breakdown"];
/** Choices that concern one question only; all others concern all. */
const CONCERNS = { show: ["chart"], step: ["chart"], by: BREAKDOWN, top: BREAKDOWN, sort: BREAKDOWN, find: BREAKDOWN };
const FAILED = "Your identity provider did not sign you in. Try again, or ask an operator.";
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

applyTheme();

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
/** @type {import("./board.js").Answers | null} */
let latest = null;
/**
 * The query for a later page of the breakdown; null for the first page. Its cursor is valid only for the range of the first
 * page, so refreshing does not move that range.
 * @type {object | null}
 */
let page = null;

const on = {
  change: go,
  /** Shows the page of the breakdown at a cursor; null for the first page. */
  page: (cursor) => {
    page = cursor ? { ...latest.results.breakdown.body, cursor } : null;
    refresh(BREAKDOWN);
  },
  pick: (dimension, value) =>
    dimension === "tenant" ? go({ tenant: value, by: "provider", find: "" }) : go(toggleFilter(state, dimension, value)),
  zoom: (from, to) => go({ range: "custom", from, to, step: "auto" }),
  zoomOut: () => go({ range: lastRange, step: "auto" }),
  retry: () => refresh(),
  look: (alert) => {
    go(around(alert));
    place("chart").scrollIntoView({ block: "nearest" });
  },
  acknowledge: async (id) => {
    try {
      await call(`v1/alerts/${id}/acknowledge`, { body: {}, tenant: tenantAsked() });
    } finally {
      refresh(["alerts"]);
    }
  },
  announce: (text) => {
    place("announce").textContent = text;
  },
};
const board = createBoard(on);

/** Moves to another view and adds it to the history. Typing on in the search box replaces the entry instead. */
function go(/** @type {Partial<import("./state.js").State>} */ change) {
  const next = changed(state, { alert: "", ...change });
  if (format(next) === format(state)) return;
  if (state.range !== "custom") lastRange = state.range;
  const touched = Object.keys(change);
  const typed = touched.every((name) => name === "find") && state.find !== "" && next.find !== "";
  state = next;
  history[typed ? "replaceState" : "pushState"](null, "", location.pathname + format(state));
  const wanted = touched.every((name) => name in CONCERNS)
    ? [...new Set(touched.flatMap((name) => CONCERNS[name]))]
    : ALL;
  if (wanted.includes("breakdown")) page = null;
  showChoices();
  refresh(wanted);
}

/** The view of an alert: its metric and series, from some hours before it began until some hours after it ended. */
function around(alert) {
  const end = alert.state === "resolved" ? Date.parse(alert.updated_at) + AFTER_MS : Date.now();
  return {
    range: "custom",
    from: Date.parse(alert.started_at) - BEFORE_MS,
    to: Math.min(Date.now(), end),
    step: "auto",
    basis: /** @type {"event"} */ ("event"),
    show: setOf(alert.metric) ?? "volume",
    alert: alert.id,
    ...(allTenants() && alert.tenant !== "*" ? { tenant: alert.tenant } : {}),
    filters: Object.entries(alert.scope).map(([dimension, value]) => ({ dimension, value })),
  };
}

/** Goes to the alert that a message pointed to; if there is none any more, to the numbers as usual. */
async function follow() {
  if (!state.alert || state.range === "custom") return;
  try {
    state = changed(state, around(await call(`v1/alerts/${state.alert}`, { tenant: tenantAsked() })));
  } catch {
    state = changed(state, { alert: "" });
  }
  history.replaceState(null, "", location.pathname + format(state));
}

/** The tenant that an operator looks at; none for a tenant's own key. */
function tenantAsked() {
  return caller?.scope === "operator" ? state.tenant : "";
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
  board.choose(state, period, allTenants());
  if (caller?.scope === "operator")
    tenantPicker(place("tenant"), tenants, state.tenant, (tenant) =>
      go({ tenant, filters: [], find: "" }),
    );
  const name = caller?.scope === "tenant" ? caller.tenant : state.tenant || "All tenants";
  document.title = `${name} · Mailgauge`;
}

async function start(problem) {
  place("sign-in").hidden = true;
  // What was typed there must not stay in the page.
  place("sign-in").replaceChildren();
  try {
    const key = keyFromAddress();
    if (key) await signInWith(key);
    const { signed_in, provider } = await session();
    if (!signed_in) return signIn(problem ?? (failedAtProvider() ? FAILED : undefined), provider);
    caller = await call("v1/whoami");
    if (caller.scope === "operator") tenants = (await call("v1/tenants")).tenants ?? [];
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return signOut(error.message);
    return showBoardFailure(error);
  }
  if (caller.scope === "tenant") {
    state = changed(state, { tenant: "" });
    showTenant(place("tenant"), caller.tenant);
  }
  await follow();
  place("bar").hidden = false;
  place("board").hidden = false;
  board.loading(false);
  showChoices();
  await refresh();
}

async function signIn(problem, provider) {
  place("bar").hidden = true;
  place("board").hidden = true;
  place("sign-in").hidden = false;
  const submit = async (key) => {
    try {
      await signInWith(key);
      start();
    } catch (error) {
      signIn(error.message, provider);
    }
  };
  showSignIn(place("sign-in"), problem, provider, submit);
}

async function signOut(problem) {
  running.abort();
  busy = false;
  document.body.classList.remove("refreshing");
  board.notice(null);
  caller = null;
  latest = null;
  page = null;
  let provider = null;
  try {
    await signOutHere();
    ({ provider } = await session());
  } catch (error) {
    problem ??= error.message;
  }
  signIn(problem, provider);
}

function showBoardFailure(error) {
  place("sign-in").hidden = false;
  place("sign-in").replaceChildren(
    el(
      "div",
      { class: "card sign-in-card" },
      failure(error, () => start()),
    ),
  );
}

/** Asks again: everything, or only the questions of these names. */
async function refresh(names = ALL) {
  const hasCatalogue = Boolean(latest?.results.catalogue.reply);
  // New replies to some questions are combined with the last replies to the others, which must be there.
  const wanted = busy || !hasCatalogue ? ALL : names;
  running.abort();
  const mine = (running = new AbortController());
  const asked = state;
  const period = periodOf(asked, Date.now(), ZONE);
  const tenant = tenantAsked();
  const options = { tenant, signal: mine.signal };
  const query = async (body) => ({ reply: await call("v1/query", { ...options, body }), body });
  const ask = async (name) => {
    try {
      if (name === "alerts") return [name, { reply: await call(alertsIn(period), options) }];
      if (name === "catalogue") return [name, { reply: metricsOf(await call(CATALOGUE, options)) }];
      const body = questions(asked, period)[name];
      if (name !== "breakdown" || !page) return [name, await query(body)];
      return [name, await query(page).catch((error) => firstPage(error, () => query(body)))];
    } catch (error) {
      return [name, { error }];
    }
  };
  busy = true;
  document.body.classList.add("refreshing");
  // The queries and all labels need a catalogue, so the first one is loaded before anything else is asked.
  const fresh = Object.fromEntries(hasCatalogue ? [] : [await ask("catalogue")]);
  if (fresh.catalogue?.reply && !mine.signal.aborted) {
    useMetrics(fresh.catalogue.reply);
    board.loading(true);
  }
  const rest = fresh.catalogue?.error ? [] : wanted.filter((name) => !(name in fresh));
  Object.assign(fresh, Object.fromEntries(await Promise.all(rest.map(ask))));
  if (mine.signal.aborted) return;
  busy = false;
  document.body.classList.remove("refreshing");
  triedAt = Date.now();
  const refused = Object.values(fresh).find(({ error }) => error?.status === 401);
  if (refused) return signOut(refused.error.message);
  take(fresh, asked, period);
  board.show(latest);
}

/** Falls back to the first page if the server refuses the cursor, for example after an upgrade. */
function firstPage(error, ask) {
  if (error.status !== 400) throw error;
  page = null;
  return ask();
}

/** Takes new replies. Where one failed, an older reply to the same question stays, and the notice says so. */
function take(fresh, asked, period) {
  const old = latest && format(latest.asked) === format(asked) ? latest.results : {};
  const kept = Object.keys(fresh).filter((name) => fresh[name].error && old[name]?.reply);
  board.notice(kept.length > 0 ? fresh[kept[0]].error : null, latest?.at);
  const problem = Object.values(fresh).find(({ error }) => error)?.error;
  if (problem || fresh.totals) board.failed(problem);
  const results = { ...latest?.results, ...fresh };
  for (const name of kept) results[name] = old[name];
  latest = { results, asked, period, at: kept.length > 0 ? latest.at : Date.now() };
}

bindTheme(place("theme"));
place("refresh").append(icon("refresh"));
place("refresh").addEventListener("click", on.retry);
place("sign-out").append(icon("out"));
place("sign-out").addEventListener("click", () => signOut());
addEventListener("popstate", () => {
  state = parse(location.search);
  if (!caller) return;
  page = null;
  showChoices();
  refresh();
});
addEventListener("hashchange", () => {
  if (!location.hash.startsWith("#key=")) return;
  running.abort();
  latest = null;
  page = null;
  start();
});
const due = () =>
  caller && !busy && document.visibilityState === "visible" && Date.now() - triedAt >= REFRESH_MS && refresh();
setInterval(due, 5_000);
document.addEventListener("visibilitychange", due);
start();
