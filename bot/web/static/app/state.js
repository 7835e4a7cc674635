// What the whole page shares: who looks, where, and what it says at the edge.
import { signal } from "./lib.js";

/** @typedef {{user: string, scope: "view" | "operate" | "admin", csrf: string | null}} Session */
/** @typedef {{id: number, kind: "good" | "bad" | "plain", text: string, hint?: string,
 *   action?: {label: string, run: () => unknown}}} Toast */

/** Undefined until it is known; null: nobody is logged in. */
export const session = signal(/** @type {Session | null | undefined} */ (undefined));

/** @returns {{area: string, id: string, query: URLSearchParams}} */
function where() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [area = "", ...rest] = path.split("/").map(decodeURIComponent);
  return { area: area || "overview", id: rest.join("/"), query: new URLSearchParams(query) };
}

export const route = signal(where());

addEventListener("hashchange", () => {
  route.value = where();
});

/** @param {string} area @param {string} [id] @param {Record<string, string>} [query] */
export function link(area, id = "", query = {}) {
  const asked = new URLSearchParams(query).toString();
  return `#/${area}${id && `/${encodeURIComponent(id)}`}${asked && `?${asked}`}`;
}

/** @param {"view" | "operate" | "admin"} scope */
export function may(scope) {
  const ranks = { view: 0, operate: 1, admin: 2 };
  return ranks[session.value?.scope ?? "view"] >= ranks[scope];
}

export const toasts = signal(/** @type {Toast[]} */ ([]));
let last = 0;

/** @param {Omit<Toast, "id">} toast @param {number} [seconds] */
export function say(toast, seconds = toast.kind === "bad" ? 12 : 6) {
  const id = ++last;
  toasts.value = [...toasts.value.slice(-3), { ...toast, id }];
  setTimeout(() => hush(id), seconds * 1000);
}

/** @param {number} id */
export function hush(id) {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

/** Storage may be switched off. @param {string} name @param {string} fallback */
export function recall(name, fallback) {
  try {
    return localStorage.getItem(`mltb.${name}`) ?? fallback;
  } catch {
    return fallback;
  }
}

/** @param {string} name @param {string} value */
export function keep(name, value) {
  try {
    localStorage.setItem(`mltb.${name}`, value);
  } catch {
    // It holds until the page is closed, then.
  }
}

export const theme = signal(recall("theme", "system"));

/** @param {string} wanted `system`, `light` or `dark` */
export function dress(wanted) {
  theme.value = wanted;
  keep("theme", wanted);
  document.documentElement.dataset.theme = wanted;
}
