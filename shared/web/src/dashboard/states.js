/**
 * @file What is shown when there are no numbers: sign-in, a failure with a way to try again, and a first step for an
 * account without events. The key typed here goes to the session storage and nowhere else.
 */

import { el, icon, refill } from "./dom.js";

/** A failure, in the server's words. */
export function failure(/** @type {Error} */ error, retry) {
  return el(
    "div",
    { class: "failure", role: "alert" },
    icon("alert"),
    el(
      "div",
      {},
      el("p", { class: "failure-title" }, "These numbers could not be loaded"),
      el("p", { class: "quiet" }, sentence(error.message)),
    ),
    el("button", { class: "button small", type: "button", "data-key": "retry", onclick: retry }, "Try again"),
  );
}

/** A message of the server as a sentence. */
export function sentence(/** @type {string} */ text) {
  const start = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}

/** The card that asks for a key. */
export function showSignIn(/** @type {HTMLElement} */ host, problem, provider, submit) {
  const input = el("input", {
    id: "key",
    type: "password",
    name: "key",
    required: true,
    placeholder: "mg_…",
    autocomplete: "current-password",
    spellcheck: "false",
    "aria-describedby": "key-help",
  });
  const onsubmit = (event) => {
    event.preventDefault();
    const key = input.value.trim();
    if (key) submit(key);
  };
  refill(
    host,
    el(
      "form",
      { class: "card sign-in-card", onsubmit },
      el("img", { src: "assets/icon.svg", alt: "", width: 44, height: 44 }),
      el("h1", {}, "Sign in to Mailgauge"),
      el(
        "p",
        { class: "quiet", id: "key-help" },
        "Paste an API key. You stay signed in for a working day, or until you sign out.",
      ),
      problem && el("p", { class: "problem", role: "alert" }, sentence(problem)),
      el("label", { for: "key" }, "API key"),
      input,
      el("button", { class: "button primary wide", type: "submit" }, "Sign in"),
      provider && el("a", { class: "button wide", href: provider }, "Sign in with your identity provider"),
      el(
        "p",
        { class: "quiet hint" },
        "The server prints a sign-in link when it starts. New keys: ",
        el("code", {}, "mailgauge keys add"),
      ),
    ),
  );
  input.focus();
}

/** How to send the first event; the example is complete, so that it can be pasted as it is. */
export function showFirstEvent(/** @type {HTMLElement} */ host, copied) {
  const address = new URL("v1/ingest/ses", location.href).href.replace(/[?#].*$/, "");
  const command = `curl ${address} \\
  -H "Authorization: Bearer $MAILGAUGE_KEY" \\
  -H "Content-Type: application/json" \\
  -d '${JSON.stringify(sample(new Date())).replace(/,"(mail|source|delivery|recipients)":/g, ',\n    "$1":')}'`;
  const copy = el(
    "button",
    { class: "button small copy", type: "button", onclick: () => navigator.clipboard?.writeText(command).then(copied) },
    "Copy",
  );
  refill(
    host,
    el(
      "div",
      { class: "card empty" },
      el("img", { src: "assets/icon.svg", alt: "", width: 40, height: 40 }),
      el("h2", {}, "Waiting for the first event"),
      el(
        "p",
        { class: "quiet" },
        "No event has arrived yet. Send the events of an SES configuration set here, or one by hand, and it shows up at once.",
      ),
      el("div", { class: "code" }, el("pre", { tabindex: 0 }, el("code", {}, command)), copy),
    ),
  );
}

function sample(now) {
  const time = now.toISOString();
  return {
    eventType: "Delivery",
    mail: {
      timestamp: time,
      messageId: "first-event",
      source: "news@example.com",
      destination: ["someone@example.net"],
      tags: { campaign: ["welcome"] },
    },
    delivery: {
      timestamp: time,
      processingTimeMillis: 840,
      recipients: ["someone@example.net"],
      smtpResponse: "250 ok",
    },
  };
}

/** Events exist, but none here. */
export function showNothing(/** @type {HTMLElement} */ host, { filtered, clear, widen }) {
  refill(
    host,
    el(
      "div",
      { class: "card empty" },
      el("h2", {}, "No mail in this range"),
      el(
        "p",
        { class: "quiet" },
        filtered ? "Nothing matches these filters here." : "There are events, but none in the range chosen.",
      ),
      el(
        "div",
        { class: "empty-actions" },
        filtered && el("button", { class: "button primary", type: "button", onclick: clear }, "Clear the filters"),
        el("button", { class: `button${filtered ? "" : " primary"}`, type: "button", onclick: widen }, "Show 30 days"),
      ),
    ),
  );
}
