/**
 * @file The breakdown: one row per provider, campaign, segment or domain, with a bar for its share of the sends. The
 * server picks the largest by sends; a click on a column sorts those. A click on a row narrows everything else to it;
 * the other rows stay, so that several can be picked. The row `(other)` holds the rest, so that the rows sum to the
 * whole; it cannot be filtered for.
 */

import { isBeyond } from "./chance.js";
import { el, icon, refill } from "./dom.js";
import * as format from "./format.js";
import { COLUMNS, DIMENSIONS, metric } from "./metrics.js";
import { segmented } from "./menus.js";
import { TOPS } from "./state.js";
import { failure } from "./states.js";

const OTHER = "(other)";
/** The counts by which tenants use up what SES allows the account, beside the rates they belong to. */
const SHARED = { bounce_rate: "bounces_permanent", complaint_rate: "complaints" };
const HEADS = {
  delivery_rate: "Delivered",
  bounce_rate: "Bounced",
  complaint_rate: "Complaints",
  open_rate: "Opened",
  click_rate: "Clicked",
  delivery_ms_p95: "p95",
};

/**
 * Builds the card.
 * @param {HTMLElement} host
 * @param {{ change: (change: object) => void, pick: (dimension: string, value: string) => void, retry: () => void }} on
 */
export function createTable(host, on) {
  const head = el("div", { class: "card-head" });
  const body = el("div", { class: "table-body loading" });
  host.append(el("h2", { class: "sr", id: "breakdown-title" }, "Breakdown"), head, body);
  return {
    /** Shows the choice before its data is there. */
    choose(state, allTenants) {
      const options = [...DIMENSIONS]
        .filter(([name]) => name !== "tenant" || allTenants)
        .map(([name, { label, cohort }]) => {
          const off = state.basis === "send" && !cohort;
          return { name, label, off, title: off ? "Not kept by send cohort" : "" };
        });
      refill(
        head,
        segmented({
          label: "Break down by",
          options,
          value: state.by,
          choose: (by) => on.change({ by, top: TOPS[0] }),
          kind: "tabs",
        }),
      );
    },
    /** Shows the rows. */
    update(reply, state) {
      body.classList.remove("loading");
      const rows = sorted(reply.rows ?? [], state);
      if (rows.length === 0) return refill(body, el("p", { class: "quiet" }, "Nothing in this range."));
      const table = el(
        "table",
        { class: `table${picked(state).size > 0 ? " picking" : ""}` },
        tableHead(state, on.change),
        tableBody(rows, state, on.pick),
      );
      refill(
        body,
        el("div", { class: "table-scroll", tabindex: 0, role: "region", "aria-labelledby": "breakdown-title" }, table),
        foot(rows, state, on.change),
      );
    },
    fail(error) {
      body.classList.remove("loading");
      refill(body, failure(error, on.retry));
    },
  };
}

/** By the chosen column; `(other)` always last. A missing value sorts below all others. */
function sorted(rows, state) {
  const down = state.sort.startsWith("-");
  const name = down ? state.sort.slice(1) : state.sort;
  const nameOf = (row) => String(row.group?.[state.by] ?? "");
  const compare = (a, b) => {
    if (name === "name") return nameOf(a).localeCompare(nameOf(b));
    return (a.metrics[name] ?? -Infinity) - (b.metrics[name] ?? -Infinity) || 0;
  };
  return [...rows].sort((a, b) => {
    const last = Number(nameOf(a) === OTHER) - Number(nameOf(b) === OTHER);
    return last || (down ? -compare(a, b) : compare(a, b));
  });
}

function tableHead(state, change) {
  const column = (name, text) => {
    const active = state.sort.replace("-", "") === name;
    const down = state.sort.startsWith("-");
    const next = active ? (down ? name : `-${name}`) : name === "name" ? name : `-${name}`;
    return el(
      "th",
      {
        scope: "col",
        class: name === "sends" ? "sends" : null,
        "aria-sort": active ? (down ? "descending" : "ascending") : null,
      },
      el(
        "button",
        { class: "sort", type: "button", "data-key": `sort-${name}`, onclick: () => change({ sort: next }) },
        text,
        el("span", { class: "arrow", "aria-hidden": "true" }, active ? (down ? "↓" : "↑") : ""),
      ),
    );
  };
  const heads = COLUMNS.map((name) => column(name, HEADS[name] ?? metric(name).label));
  return el("thead", {}, el("tr", {}, column("name", DIMENSIONS.get(state.by).label), ...heads));
}

/** The values of this dimension that are filtered for. */
function picked(state) {
  return new Set(state.filters.filter(({ dimension }) => dimension === state.by).map(({ value }) => value));
}

function tableBody(rows, state, pick) {
  const active = picked(state);
  const sends = rows.reduce((sum, row) => sum + (row.metrics.sends ?? 0), 0);
  const most = Math.max(1, ...rows.map((row) => row.metrics.sends ?? 0));
  // Tenants share an account: who uses how much of what its reputation can bear.
  const shared = state.by === "tenant" ? SHARED : {};
  const wholes = Object.fromEntries(
    Object.values(shared).map((count) => [count, rows.reduce((sum, row) => sum + (row.metrics[count] ?? 0), 0)]),
  );
  return el(
    "tbody",
    {},
    ...rows.map((row) => {
      const value = String(row.group?.[state.by] ?? "");
      const cells = COLUMNS.map((name) =>
        name === "sends"
          ? sendsCell(row, most, sends)
          : rateCell(row, metric(name), row.metrics[shared[name]] / wholes[shared[name]]),
      );
      return el(
        "tr",
        { class: active.has(value) ? "picked" : null },
        el(
          "th",
          { scope: "row" },
          nameCell(value, active.has(value), () => pick(state.by, value)),
        ),
        ...cells,
      );
    }),
  );
}

function nameCell(value, active, pick) {
  const text = value === "" ? "(none)" : value;
  if (value === OTHER) return el("span", { class: "name other" }, "All the rest");
  const title = active ? `Remove the filter ${text}` : `Show ${text} only`;
  return el(
    "button",
    {
      class: `name${active ? " active" : ""}`,
      type: "button",
      "data-key": `row-${value}`,
      "data-value": value,
      title,
      "aria-pressed": String(active),
      onclick: pick,
    },
    el("span", { class: "name-text", dir: "auto" }, text),
    active && icon("check"),
  );
}

function sendsCell(row, most, total) {
  const value = row.metrics.sends ?? 0;
  const bar = el("span", { class: "bar-fill", "aria-hidden": "true" });
  bar.style.width = `${(value / most) * 100}%`;
  const share = total ? format.percent(value / total, 1) : "";
  return el(
    "td",
    { class: "sends" },
    el(
      "span",
      { class: "cell-figures" },
      el("span", { title: format.exact(value) }, format.short(value)),
      el("span", { class: "share" }, share),
    ),
    el("span", { class: "bar-track" }, bar),
  );
}

/** @param {number} share Of all tenants' such events; shown where there is one. */
function rateCell(row, of, share) {
  const value = row.metrics[of.name] ?? null;
  const beyond = isBeyond(of, row.metrics);
  const counts = of.of
    ? of.of.map((name) => `${format.exact(row.metrics[name])} ${metric(name).label.toLowerCase()}`).join(" / ")
    : null;
  return el(
    "td",
    { class: value === null ? "none" : beyond ? "over" : null, title: counts },
    format.value(of, value),
    share > 0 && el("span", { class: "share", title: "Of all tenants' together" }, format.percent(share, 0)),
    beyond && el("span", { class: "sr" }, " beyond the limit"),
  );
}

function foot(rows, state, change) {
  const more = TOPS[TOPS.indexOf(state.top) + 1];
  const full = rows.some((row) => row.group?.[state.by] === OTHER) || rows.length >= state.top;
  if (!full) return null;
  return el(
    "div",
    { class: "table-foot" },
    el("span", {}, `The ${state.top} largest by sends`),
    more &&
      el(
        "button",
        { class: "button small", type: "button", "data-key": "more", onclick: () => change({ top: more }) },
        `Show ${more}`,
      ),
  );
}
