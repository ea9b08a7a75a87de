/**
 * @file The alerts of the period: open ones first, resolved ones behind a button. Hidden while there are none.
 * Summaries hold names from mail and enter the page as text only.
 */

import { el, icon, refill } from "./dom.js";
import * as format from "./format.js";

const MAX_FOLDED = 5;
const DAY_MS = 86_400_000;

/**
 * Builds the card.
 * @param {HTMLElement} host
 * @param {{ look: (alert: any) => void, acknowledge: (id: string) => Promise<void> }} on
 */
export function createAlerts(host, on) {
  const title = el("h2", { id: "alerts-title" }, "Alerts");
  const figures = el("span", { class: "quiet" });
  const body = el("div", { class: "alert-list" });
  let opened = false;
  let last = /** @type {[any[], string | null, string]} */ ([[], null, "UTC"]);
  host.append(el("div", { class: "card-head" }, title, figures), body);
  const panel = {
    /**
     * @param {any[]} alerts
     * @param {string | null} linked The alert that the address points to.
     * @param {string} zone
     */
    update(alerts, linked, zone) {
      last = [alerts, linked, zone];
      host.hidden = alerts.length === 0;
      const open = alerts.filter((alert) => alert.state !== "resolved");
      const over = alerts.filter((alert) => alert.state === "resolved");
      host.classList.toggle("calm", open.length === 0);
      figures.textContent = [open.length && `${open.length} open`, over.length && `${over.length} over`]
        .filter(Boolean)
        .join(" · ");
      const all = opened || over.some((alert) => alert.id === linked);
      const flip = () => {
        opened = !all;
        panel.update(...last);
      };
      const fold = over.length > 0 && (
        el(
          "button",
          { class: "link more", type: "button", "data-key": "over", "aria-expanded": String(all), onclick: flip },
          all ? "Hide what is over" : `Show what is over (${over.length})`,
        )
      );
      const shown = [...open, ...(all ? over : [])].slice(0, all ? undefined : Math.max(MAX_FOLDED, open.length));
      refill(body, el("ul", {}, ...shown.map((alert) => item(alert, linked, zone, on))), fold);
    },
    /** Alerts are extra: numbers are shown without them. */
    fail() {
      host.hidden = true;
    },
  };
  return panel;
}

function item(alert, linked, zone, on) {
  const open = alert.state !== "resolved";
  const started = Date.parse(alert.started_at);
  const ended = open ? Date.now() : Date.parse(alert.updated_at);
  const look = () => on.look(alert);
  const take = (event) => {
    event.currentTarget.disabled = true;
    on.acknowledge(alert.id);
  };
  const cause = alert.cause.slice(0, 3).map(({ filter, share }) =>
    el("span", { class: "cause" }, `${Object.values(filter).join(", ")} ${format.percent(share, 0)}`),
  );
  return el(
    "li",
    { class: `alert ${open ? alert.severity : "over"}`, "aria-current": alert.id === linked ? "true" : null },
    el("span", { class: "severity" }, icon(open ? "alert" : "check"), open ? alert.severity : "over"),
    el(
      "div",
      { class: "alert-text" },
      // The next line shows when a resolved alert ended, in the reader's time zone, so the server's text in UTC is left out.
      el("p", {}, alert.summary.replace(/^Resolved, last seen \S+: /, "")),
      el(
        "p",
        { class: "quiet" },
        `${when(started, zone)} · ${span(Math.max(0, ended - started))}`,
        alert.acknowledged ? ` · ${alert.acknowledged.by} looks after it` : null,
        ...(cause.length > 0 ? [" · explained by ", ...cause] : []),
      ),
    ),
    el(
      "div",
      { class: "alert-actions" },
      open &&
        !alert.acknowledged &&
        el("button", { class: "button small", type: "button", "data-key": `ack ${alert.id}`, onclick: take }, "Acknowledge"),
      el("button", { class: "button small", type: "button", "data-key": `look ${alert.id}`, onclick: look }, "Look"),
    ),
  );
}

function span(ms) {
  return ms < 2 * DAY_MS ? format.duration(ms) : `${(ms / DAY_MS).toFixed(1)} d`;
}

function when(time, zone) {
  const day = new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "numeric", month: "short" }).format(time);
  return `${day}, ${format.clock(time, zone)}`;
}
