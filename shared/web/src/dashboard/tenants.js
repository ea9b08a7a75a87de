/**
 * @file Whose mail is shown. A tenant's key shows its name and nothing to choose; an operator gets a searchable list that
 * stays quick with thousands of tenants, since only the first matches are drawn.
 */

import { el, icon, refill } from "./dom.js";
import { popover } from "./menus.js";

const MAX_SHOWN = 200;
const ALL = { id: "", name: "All tenants" };

/** A fixed name, for a tenant's own key. */
export function showTenant(/** @type {HTMLElement} */ host, name) {
  host.replaceChildren(el("span", { class: "tenant-fixed", dir: "auto" }, name));
}

/**
 * The picker.
 * @param {HTMLElement} host
 * @param {{ id: string, name: string }[]} tenants
 * @param {string} current
 * @param {(id: string) => void} choose
 */
export function tenantPicker(host, tenants, current, choose) {
  const all = [ALL, ...tenants];
  const chosen = all.find((tenant) => tenant.id === current) ?? { id: current, name: current };
  const button = el("button", { class: "picker-button", type: "button", "aria-haspopup": "listbox", "data-key": "tenant" }, el("span", { class: "picker-name", dir: "auto" }, chosen.name), icon("down"));
  const input = el("input", { type: "search", placeholder: "Find a tenant", role: "combobox", "aria-expanded": "true", "aria-controls": "tenant-list", "aria-label": "Find a tenant", autocomplete: "off", spellcheck: "false" });
  const list = el("ul", { id: "tenant-list", role: "listbox", "aria-label": "Tenants" });
  const note = el("p", { class: "quiet picker-note" });
  const panel = el("div", { class: "panel picker-panel" }, el("div", { class: "picker-search" }, icon("search"), input), list, note);
  let matches = all;
  let at = 0;

  const pick = (tenant) => {
    close();
    choose(tenant.id);
  };
  const mark = () => {
    for (const [index, node] of [...list.children].entries()) {
      node.classList.toggle("at", index === at);
      if (index !== at) continue;
      input.setAttribute("aria-activedescendant", node.id);
      node.scrollIntoView({ block: "nearest" });
    }
  };
  const fillList = () => {
    const wanted = input.value.trim().toLowerCase();
    matches = all.filter((tenant) => tenant.name.toLowerCase().includes(wanted) || tenant.id.toLowerCase().includes(wanted));
    const shown = matches.slice(0, MAX_SHOWN);
    at = Math.max(0, wanted ? 0 : shown.findIndex((tenant) => tenant.id === current));
    refill(list, ...shown.map((tenant, index) => el("li", { id: `tenant-${index}`, role: "option", dir: "auto", "aria-selected": String(tenant.id === current), onclick: () => pick(tenant) }, tenant.name, tenant.id === current && icon("check"))));
    note.textContent = matches.length === 0 ? "No tenant has that name." : matches.length > MAX_SHOWN ? `${matches.length - MAX_SHOWN} more: type to narrow` : "";
    note.hidden = note.textContent === "";
    mark();
  };
  const close = popover(button, panel, () => {
    input.value = "";
    fillList();
    input.focus();
  });
  input.addEventListener("input", fillList);
  input.addEventListener("keydown", (event) => {
    const last = Math.min(matches.length, MAX_SHOWN) - 1;
    if (event.key === "ArrowDown") at = Math.min(last, at + 1);
    else if (event.key === "ArrowUp") at = Math.max(0, at - 1);
    else if (event.key === "Enter" && matches[at]) return pick(matches[at]);
    else return;
    event.preventDefault();
    mark();
  });
  refill(host, el("div", { class: "picker" }, button, panel));
}
