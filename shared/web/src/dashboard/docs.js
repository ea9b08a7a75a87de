/**
 * @file The reference of the API: every operation of openapi.json with its parameters, an example and its replies, then the schemas. All
 * text comes from the document.
 */

import { el, place } from "./dom.js";

const document_ = await (await fetch("openapi.json")).json();
const origin = new URL(".", location.href).href.replace(/\/$/, "");
place("intro").replaceWith(...paragraphs(document_.info.description));

/** @type {Map<string, [string, string, any][]>} Operations by group. */
const groups = new Map(document_.tags.map(({ name }) => [name, []]));
for (const [path, methods] of Object.entries(document_.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    groups.get(operation.tags[0]).push([method, path, operation]);
  }
}
for (const [group, operations] of groups) {
  const { description } = document_.tags.find(({ name }) => name === group);
  place("nav").append(el("h2", {}, group), ...operations.map(link));
  place("calls").append(el("h2", {}, group), ...paragraphs(description), ...operations.map(article));
}
place("calls").append(el("h2", {}, "Schemas"), ...Object.entries(document_.components.schemas).map(schemaArticle));
if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();

function id(method, path) {
  return `${method}${path.replace(/[^a-z0-9]+/gi, "-")}`;
}

function link([method, path]) {
  return el("a", { href: `#${id(method, path)}` }, `${method.toUpperCase()} ${path}`);
}

/** A description with the text between backticks as code. */
function inline(description) {
  return description.split("`").map((text, nth) => (nth % 2 ? el("code", {}, text) : text));
}

/** A description as paragraphs, which blank lines separate. */
function paragraphs(description) {
  return description.split("\n\n").map((text) => el("p", {}, ...inline(text)));
}

function article([method, path, operation]) {
  const body = Object.values(operation.requestBody?.content ?? {})[0]?.schema;
  const rows = operation.parameters.map((parameter) => [
    parameter.name + (parameter.required ? "" : " ?"),
    [parameter.description, allowed(parameter.schema)].filter(Boolean).join(" "),
  ]);
  if (body) rows.push(["body", named(body)]);
  const reply = Object.values(operation.responses["200"].content ?? {})[0]?.schema;
  rows.push(["200", reply ? named(reply) : operation.responses["200"].description]);
  rows.push(["errors", Object.keys(operation.responses).filter((status) => status >= "400").join(", ")]);
  return el(
    "article",
    { class: "call", id: id(method, path) },
    el("h3", {}, el("span", { class: `method ${method}` }, method.toUpperCase()), path, el("span", { class: "who" }, operation["x-callers"])),
    el("p", {}, `${operation.summary}.`),
    ...(operation.description ? paragraphs(operation.description) : []),
    el("table", {}, el("tbody", {}, ...rows.map(([name, text]) => el("tr", {}, el("td", {}, name), el("td", {}, ...inline(text)))))),
    el("pre", {}, curl(method, path, operation)),
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

function curl(method, path, operation) {
  const needed = operation.parameters.filter(({ in: place, required }) => place === "query" && required);
  const query = needed.map(({ name, schema }) => `${name}=${encodeURIComponent(schema.example ?? "")}`).join("&");
  const [type, content] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  return [
    `curl -s ${method === "get" ? "" : `-X ${method.toUpperCase()} `}'${origin}${path}${query && `?${query}`}'`,
    operation.security.length > 0 && `-H "authorization: Bearer $KEY"`,
    content?.example && `-d '${JSON.stringify(content.example)}'`,
    type === "application/octet-stream" && "--data-binary @events.ndjson",
  ]
    .filter(Boolean)
    .join(" \\\n  ");
}

function schemaArticle([name, schema]) {
  return el("article", { class: "call", id: name }, el("h3", {}, name), el("pre", {}, JSON.stringify(schema, null, 2)));
}
