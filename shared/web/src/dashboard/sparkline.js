/**
 * @file A small line without axes, for a tile. It says the shape only; the numbers are the tile's text, so screen readers
 * pass over it.
 */

import { svg } from "./dom.js";
import { runs } from "./plot.js";

const WIDTH = 240;
const HEIGHT = 40;
const PAD = 3;

/**
 * Draws values, oldest first; gaps stay gaps.
 * @param {(number | null)[]} values
 * @param {{ tone: string, base: number }} look `base` is always in sight, so that noise does not fill the height.
 */
export function sparkline(values, { tone, base }) {
  const present = values.filter((value) => value !== null);
  const root = svg("svg", { class: `spark tone-${tone}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  if (present.length === 0) return root;
  const high = Math.max(base, ...present);
  const low = Math.min(base, ...present);
  const span = high - low || 1;
  const x = (index) => (values.length === 1 ? WIDTH / 2 : (index / (values.length - 1)) * WIDTH);
  const y = (value) => HEIGHT - PAD - ((value - low) / span) * (HEIGHT - 2 * PAD);
  for (const [start, end] of runs(values, 0, values.length)) {
    const points = [];
    for (let index = start; index < end; index++) points.push(`${x(index).toFixed(1)},${y(values[index]).toFixed(1)}`);
    const line = points.join("L");
    root.append(svg("path", { class: "spark-area", d: `M${x(start).toFixed(1)},${HEIGHT}L${line}L${x(end - 1).toFixed(1)},${HEIGHT}Z` }));
    root.append(svg("path", { class: "spark-line", d: `M${line}` }));
  }
  return root;
}
