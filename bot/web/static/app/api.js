// REST. An error carries what the service says is wrong, and what to do about it.
import { say, session } from "./state.js";

/** What the service refused, in its words. */
export class Problem extends Error {
  /** @param {number} status @param {any} body */
  constructor(status, body) {
    super(body?.detail ?? (status ? `the service answered ${status}` : "no connection"));
    this.status = status;
    this.code = /** @type {string} */ (body?.code ?? "");
    this.hint = /** @type {string | null} */ (body?.hint ?? null);
    this.details = body?.details ?? null;
  }
}

const QUIET = new Set(["GET", "HEAD"]);

/** @param {string} method @param {string} path @param {unknown} [body]
 *  @param {{signal?: AbortSignal, headers?: Record<string, string>}} [more]
 *  @returns {Promise<any>} */
export async function call(method, path, body, more = {}) {
  /** @type {Record<string, string>} */
  const headers = { ...more.headers };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
  }
  if (!QUIET.has(method) && session.value?.csrf) {
    headers["X-CSRF-Token"] = session.value.csrf;
  }
  let response;
  try {
    response = await fetch(`/api/v3${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: more.signal,
    });
  } catch (error) {
    if (more.signal?.aborted) {
      throw error;
    }
    throw new Problem(0, { detail: "The service can't be reached.", hint: "Trying again …" });
  }
  const text = await response.text();
  const answer = text && response.headers.get("content-type")?.includes("json")
    ? JSON.parse(text) : null;
  if (!response.ok) {
    if (response.status === 401 && session.value) {
      session.value = null;
    }
    throw new Problem(response.status, answer);
  }
  return answer;
}

/** @param {string} path @param {Record<string, unknown>} [query] @param {AbortSignal} [signal] */
export function get(path, query = {}, signal) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") {
        asked.append(name, String(each));
      }
    }
  }
  const text = asked.toString();
  return call("GET", path + (text && `?${text}`), undefined, { signal });
}

/** @param {string} path @param {unknown} [body] */
export const post = (path, body = {}) => call("POST", path, body);

/** A key under which a repeated call is the same call; without a secure context as well. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Do it, and say what came of it. Whether it went well.
 *  @param {() => Promise<unknown>} work @param {string} [done] */
export async function attempt(work, done) {
  try {
    await work();
    if (done) {
      say({ kind: "good", text: done });
    }
    return true;
  } catch (error) {
    tell(error);
    return false;
  }
}

/** @param {unknown} error */
export function tell(error) {
  if (error instanceof Problem) {
    if (error.status !== 401) {
      say({ kind: "bad", text: error.message, hint: error.hint ?? undefined });
    }
  } else if (!(error instanceof DOMException && error.name === "AbortError")) {
    throw error;
  }
}

/** @param {string} path @param {object} body */
async function enter(path, body) {
  session.value = await call("POST", path, body);
}

/** @param {string} token */
export const enterToken = (token) => enter("/session", { token });

/** @param {string} user @param {string} password */
export const enterPassword = (user, password) => enter("/session", { user, password });

/** Who is logged in already. */
export async function resume() {
  try {
    session.value = await call("GET", "/session");
  } catch (error) {
    if (error instanceof Problem && error.status === 401) {
      session.value = null;
      return;
    }
    throw error;
  }
}

export async function leave() {
  await call("DELETE", "/session");
  session.value = null;
}
