/**
 * @file The API for people: every call of openapi.json with its parameters, an example and what it may answer. Shows what the
 * document says and nothing of its own.
 */

import { el, place } from "./dom.js";

const document_ = await (await fetch("openapi.json")).json();
const origin = new URL(".", location.href).href.replace(/\/$/, "");
place("intro").textContent = document_.info.description;

/** @type {Map<string, [string, string, any][]>} Calls by their group. */
const groups = new Map(document_.tags.map(({ name }) => [name, []]));
for (const [path, methods] of Object.entries(document_.paths)) {
  for (const [method, call] of Object.entries(methods)) {
    groups.get(call.tags[0]).push([method, path, call]);
  }
}
for (const [group, calls] of groups) {
  place("nav").append(el("h2", {}, group), ...calls.map(link));
  place("calls").append(el("h2", {}, group), ...calls.map(article));
}
place("calls").append(el("h2", {}, "Shapes"), ...Object.entries(document_.components.schemas).map(shape));
if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();

function id(method, path) {
  return `${method}${path.replace(/[^a-z0-9]+/gi, "-")}`;
}

function link([method, path]) {
  return el("a", { href: `#${id(method, path)}` }, `${method.toUpperCase()} ${path}`);
}

function article([method, path, call]) {
  const body = call.requestBody?.content ?? {};
  const shaped = Object.values(body)[0]?.schema;
  const rows = call.parameters.map((parameter) => [
    parameter.name + (parameter.required ? "" : " ?"),
    [parameter.description, allowed(parameter.schema)].filter(Boolean).join(" "),
  ]);
  if (shaped) rows.push(["body", named(shaped)]);
  const reply = Object.values(call.responses["200"].content ?? {})[0]?.schema;
  rows.push(["200", reply ? named(reply) : call.responses["200"].description]);
  rows.push(["otherwise", `Problem: ${Object.keys(call.responses).filter((status) => status !== "200").join(", ")}`]);
  return el(
    "article",
    { class: "call", id: id(method, path) },
    el("h3", {}, el("span", { class: `method ${method}` }, method.toUpperCase()), path, el("span", { class: "who" }, call["x-who"])),
    el("p", {}, call.summary),
    el("table", {}, el("tbody", {}, ...rows.map(([name, says]) => el("tr", {}, el("td", {}, name), el("td", {}, says))))),
    el("pre", {}, curl(method, path, call)),
  );
}

function allowed(schema) {
  if (schema.enum) return schema.enum.join(", ");
  if (schema.minimum !== undefined) return `${schema.minimum} to ${schema.maximum}.`;
  return schema.example ? `Such as ${schema.example}.` : "";
}

function named(schema) {
  return schema.$ref ? schema.$ref.split("/").pop() : (schema.description ?? schema.type ?? "any value");
}

function curl(method, path, call) {
  const needed = call.parameters.filter(({ in: place, required }) => place === "query" && required);
  const query = needed.map(({ name, schema }) => `${name}=${encodeURIComponent(schema.example ?? "")}`).join("&");
  const [type, content] = Object.entries(call.requestBody?.content ?? {})[0] ?? [];
  return [
    `curl -s ${method === "get" ? "" : `-X ${method.toUpperCase()} `}'${origin}${path}${query && `?${query}`}'`,
    call.security.length > 0 && `-H "authorization: Bearer $KEY"`,
    content?.example && `-d '${JSON.stringify(content.example)}'`,
    type === "application/octet-stream" && "--data-binary @events.ndjson",
  ]
    .filter(Boolean)
    .join(" \\\n  ");
}

function shape([name, schema]) {
  return el("article", { class: "call", id: name }, el("h3", {}, name), el("pre", {}, JSON.stringify(schema, null, 2)));
}
