/**
 * @file The breakdown: one row per provider, campaign, segment or domain, with a bar for its share of the sends. The
 * server sorts all rows, searches their names and returns one page. A click on a row narrows everything else to it;
 * the other rows stay, so that several can be picked. The row `(other)` holds the rest, so that the rows sum to the
 * whole; it cannot be filtered for.
 */

import { standing } from "./chance.js";
import { el, icon, refill } from "./dom.js";
import * as format from "./format.js";
import { COLUMNS, DIMENSIONS, metric } from "./metrics.js";
import { segmented } from "./menus.js";
import { TOPS } from "./state.js";
import { failure } from "./states.js";
import { NOT_REPORTED, notReported, unsureText } from "./tiles.js";

/** The search begins after this pause in typing. */
const TYPING_MS = 250;

const OTHER = "(other)";
/** The counts by which tenants use up what SES allows the account, beside the rates they belong to. */
const SHARED = { bounce_rate: "hard_bounces", complaint_rate: "complaints" };
/** Headings of columns too narrow for the metric's label, which the heading then has as its title. */
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
 * @param {import("./board.js").Choices} on
 */
export function createTable(host, on) {
  const tabs = el("div");
  const search = searchBox(on.change);
  const head = el("div", { class: "card-head" }, tabs, search.box);
  const body = el("div", { class: "table-body loading" });
  host.append(el("h2", { class: "sr", id: "breakdown-title" }, "Breakdown"), head, body);
  /** The sums of the first page and its `(other)` row. Later pages lack the rows of earlier ones. */
  let wholes = {};
  return {
    /** Shows the choice before its data is there. */
    choose(state, allTenants) {
      search.choose(state);
      const options = [...DIMENSIONS]
        .filter(([name]) => name !== "tenant" || allTenants)
        .map(([name, { label, cohort }]) => {
          const off = state.basis === "send" && !cohort;
          return { name, label, off, title: off ? "Not kept by send cohort" : "" };
        });
      refill(
        tabs,
        segmented({
          label: "Break down by",
          options,
          value: state.by,
          choose: (by) => on.change({ by, find: "" }),
          kind: "tabs",
        }),
      );
    },
    /** Shows the rows. */
    update(reply, state) {
      body.classList.remove("loading");
      const rows = reply.rows ?? [];
      const { offset = 0 } = reply.meta ?? {};
      if (rows.length === 0) {
        const text = state.find ? `No name contains “${state.find}”.` : "Nothing in this range.";
        return refill(body, el("p", { class: "quiet" }, text));
      }
      if (offset === 0) wholes = sums(rows);
      const table = el(
        "table",
        { class: `table${picked(state).size > 0 ? " picking" : ""}` },
        tableHead(state, on.change),
        tableBody(rows, wholes, state, on.pick),
      );
      refill(
        body,
        el("div", { class: "table-scroll", tabindex: 0, role: "region", "aria-labelledby": "breakdown-title" }, table),
        foot(reply, state, on),
      );
    },
    fail(error) {
      body.classList.remove("loading");
      refill(body, failure(error, on.retry));
    },
  };
}

/** The search box. The server searches all rows, not only those on the page. */
function searchBox(change) {
  let timer = 0;
  const input = el("input", {
    type: "search",
    class: "search-input",
    placeholder: "Find a name",
    "aria-label": "Find a name in the breakdown",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 60,
  });
  const ask = () => {
    clearTimeout(timer);
    change({ find: input.value.trim() });
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, TYPING_MS);
  });
  input.addEventListener("keydown", (event) => event.key === "Enter" && ask());
  const choose = ({ find, by }) => {
    input.placeholder = `Find a ${DIMENSIONS.get(by).label.toLowerCase()}`;
    // Text that is being typed is newer than the state.
    if (document.activeElement !== input || find === "") input.value = find;
  };
  return { box: el("label", { class: "search" }, icon("search"), input), choose };
}

/** The sums of the counts over all rows. */
function sums(rows) {
  const names = ["sends", ...Object.values(SHARED)];
  const sum = (name) => rows.reduce((all, row) => all + (row.metrics[name] ?? 0), 0);
  return Object.fromEntries(names.map((name) => [name, sum(name)]));
}

function tableHead(state, change) {
  const column = (name, text, title = null) => {
    const active = state.sort.replace("-", "") === name;
    const down = state.sort.startsWith("-");
    const next = active ? (down ? name : `-${name}`) : firstSort(name);
    return el(
      "th",
      {
        scope: "col",
        class: name === "sends" ? "sends" : null,
        "aria-sort": active ? (down ? "descending" : "ascending") : null,
      },
      el(
        "button",
        { class: "sort", type: "button", title, "data-key": `sort-${name}`, onclick: () => change({ sort: next }) },
        text,
        el("span", { class: "arrow", "aria-hidden": "true" }, active ? (down ? "↓" : "↑") : ""),
      ),
    );
  };
  const heads = COLUMNS.map((name) => {
    const { label } = metric(name);
    return name in HEADS ? column(name, HEADS[name], label) : column(name, label);
  });
  return el("thead", {}, el("tr", {}, column("name", DIMENSIONS.get(state.by).label), ...heads));
}

/** The order after the first click on a column: names from A, delivery rates from the lowest, others from the highest. */
function firstSort(name) {
  return name === "name" || name === "delivery_rate" ? name : `-${name}`;
}

/** The values of this dimension that are filtered for. */
function picked(state) {
  return new Set(state.filters.filter(({ dimension }) => dimension === state.by).map(({ value }) => value));
}

function tableBody(rows, wholes, state, pick) {
  const active = picked(state);
  const most = Math.max(1, ...rows.map((row) => row.metrics.sends ?? 0));
  // Tenants share an account: who uses how much of what its reputation can bear.
  const shared = state.by === "tenant" ? SHARED : {};
  return el(
    "tbody",
    {},
    ...rows.map((row) => {
      const value = String(row.group?.[state.by] ?? "");
      const cells = COLUMNS.map((name) =>
        name === "sends"
          ? sendsCell(row, most, wholes.sends)
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
  if (notReported(row, of.name))
    return el("td", { class: "none", title: NOT_REPORTED }, el("span", { class: "unreported" }, "not reported"));
  const stands = standing(of, row.metrics);
  const counts = of.denominator
    ? [of.numerator, of.denominator]
        .map((name) => `${format.exact(row.metrics[name])} ${metric(name).label.toLowerCase()}`)
        .join(" / ")
    : null;
  return el(
    "td",
    {
      class: value === null ? "none" : stands === "within" ? null : stands,
      title: [counts, stands === "unsure" && unsureText(of)].filter(Boolean).join("; ") || null,
    },
    el("span", { class: "figure" }, format.value(of, value)),
    share > 0 && el("span", { class: "share", title: "Of all tenants' together" }, format.percent(share, 0)),
    stands === "beyond" && el("span", { class: "sr" }, " beyond the limit"),
    stands === "unsure" && el("span", { class: "sr" }, " too few to say"),
  );
}

/** The position of this page among all rows, buttons for the other pages, and how the rows are sorted. */
function foot({ rows, meta = {} }, state, on) {
  const shown = rows.filter((row) => row.group?.[state.by] !== OTHER).length;
  const first = (meta.offset ?? 0) + 1;
  const last = first + shown - 1;
  const count = meta.total === undefined ? (meta.next_cursor ? "more" : null) : format.exact(meta.total);
  const range = shown === 0 ? "" : `${format.exact(first)}–${format.exact(last)}${count === null ? "" : ` of ${count}`}`;
  const step = (key, text, label, cursor, known) =>
    el(
      "button",
      {
        class: "button small",
        type: "button",
        "data-key": `page-${key}`,
        "aria-label": label,
        title: label,
        disabled: !known,
        onclick: () => on.page(cursor),
      },
      text,
    );
  const pages = (first > 1 || meta.next_cursor) && [
    step("first", "«", "First page", null, first > 1),
    step("previous", "‹", "Previous page", meta.previous_cursor, meta.previous_cursor),
    step("next", "›", "Next page", meta.next_cursor, meta.next_cursor),
    step("last", "»", "Last page", meta.last_cursor, meta.last_cursor),
  ];
  const notes = [sortNote(state), rows.some((row) => isUnsure(row)) && "Dotted: past the limit, but too few to say"];
  return el(
    "div",
    { class: "table-foot" },
    el("span", { class: "sort-note" }, notes.filter(Boolean).join(". ")),
    el(
      "div",
      { class: "pager", role: "group", "aria-label": "Pages of the breakdown" },
      (pages || shown > TOPS[0]) && pageSize(state, on.change),
      el("span", { class: "page-range" }, range),
      ...(pages || []),
    ),
  );
}

function pageSize(state, change) {
  const options = TOPS.map((top) => el("option", { value: top, selected: top === state.top }, `${top} rows`));
  const onchange = (event) => change({ top: Number(event.target.value) });
  return el("select", { class: "select", "aria-label": "Rows on a page", "data-key": "rows", onchange }, ...options);
}

/** Explains the order of rates, which does not follow their values alone. */
function sortNote({ sort }) {
  const name = sort.replace("-", "");
  if (name === "name" || metric(name).unit !== "fraction") return "";
  const worst = sort.startsWith("-") === (metric(name).direction === "lower");
  return `${worst ? "Worst" : "Best"} first, by what is certain: a rate of a few mails ranks lower than the same rate of many`;
}

function isUnsure(row) {
  return COLUMNS.some((name) => standing(metric(name), row.metrics) === "unsure");
}
