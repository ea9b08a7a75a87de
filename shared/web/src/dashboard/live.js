/**
 * @file Shows how fresh the numbers are: the time up to which everything is counted, and the age of the newest event. It shows
 * both, since a pipeline that is up to date may receive no events, which must not look healthy.
 */

import { el, refill } from "./dom.js";
import * as format from "./format.js";

/** Counting is late if it is this far behind. */
const LATE_MS = 5 * 60_000;
/** The absence of events is shown after this time. */
const SILENT_MS = 5 * 60_000;

/**
 * The state and the texts of the indicator.
 * @param {{ now: number, completeUntil: number, newest: number, broken: string }} facts Times are NaN if they are not known.
 * @returns {{ kind: "fresh" | "late" | "broken", text: string, detail: string }}
 */
export function freshness({ now, completeUntil, newest, broken }) {
  const counted = Number.isFinite(completeUntil) ? `complete until ${format.age(now - completeUntil)}` : "";
  const event = Number.isFinite(newest) ? `newest event ${format.age(now - newest)}` : "";
  const detail = (...parts) => parts.filter(Boolean).join(" · ");
  if (broken) return { kind: "broken", text: broken, detail: detail(counted, event) };
  if (now - completeUntil > LATE_MS)
    return { kind: "late", text: capital(counted), detail: detail(event) };
  if (!Number.isFinite(newest)) return { kind: "late", text: "No events yet", detail: detail(counted) };
  if (now - newest > SILENT_MS)
    return { kind: "late", text: `No events for ${format.age(now - newest).replace(" ago", "")}`, detail: detail(counted) };
  return { kind: "fresh", text: "Live", detail: detail(counted, event) };
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Builds the indicator, which updates its ages by itself. */
export function createLive(/** @type {HTMLElement} */ host) {
  let completeUntil = NaN;
  let newest = NaN;
  let broken = "";
  const show = () => {
    const { kind, text, detail } = freshness({ now: Date.now(), completeUntil, newest, broken });
    const at = (time, words) => Number.isFinite(time) && `${words} ${new Date(time).toLocaleString()}`;
    host.title = [at(completeUntil, "Everything is counted up to"), at(newest, "newest event")].filter(Boolean).join("; ");
    host.dataset.kind = kind;
    refill(
      host,
      el("span", { class: `dot ${kind}`, "aria-hidden": "true" }),
      el("span", { class: "live-text" }, text),
      detail && el("span", { class: "live-age" }, detail),
    );
  };
  setInterval(show, 5_000);
  return {
    update(meta) {
      completeUntil = Date.parse(meta.complete_until ?? "");
      newest = Date.parse(meta.newest_event ?? "");
      show();
    },
    /** @param {{ status?: number } | undefined} error Why the last refresh failed, if it did. */
    failed(error) {
      broken = error ? (error.status === 0 ? "Not reachable" : "Not refreshed") : "";
      show();
    },
  };
}
