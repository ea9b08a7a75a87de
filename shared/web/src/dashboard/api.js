/**
 * @file Calls the server this page came from, and no other, with the key in a header. The key lives in the tab's session
 * storage: never in the address (a sign-in link's fragment is removed at once), a cookie or a log.
 */

const KEY = "mailgauge-key";
const TIMEOUT_MS = 30_000;
/** A busy server says when to come again; a short wait is nothing a reader need know of. */
const MAX_TRIES = 3;
const MAX_WAIT_S = 3;

/** A refusal or a failure. `status` is 0 if the server could not be reached. */
export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Takes the key of a sign-in link (`#key=mg_...`) into the session and out of the address. */
export function takeKeyFromAddress() {
  const match = /^#key=([\x21-\x7e]{1,4096})$/.exec(location.hash);
  if (!match) return;
  let key = match[1];
  try { key = decodeURIComponent(key); } catch { /* A lone % is part of the key. */ }
  sessionStorage.setItem(KEY, key);
  history.replaceState(history.state, "", location.pathname + location.search);
}

/** Whether there is a key to try. */
export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

/** Keeps a key for this tab. */
export function setKey(/** @type {string} */ key) {
  sessionStorage.setItem(KEY, key);
}

/** Forgets the key. */
export function dropKey() {
  sessionStorage.removeItem(KEY);
}

/**
 * Calls the API.
 * @param {string} path Relative, so that the dashboard also works below a stage's path.
 * @param {{ body?: unknown, tenant?: string, signal?: AbortSignal }} [options]
 * @throws {ApiError} With the problem's detail. An aborted call throws what `fetch` throws.
 */
export async function call(path, { body, tenant, signal } = {}) {
  const headers = new Headers({ Accept: "application/json" });
  const key = sessionStorage.getItem(KEY) ?? "";
  // A key that no header can carry cannot be right either.
  if (!/^[\x21-\x7e]+$/.test(key)) throw new ApiError(401, "the key contains characters that no key has");
  headers.set("Authorization", `Bearer ${key}`);
  if (tenant) headers.set("X-Mailgauge-Tenant", tenant);
  if (body !== undefined) headers.set("Content-Type", "application/json");
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const init = {
    method: body === undefined ? "GET" : "POST",
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
    cache: /** @type {RequestCache} */ ("no-store"),
    credentials: /** @type {RequestCredentials} */ ("omit"),
  };
  for (let tries = 1; ; tries++) {
    let reply;
    try {
      reply = await fetch(path, init);
      if (reply.ok) return await reply.json();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, limit.aborted ? "the server did not answer within 30 seconds" : "the server cannot be reached or did not answer in JSON");
    }
    const wait = Number(reply.headers.get("Retry-After") ?? NaN);
    if (tries >= MAX_TRIES || !(wait <= MAX_WAIT_S)) throw new ApiError(reply.status, await problemDetail(reply));
    await new Promise((done) => setTimeout(done, wait * 1000));
  }
}

/** The `detail` of problem details (RFC 9457), or what can be said without. */
async function problemDetail(reply) {
  try {
    const problem = await reply.json();
    const text = problem.detail ?? problem.title;
    if (typeof text === "string" && text) return text.slice(0, 500);
  } catch { /* Not JSON: a proxy in between answered. */ }
  return `the server answered ${reply.status}`;
}
