/**
 * @file The main time series: which metrics, which granularity, legend, drawing, cursor, and the same numbers as a
 * table for those who read rather than look. Data comes in whole by `update`; nothing is fetched here.
 */

import { bindCursor } from "./cursor.js";
import { el, icon, refill, svg } from "./dom.js";
import * as format from "./format.js";
import { metric, SETS } from "./metrics.js";
import { segmented } from "./menus.js";
import { draw } from "./plot.js";
import { failure } from "./states.js";

const STEP_LABELS = {
  auto: "Auto",
  "1m": "1 minute",
  "5m": "5 minutes",
  "15m": "15 minutes",
  "1h": "1 hour",
  "1d": "1 day",
};

/**
 * Builds the chart's card.
 * @param {HTMLElement} host
 * @param {import("./board.js").Choices} on
 */
export function createChart(host, on) {
  const { head, legend, plotted, layer, canvas, tooltip, frame, message, table } = build(host);
  const cursor = bindCursor({ canvas, layer, tooltip, announce: on.announce, onZoom: on.zoom });
  /** @type {{ model: import("./plot.js").Model, show: string } | null} */
  let shown = null;
  const hidden = new Set();
  let asTable = false;

  const redraw = () => {
    const { width, height } = canvas.getBoundingClientRect();
    if (!shown || shown.model.times.length === 0 || width === 0) return;
    const model = visible(shown.model, hidden);
    const { nodes, geometry } = draw(model, width, height);
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    plotted.replaceChildren(...nodes);
    cursor.drawn({ model, geometry });
  };
  const toggle = (name) => {
    if (!hidden.delete(name)) hidden.add(name);
    refillLegend();
    redraw();
  };
  const refillLegend = () => refill(legend, ...legendItems(shown.model, hidden, toggle));
  const refillTable = () => {
    table.hidden = !asTable;
    table.replaceChildren(...(asTable && shown ? [seriesTable(shown.model)] : []));
  };
  /** Shows the choice before its data is there. */
  const choose = (state, steps, step) => {
    const flip = () => {
      asTable = !asTable;
      refillTable();
      choose(state, steps, step);
    };
    const tools = [zoomOut(state, on), stepSelect(state, steps, step, on.change), tableButton(asTable, flip)];
    refill(head, setChoice(state, on.change), el("div", { class: "card-tools" }, ...tools));
  };

  new ResizeObserver(redraw).observe(frame);
  return {
    choose,
    /** Shows new data. */
    update(model, state) {
      if (shown?.show !== state.show) hidden.clear();
      shown = { model, show: state.show };
      frame.classList.remove("loading");
      frame.hidden = false;
      message.hidden = true;
      canvas.setAttribute("aria-label", label(model, state));
      refillLegend();
      refillTable();
      redraw();
    },
    /** Says why there is nothing to show. */
    fail(error) {
      message.hidden = false;
      message.replaceChildren(failure(error, on.retry));
      frame.hidden = true;
    },
  };
}

/** The card's empty parts. */
function build(host) {
  const layer = svg("g");
  const plotted = svg("g");
  const look = { class: "plot", tabindex: 0, role: "application", "aria-describedby": "chart-keys" };
  const canvas = svg("svg", look, plotted, layer);
  const tooltip = el("div", { class: "tooltip", hidden: true, "aria-hidden": "true" });
  const text =
    "Left and right arrows read one bucket after the other. Shift and arrow select a stretch, Enter zooms into it.";
  const keys = el("p", { class: "sr", id: "chart-keys" }, text);
  const parts = {
    head: el("div", { class: "card-head chart-head" }),
    legend: el("div", { class: "legend" }),
    message: el("div", { hidden: true }),
    frame: el("div", { class: "plot-frame loading" }, canvas, tooltip, keys),
    table: el("div", {
      class: "table-scroll chart-table",
      hidden: true,
      tabindex: 0,
      role: "region",
      "aria-label": "The chart as a table",
    }),
  };
  host.append(el("h2", { class: "sr", id: "chart-title" }, "Over time"), ...Object.values(parts));
  return { ...parts, layer, plotted, canvas, tooltip };
}

function setChoice(state, change) {
  const options = [...SETS].map(([name, set]) => ({ name, label: set.label }));
  const choose = (show) => change({ show });
  return segmented({ label: "Metrics of the chart", options, value: state.show, choose, kind: "tabs" });
}

function zoomOut(state, on) {
  if (state.range !== "custom") return null;
  return el(
    "button",
    { class: "button small", type: "button", "data-key": "zoom-out", onclick: on.zoomOut },
    "Zoom out",
  );
}

function tableButton(pressed, onclick) {
  const label = "Show as a table";
  const look = { class: "icon-button", type: "button", title: label, "aria-label": label };
  return el("button", { ...look, "data-key": "as-table", "aria-pressed": String(pressed), onclick }, icon("table"));
}

function visible(model, hidden) {
  const lines = model.lines.filter((line) => !hidden.has(line.metric.name));
  return { ...model, lines: lines.length > 0 ? lines : model.lines };
}

function label(model, state) {
  const set = SETS.get(state.show)?.label ?? "";
  const end = model.times[model.times.length - 1] + model.stepMs;
  return `${set} over time, ${format.span(model.times[0], end, model.zone)}, ${model.times.length} buckets`;
}

function legendItems(model, hidden, toggle) {
  if (model.note) return [el("p", { class: "quiet legend-note" }, model.note)];
  const items = model.lines.map(({ metric, stacked }) => {
    const pressed = !hidden.has(metric.name);
    const only = model.lines.length === 1;
    const parts = [el("span", { class: `swatch tone-${metric.tone}${stacked ? " block" : ""}` }), metric.label];
    if (only) return el("span", { class: "legend-item" }, ...parts);
    return el(
      "button",
      {
        class: "legend-item",
        type: "button",
        "data-key": metric.name,
        "aria-pressed": String(pressed),
        onclick: () => toggle(metric.name),
      },
      ...parts,
    );
  });
  const ghost = model.lines.find((line) => line.previous?.some((value) => value !== null));
  if (ghost)
    items.push(
      el(
        "span",
        { class: "legend-item" },
        el("span", { class: "swatch ghost-swatch" }),
        `${ghost.metric.label}, period before`,
      ),
    );
  return items;
}

function stepSelect(state, steps, step, change) {
  const options = steps.map((name) => {
    const text = name === "auto" ? `Auto (${STEP_LABELS[step]})` : STEP_LABELS[name];
    return el("option", { value: name, selected: name === state.step }, text);
  });
  return el(
    "select",
    {
      class: "select",
      "aria-label": "Granularity",
      "data-key": "step",
      onchange: (event) => change({ step: event.target.value }),
    },
    ...options,
  );
}

/** Newest first, as one reads a log. */
function seriesTable(model) {
  const heads = ["Time", ...model.lines.map((line) => line.metric.label)].map((text) =>
    el("th", { scope: "col" }, text),
  );
  const body = el("tbody");
  for (let index = model.times.length - 1; index >= 0; index--) {
    const cells = model.lines.map((line) => el("td", {}, format.value(line.metric, line.values[index])));
    body.append(
      el("tr", {}, el("th", { scope: "row" }, format.bucket(model.times[index], model.stepMs, model.zone)), ...cells),
    );
  }
  return el("table", { class: "table" }, el("thead", {}, el("tr", {}, ...heads)), body);
}
