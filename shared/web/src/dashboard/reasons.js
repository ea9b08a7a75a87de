/**
 * @file Why mail bounced: one bar per reason, largest first. Reasons without a bounce are left out.
 */

import { el, refill } from "./dom.js";
import * as format from "./format.js";
import { REASONS } from "./metrics.js";
import { failure } from "./states.js";

const MAX_FOLDED = 8;

/** Builds the card. */
export function createReasons(/** @type {HTMLElement} */ host, retry) {
  const total = el("span", { class: "quiet" });
  const body = el("div", { class: "reason-list loading" });
  let all = false;
  host.append(el("div", { class: "card-head" }, el("h2", { id: "reasons-title" }, "Why mail bounced"), total), body);
  return {
    update(row) {
      body.classList.remove("loading");
      const found = REASONS.map(([name, label]) => ({ label, count: row.metrics[`bounces_${name}`] ?? 0 })).filter(
        ({ count }) => count > 0,
      );
      found.sort((a, b) => b.count - a.count);
      const sum = found.reduce((all, { count }) => all + count, 0);
      total.textContent =
        row.metrics.bounces === null || row.metrics.bounces === undefined
          ? ""
          : `${format.count(row.metrics.bounces)} ${row.metrics.bounces === 1 ? "bounce" : "bounces"}`;
      if (sum === 0) return refill(body, el("p", { class: "quiet" }, "No bounces in this range."));
      const shown = all ? found : found.slice(0, MAX_FOLDED);
      const rest = found.length - MAX_FOLDED;
      const flip = () => {
        all = !all;
        this.update(row);
      };
      const more =
        rest > 0 &&
        el(
          "button",
          { class: "link more", type: "button", "data-key": "more", "aria-expanded": String(all), onclick: flip },
          all ? "Show fewer" : `Show ${rest} more`,
        );
      refill(body, el("ul", {}, ...shown.map((reason) => item(reason, found[0].count, sum))), more);
    },
    fail(error) {
      body.classList.remove("loading");
      refill(body, failure(error, retry));
    },
  };
}

function item({ label, count }, most, sum) {
  const bar = el("span", { class: "bar-fill", "aria-hidden": "true" });
  bar.style.width = `${(count / most) * 100}%`;
  return el(
    "li",
    {},
    el(
      "span",
      { class: "cell-figures" },
      el("span", {}, label),
      el("span", {}, format.count(count), el("span", { class: "share" }, format.percent(count / sum, 1))),
    ),
    el("span", { class: "bar-track tone-bounce" }, bar),
  );
}
