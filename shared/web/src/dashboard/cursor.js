/**
 * @file The cursor on the chart: crosshair and tooltip under the pointer or by arrow keys, and a dragged (or Shift + arrow)
 * stretch to zoom into. It only reports what was chosen; the address and the data change elsewhere.
 */

import { el, svg } from "./dom.js";
import * as format from "./format.js";

const MIN_DRAG_PX = 8;

/**
 * Binds a cursor to the chart's SVG.
 * @param {{ canvas: SVGSVGElement, layer: SVGGElement, tooltip: HTMLElement, announce: (text: string) => void, onZoom: (from: number, to: number) => void }} parts
 */
export function bindCursor({ canvas, layer, tooltip, announce, onZoom }) {
  /** @type {{ model: import("./plot.js").Model, geometry: import("./plot.js").Geometry } | null} */
  let drawn = null;
  let index = -1;
  let anchor = -1;
  let startX = 0;

  const show = () => {
    if (!drawn || index < 0) return hide();
    index = Math.min(index, drawn.model.times.length - 1);
    layer.replaceChildren(...marks(drawn, index, anchor));
    fillTooltip(tooltip, drawn.model, index);
    placeTooltip(tooltip, drawn.geometry.x(index), drawn.geometry);
  };
  const hide = () => {
    index = anchor = -1;
    layer.replaceChildren();
    tooltip.hidden = true;
  };
  const zoom = () => {
    const [first, last] = anchor < index ? [anchor, index] : [index, anchor];
    const { times, stepMs } = drawn.model;
    const end = times[last + 1] ?? times[last] + stepMs;
    hide();
    onZoom(times[first], end);
  };
  const bucketAt = (event) => drawn.geometry.indexAt(event.clientX - canvas.getBoundingClientRect().left);

  canvas.addEventListener("pointermove", (event) => {
    if (!drawn) return;
    index = bucketAt(event);
    show();
  });
  canvas.addEventListener("pointerdown", (event) => {
    if (!drawn || event.button !== 0 || event.pointerType === "touch") return;
    canvas.setPointerCapture(event.pointerId);
    startX = event.clientX;
    anchor = index = bucketAt(event);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!drawn || anchor < 0) return;
    if (Math.abs(event.clientX - startX) >= MIN_DRAG_PX && anchor !== index) return zoom();
    anchor = -1;
    show();
  });
  canvas.addEventListener("pointercancel", hide);
  canvas.addEventListener("pointerleave", () => anchor < 0 && document.activeElement !== canvas && hide());
  canvas.addEventListener("blur", hide);
  canvas.addEventListener("keydown", (event) => {
    if (!drawn) return;
    const last = drawn.model.times.length - 1;
    const page = Math.max(1, Math.round(last / 10));
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -page, PageDown: page, Home: -last, End: last };
    if (event.key in moves) {
      if (event.shiftKey && anchor < 0) anchor = Math.max(0, index);
      if (!event.shiftKey) anchor = -1;
      const from = index < 0 ? last + (moves[event.key] < 0 ? 1 : 0) : index;
      index = Math.min(last, Math.max(0, from + moves[event.key]));
      show();
      announce(describe(drawn.model, index));
    } else if (event.key === "Enter" && anchor >= 0 && anchor !== index) zoom();
    else if (event.key === "Escape" && index >= 0) hide();
    else return;
    event.preventDefault();
  });
  return {
    /** After each drawing; the cursor stays on its bucket. */
    drawn(next) {
      drawn = next;
      if (index >= 0) show();
    },
    hide,
  };
}

function marks({ model, geometry }, index, anchor) {
  const x = geometry.x(index);
  const nodes = [];
  if (anchor >= 0 && anchor !== index) {
    const start = geometry.edge(Math.min(anchor, index));
    const end = geometry.edge(Math.max(anchor, index) + 1);
    nodes.push(svg("rect", { class: "selection", x: start, y: geometry.top, width: end - start, height: geometry.bottom - geometry.top }));
  }
  nodes.push(svg("line", { class: "crosshair", x1: x, x2: x, y1: geometry.top, y2: geometry.bottom }));
  for (const line of model.lines.filter((line) => !line.stacked)) {
    const value = line.values[index];
    if (value !== null && value !== undefined) nodes.push(svg("circle", { class: `mark tone-${line.metric.tone}`, cx: x, cy: geometry.y(value), r: 4 }));
  }
  return nodes;
}

function fillTooltip(tooltip, model, index) {
  const rows = model.lines.map((line) => {
    const swatch = el("span", { class: `swatch tone-${line.metric.tone}${line.stacked ? " block" : ""}` });
    return el("div", { class: "tip-row" }, swatch, el("span", {}, line.metric.label), el("b", {}, format.value(line.metric, line.values[index])));
  });
  const before = model.lines.find((line) => line.previous);
  const ghost = before?.previous[index];
  if (before && ghost !== null && ghost !== undefined) {
    rows.push(el("div", { class: "tip-row tip-ghost" }, el("span", { class: "swatch ghost-swatch" }), el("span", {}, "Period before"), el("b", {}, format.value(before.metric, ghost))));
  }
  const time = model.times[index];
  const open = time + model.stepMs > model.completeUntil;
  const head = el("div", { class: "tip-head" }, format.bucket(time, model.stepMs, model.zone), open && el("span", { class: "tip-open" }, "not complete yet"));
  tooltip.replaceChildren(head, ...rows);
  tooltip.hidden = false;
}

/** Beside the crosshair, on the side with room. Positions are set through the object model, which needs no inline style. */
function placeTooltip(tooltip, x, geometry) {
  const width = tooltip.offsetWidth;
  const right = x + 14 + width <= geometry.right + 10;
  const left = right ? x + 14 : Math.max(4, x - 14 - width);
  tooltip.style.transform = `translate(${Math.round(left)}px, ${geometry.top}px)`;
}

function describe(model, index) {
  const values = model.lines.map((line) => `${line.metric.label} ${format.value(line.metric, line.values[index])}`);
  return `${format.bucket(model.times[index], model.stepMs, model.zone)}: ${values.join(", ")}`;
}
