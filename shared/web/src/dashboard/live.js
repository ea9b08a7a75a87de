/**
 * @file Says how fresh the numbers are: up to when everything has been counted, and how old the newest event is. Both stand
 * there, since a pipeline that is up to date may have nothing to count: then it does not look healthy either.
 */

import { el, refill } from "./dom.js";
import * as format from "./format.js";

/** Counting that is so far behind is late. */
const LATE_MS = 5 * 60_000;
/** No event for so long is worth a look. */
const SILENT_MS = 5 * 60_000;

/**
 * What the sign says.
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

/** Builds the sign; it ages by itself. */
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
