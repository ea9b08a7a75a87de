/**
 * @file Calls the server this page came from, and no other. Who is signed in lies in a cookie that no script can read; the key of a
 * sign-in link or of the form goes to the server once and is kept nowhere here: not in the address, a store or a log.
 */

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

/** The key of a sign-in link (`#key=mg_...`), out of the address; none if there is none. */
export function keyFromAddress() {
  const match = /^#key=([\x21-\x7e]{1,4096})$/.exec(location.hash);
  if (!match) return null;
  clearFragment();
  try {
    return decodeURIComponent(match[1]);
  } catch {
    /* A lone % is part of the key. */
    return match[1];
  }
}

/** Whether the way back from an identity provider said that it failed. */
export function failedAtProvider() {
  if (location.hash !== "#sign-in=failed") return false;
  clearFragment();
  return true;
}

function clearFragment() {
  history.replaceState(history.state, "", location.pathname + location.search);
}

/**
 * Who is signed in, if anybody, and where an identity provider signs people in.
 * @returns {Promise<{ signed_in: boolean, provider: string | null }>}
 */
export function session() {
  return ask("session", { method: "GET", headers: ours() });
}

/** Signs in with a key. */
export async function signInWith(/** @type {string} */ key) {
  // A key that no header can carry cannot be right either.
  if (!/^[\x21-\x7e]+$/.test(key)) throw new ApiError(401, "the key contains characters that no key has");
  const headers = ours();
  headers.set("Authorization", `Bearer ${key}`);
  await ask("session", { method: "POST", headers });
}

/** Ends the session. */
export async function signOutHere() {
  await ask("session", { method: "DELETE", headers: ours() });
}

/** Headers that a page of another host cannot set; without them the cookie counts for nothing. */
function ours() {
  return new Headers({ Accept: "application/json", "X-Requested-With": "mailgauge" });
}

/**
 * Calls the API.
 * @param {string} path Relative, so that the dashboard also works below a stage's path.
 * @param {{ body?: unknown, tenant?: string, signal?: AbortSignal }} [options]
 * @throws {ApiError} With the problem's detail. An aborted call throws what `fetch` throws.
 */
export async function call(path, { body, tenant, signal } = {}) {
  const headers = ours();
  if (tenant) headers.set("X-Mailgauge-Tenant", tenant);
  if (body !== undefined) headers.set("Content-Type", "application/json");
  const method = body === undefined ? "GET" : "POST";
  return ask(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) }, signal);
}

/** One request and its reply, tried again where the server asks for that. */
async function ask(path, request, signal) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const init = {
    ...request,
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
    cache: /** @type {RequestCache} */ ("no-store"),
    credentials: /** @type {RequestCredentials} */ ("same-origin"),
  };
  for (let tries = 1; ; tries++) {
    let reply;
    try {
      reply = await fetch(path, init);
      if (reply.ok) return reply.status === 204 ? null : await reply.json();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(
        0,
        limit.aborted
          ? "the server did not answer within 30 seconds"
          : "the server cannot be reached or did not answer in JSON",
      );
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
  } catch {
    /* Not JSON: a proxy in between answered. */
  }
  return `the server answered ${reply.status}`;
}
