/**
 * @file Draws a time series as SVG: grid, axes, lines with gaps, the ghost of the period before, the limit. Drawing
 * only: it listens to nothing and remembers nothing. A bucket without a value is a gap, never a zero; buckets that
 * are not complete yet are dashed.
 */

import { svg } from "./dom.js";
import * as format from "./format.js";
import { timeTicks, valueTicks } from "./scale.js";

/**
 * @typedef {object} Line
 * @property {import("./metrics.js").Metric} metric
 * @property {(number | null)[]} values
 * @property {(number | null)[]} [previous] The same buckets of the period before.
 * @property {boolean} [stacked] Drawn as columns on top of each other.
 *
 * @typedef {object} Model
 * @property {number[]} times Bucket starts, ascending.
 * @property {number} stepMs
 * @property {string} zone
 * @property {number} completeUntil Milliseconds; buckets that end later may still grow.
 * @property {Line[]} lines
 * @property {string} [note] Why there is no line, if that needs an explanation.
 *
 * @typedef {object} Geometry
 * @property {number} left @property {number} right @property {number} top @property {number} bottom
 * @property {(index: number) => number} x The middle of a bucket.
 * @property {(index: number) => number} edge The start of a bucket; one past the last is the end.
 * @property {(value: number) => number} y
 * @property {(px: number) => number} indexAt The bucket below a place.
 */

/** With more buckets than this, lines are thinner. */
const DENSE = 400;
const MARGIN = { top: 14, right: 14, bottom: 28, left: 56 };

/**
 * Draws a model.
 * @param {Model} model
 * @returns {{ nodes: SVGElement[], geometry: Geometry }}
 */
export function draw(model, width, height) {
  const lines = model.lines;
  const domain = domainOf(lines);
  const ticks = valueTicks({ ...domain, wanted: height < 260 ? 4 : 5, unit: lines[0].metric.unit });
  const geometry = geometryOf(model, width, height, ticks[0], ticks[ticks.length - 1]);
  const open = firstOpen(model);
  const dense = model.times.length > DENSE ? " dense" : "";
  const overColumns = lines.some((line) => line.stacked);
  return {
    nodes: [
      ...lines.map((line) => gradient(line.metric.tone)),
      grid(ticks, lines[0].metric, geometry),
      timeAxis(model, geometry),
      ...columns(
        lines.filter((line) => line.stacked),
        open,
        geometry,
      ),
      ...lines
        .slice(0, 1)
        .filter(() => ticks[0] === 0 && !overColumns)
        .map((line) => area(line, geometry, ticks[0])),
      ...lines
        .filter((line) => line.previous)
        .map((line) =>
          svg("path", { class: `ghost${dense}`, d: path(line.previous, 0, line.previous.length, geometry) }),
        ),
      ...lines
        .filter((line) => !line.stacked)
        .reverse()
        .map((line) => strokes(line, open, geometry, { dense, overColumns })),
      ...limits(lines, geometry),
    ],
    geometry,
  };
}

/**
 * The lowest and highest value to show. The axis of a metric close to 1 does not start at 0, which would squeeze its line against
 * the top.
 */
function domainOf(lines) {
  const stack = stackOf(lines.filter((line) => line.stacked));
  const values = [...lines.flatMap((line) => [...line.values, ...(line.previous ?? [])]), ...stack].filter(
    (value) => value !== null,
  );
  const metric = lines[0].metric;
  for (const { metric: one } of lines) if (one.limit) values.push(one.limit.value);
  const { nearOne } = metric;
  const high = Math.max(...values, nearOne ? 1 : 0);
  const low = nearOne ? Math.min(...values) : 0;
  return { low, high: high > low ? high : low + (metric.unit === "fraction" ? 0.01 : 10) };
}

function geometryOf(model, width, height, low, high) {
  const left = MARGIN.left;
  const right = Math.max(left + 1, width - MARGIN.right);
  const bottom = height - MARGIN.bottom;
  const count = Math.max(1, model.times.length);
  const wide = (right - left) / count;
  return {
    left,
    right,
    top: MARGIN.top,
    bottom,
    x: (index) => left + (index + 0.5) * wide,
    edge: (index) => left + index * wide,
    y: (value) => bottom - ((value - low) / (high - low)) * (bottom - MARGIN.top),
    indexAt: (px) => Math.min(count - 1, Math.max(0, Math.floor((px - left) / wide))),
  };
}

/** The first bucket that may still grow. */
export function firstOpen(/** @type {Model} */ model) {
  const index = model.times.findIndex((time) => time + model.stepMs > model.completeUntil);
  return index < 0 ? model.times.length : index;
}

/** Half a pixel keeps a line of one pixel crisp. */
const crisp = (place) => Math.round(place) + 0.5;

function grid(ticks, metric, geometry) {
  const group = svg("g", { class: "grid" });
  const axis = metric.unit === "fraction" ? { ...metric, digits: axisDigits(ticks) } : metric;
  for (const tick of ticks) {
    const y = crisp(geometry.y(tick));
    group.append(svg("line", { x1: geometry.left, x2: geometry.right, y1: y, y2: y }));
    group.append(
      svg("text", { x: geometry.left - 10, y: y + 3.5, "text-anchor": "end" }, format.value(axis, tick, "axis")),
    );
  }
  return group;
}

/** As many digits as the step between ticks needs. */
function axisDigits(ticks) {
  const step = (ticks[1] - ticks[0]) * 100;
  return Math.min(4, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
}

function timeAxis(model, geometry) {
  const group = svg("g", { class: "grid axis" });
  const wanted = Math.max(2, Math.floor((geometry.right - geometry.left) / 64));
  const byDay = model.stepMs >= 86_400_000;
  for (const { time, midnight } of timeTicks(model.times, wanted, minuteOfDay(model.zone))) {
    const index = model.times.indexOf(time);
    const x = byDay ? geometry.x(index) : geometry.edge(index);
    const anchor = x > geometry.right - 18 ? "end" : "middle";
    group.append(svg("line", { x1: crisp(x), x2: crisp(x), y1: geometry.bottom, y2: geometry.bottom + 4 }));
    const text = midnight ? format.day(time, model.zone) : format.clock(time, model.zone);
    group.append(
      svg(
        "text",
        {
          class: midnight && !byDay ? "midnight" : null,
          x: anchor === "end" ? Math.max(x, geometry.right) : x,
          y: geometry.bottom + 19,
          "text-anchor": anchor,
        },
        text,
      ),
    );
  }
  return group;
}

/** The page only shows UTC or the browser's own zone. */
function minuteOfDay(zone) {
  if (zone === "UTC") return (time) => Math.floor(time / 60_000) % 1440;
  return (time) => new Date(time).getHours() * 60 + new Date(time).getMinutes();
}

function gradient(tone) {
  const stops = [svg("stop", { offset: 0, class: "stop-high" }), svg("stop", { offset: 1, class: "stop-low" })];
  return svg("linearGradient", { id: `fade-${tone}`, class: `tone-${tone}`, x1: 0, y1: 0, x2: 0, y2: 1 }, ...stops);
}

/** The sums of stacked lines, bucket by bucket. */
function stackOf(lines) {
  return lines.length === 0
    ? []
    : lines[0].values.map((_, index) => lines.reduce((sum, line) => sum + (line.values[index] ?? 0), 0));
}

/** One path per stacked line and state, however many buckets there are. Whole pixels keep thin columns even. */
function columns(lines, open, geometry) {
  const wide = geometry.edge(1) - geometry.edge(0);
  const gap = wide >= 5 ? Math.max(1, wide * 0.22) : 0;
  const bases = lines[0]?.values.map(() => 0) ?? [];
  return lines.map((line) => {
    const parts = ["", ""];
    line.values.forEach((value, index) => {
      if (!value) return;
      const left = Math.round(geometry.edge(index) + gap / 2);
      const right = Math.max(left + 1, Math.round(geometry.edge(index + 1) - gap / 2));
      const foot = geometry.y(bases[index]);
      bases[index] += value;
      parts[Number(index >= open)] +=
        `M${left},${foot.toFixed(1)}V${geometry.y(bases[index]).toFixed(1)}H${right}V${foot.toFixed(1)}Z`;
    });
    return svg(
      "g",
      { class: `tone-${line.metric.tone}` },
      svg("path", { class: "column", d: parts[0] }),
      svg("path", { class: "column open", d: parts[1] }),
    );
  });
}

function area(line, geometry, base) {
  const y = geometry.y(base).toFixed(1);
  const parts = runs(line.values, 0, line.values.length).map(([start, end]) => {
    const top = points(line.values, start, end, geometry);
    return `M${geometry.x(start).toFixed(1)},${y}L${top}L${geometry.x(end - 1).toFixed(1)},${y}Z`;
  });
  return svg("path", { class: "area", d: parts.join(""), fill: `url(#fade-${line.metric.tone})` });
}

/** The limits of the metrics drawn, each with its metric's name if there are several lines. */
function limits(lines, geometry) {
  return lines
    .filter(({ metric }) => metric.limit)
    .flatMap(({ metric }) => {
      const y = crisp(geometry.y(metric.limit.value));
      const name = lines.length > 1 ? `${metric.label}, limit` : "Limit";
      const text = `${name} ${format.limit(metric, metric.limit.value)}`;
      return [
        svg("line", { class: "limit", x1: geometry.left, x2: geometry.right, y1: y, y2: y }),
        svg("text", { class: "limit-text", x: geometry.right - 4, y: y - 6, "text-anchor": "end" }, text),
      ];
    });
}

function strokes(line, open, geometry, { dense, overColumns }) {
  const group = svg("g", { class: `series tone-${line.metric.tone}${dense}` });
  group.append(svg("path", { class: "line", d: path(line.values, 0, open, geometry) }));
  // Over columns, the dimmed column alone says that the bucket still fills; a line would seem to crash.
  const rest = overColumns ? "" : path(line.values, Math.max(0, open - 1), line.values.length, geometry);
  group.append(svg("path", { class: "line open", d: rest }));
  for (const [start, end] of runs(line.values, 0, line.values.length)) {
    // A bucket between two gaps has no line, so it gets a dot.
    if (end - start === 1)
      group.append(svg("circle", { class: "lone", cx: geometry.x(start), cy: geometry.y(line.values[start]), r: 2 }));
  }
  return group;
}

function path(values, from, to, geometry) {
  return runs(values, from, to)
    .map(([start, end]) => `M${points(values, start, end, geometry)}`)
    .join("");
}

function points(values, start, end, geometry) {
  const text = [];
  for (let index = start; index < end; index++)
    text.push(`${geometry.x(index).toFixed(1)},${geometry.y(values[index]).toFixed(1)}`);
  return text.join("L");
}

/** The stretches without a gap, as half-open index pairs. */
export function runs(values, from, to) {
  const found = [];
  let start = -1;
  for (let index = from; index <= to; index++) {
    const present = index < to && values[index] !== null && values[index] !== undefined;
    if (present && start < 0) start = index;
    if (!present && start >= 0) {
      found.push([start, index]);
      start = -1;
    }
  }
  return found;
}
