/**
 * @file Makes elements. Names that come from mail (campaigns, domains) are hostile, so text only ever enters the page as a
 * text node or an attribute; this file must never parse markup.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Fills an element with attributes, listeners (`onclick`) and children.
 * @template {Element} E
 * @param {E} node
 * @param {Record<string, unknown>} attributes `null`, `undefined` and `false` are left out.
 * @param {(Node | string | number | null | undefined | false)[]} children
 * @returns {E}
 */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

/** An HTML element. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** The element of `index.html` with this id. */
export function place(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`index.html has no element with id ${id}`);
  return node;
}

/** Replaces the children of `host` and gives the focus back to the element with the same `data-key`. */
export function refill(host, ...children) {
  const active = document.activeElement;
  const key = active && host.contains(active) ? active.getAttribute("data-key") : null;
  host.replaceChildren(...children.filter((child) => child !== null && child !== undefined && child !== false));
  if (key === null) return;
  for (const node of host.querySelectorAll("[data-key]")) {
    if (node.getAttribute("data-key") === key) return /** @type {HTMLElement} */ (node).focus({ preventScroll: true });
  }
}

const ICONS = {
  refresh: ["M13.6 6.3A6 6 0 1 0 14 8.6", "M14 2.6v3.9h-3.9"],
  sun: ["M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6z", "M8 1.2v1.4M8 13.4v1.4M1.2 8h1.4M13.4 8h1.4M3.2 3.2l1 1M11.8 11.8l1 1M3.2 12.8l1-1M11.8 4.2l1-1"],
  moon: ["M13.6 9.6A6 6 0 0 1 6.4 2.4a6 6 0 1 0 7.2 7.2z"],
  out: ["M6 14H3.3A1.3 1.3 0 0 1 2 12.7V3.3A1.3 1.3 0 0 1 3.3 2H6", "M10.5 11.2 13.7 8l-3.2-3.2M13.7 8H6"],
  down: ["M4 6l4 4 4-4"],
  close: ["M4.5 4.5l7 7M11.5 4.5l-7 7"],
  up: ["M4.5 11.5l7-7M6 4.5h5.5V10"],
  fall: ["M4.5 4.5l7 7M6 11.5h5.5V6"],
  calendar: ["M2.5 3.5h11v10h-11zM2.5 6.7h11M5.3 2v2.8M10.7 2v2.8"],
  search: ["M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9z", "M10.3 10.3l3.4 3.4"],
  table: ["M2.5 3h11v10h-11zM2.5 6.5h11M2.5 9.8h11M6.5 6.5V13"],
  check: ["M3.5 8.5l3 3 6-7"],
  alert: ["M8 2.3 14.5 13.5H1.5z", "M8 6.5v3.2M8 11.5v.2"],
};

/** A 16 px line icon, hidden from screen readers. */
export function icon(/** @type {keyof typeof ICONS} */ name) {
  const paths = ICONS[name].map((d) => svg("path", { d }));
  return svg("svg", { class: "icon", viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, ...paths);
}
