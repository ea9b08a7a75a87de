/**
 * @file Says how fresh the numbers are: a dot, and the age of the moment up to which everything has been counted.
 */

import { el, refill } from "./dom.js";
import * as format from "./format.js";

const LATE_MS = 5 * 60_000;

/** Builds the sign; it ages by itself. */
export function createLive(/** @type {HTMLElement} */ host) {
  let completeUntil = NaN;
  let newest = NaN;
  let broken = "";
  const show = () => {
    const age = Date.now() - completeUntil;
    const known = Number.isFinite(age);
    const kind = broken ? "broken" : known && age > LATE_MS ? "late" : "fresh";
    const text = broken ? broken : known ? (kind === "late" ? `Complete until ${format.age(age)}` : "Live") : "Live";
    const detail = [known && `Everything up to ${new Date(completeUntil).toLocaleTimeString()} is counted`, Number.isFinite(newest) && `newest event ${format.age(Date.now() - newest)}`];
    host.title = detail.filter(Boolean).join("; ");
    refill(host, el("span", { class: `dot ${kind}`, "aria-hidden": "true" }), el("span", { class: "live-text" }, text),
      known && kind === "fresh" && !broken && el("span", { class: "live-age" }, `complete until ${format.age(age)}`));
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
