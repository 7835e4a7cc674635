// A list too long for memory, by cursor pages: those near what is looked at are held.
import { get } from "./api.js";
import { signal } from "./lib.js";

/** @typedef {import("./store.js").Task} Task */

export const PAGE = 100;
const HELD = 10;

export class Pages {
  /** @param {string} path @param {Record<string, unknown>} query */
  constructor(path, query) {
    this.path = path;
    this.query = query;
    /** @type {Map<number, Task[]>} */
    this.pages = new Map();
    /** Where each page begins; null is the beginning. @type {(string | null)[]} */
    this.cursors = [null];
    /** @type {number | null} */
    this.total = null;
    this.tick = signal(0);
    this.error = signal(/** @type {any} */ (null));
    this.loaded = signal(false);
    /** @type {Set<number>} */
    this.asked = new Set();
    this.control = new AbortController();
    /** @type {Set<string>} */
    this.gone = new Set();
  }

  /** Rows that are known to be there, and a page more while there are more. */
  get length() {
    return this.total ?? this.cursors.length * PAGE;
  }

  /** @param {number} index @returns {Task | undefined} */
  row(index) {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** @param {number} first @param {number} last Rows that are looked at. */
  want(first, last) {
    const from = Math.floor(first / PAGE);
    const to = Math.floor(last / PAGE);
    for (let page = from; page <= to; page += 1) {
      if (!this.pages.has(page) && page < this.cursors.length) {
        this.load(page);
      }
    }
    if (this.pages.size > HELD) {
      const far = [...this.pages.keys()].sort((a, b) => Math.abs(b - from) - Math.abs(a - from));
      for (const page of far.slice(0, this.pages.size - HELD)) {
        this.pages.delete(page);
      }
    }
  }

  /** @param {number} page */
  async load(page) {
    if (this.asked.has(page)) {
      return;
    }
    this.asked.add(page);
    try {
      const found = await get(this.path, { ...this.query, limit: PAGE, cursor: this.cursors[page] },
        this.control.signal);
      this.pages.set(page, found.items);
      if (found.cursor === null) {
        this.cursors.length = page + 1;
        this.total = page * PAGE + found.items.length;
      } else {
        this.cursors[page + 1] = found.cursor;
        this.total = null;
      }
      this.error.value = null;
    } catch (error) {
      if (!this.control.signal.aborted) {
        this.error.value = error;
      }
    } finally {
      this.asked.delete(page);
      if (!this.control.signal.aborted) {
        this.loaded.value = true;
        this.tick.value += 1;
      }
    }
  }

  /** Fetch the first page anew; what comes after it follows when it is looked at. */
  async refresh() {
    if (this.asked.has(0)) {
      return;
    }
    for (const page of this.pages.keys()) {
      if (page > 0) {
        this.pages.delete(page);
      }
    }
    this.cursors.length = 1;
    await this.load(0);
  }

  close() {
    this.control.abort();
  }
}
