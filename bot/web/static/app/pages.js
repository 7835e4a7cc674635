// A list too long for memory, by cursor pages: those near what is looked at are held.
import { get } from "./api.js";
import { signal } from "./lib.js";

/** @typedef {import("./store.js").Task} Task */

export const PAGE = 50;
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
      await this.fetch(page);
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

  /** @param {number} page Rows that the server has now. */
  async fetch(page) {
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
  }

  /** Fetch the first page anew; what comes after it follows when it is looked at. */
  refresh() {
    return this.renew(0);
  }

  /** Fetch the page of a row anew, where it stands; those after it when they are looked at.
   *  @param {number} index */
  async renew(index) {
    const page = Math.floor(index / PAGE);
    for (const other of this.pages.keys()) {
      if (other > page) {
        this.pages.delete(other);
      }
    }
    this.cursors.length = Math.min(this.cursors.length, page + 1);
    await this.load(page);
  }

  close() {
    this.control.abort();
  }
}

const WHOLE = 500;
const MOST = 10; // pages of those

/** The waiting tasks as they will be taken: all at once, because the order is theirs. */
export class Queue extends Pages {
  constructor() {
    super("/tasks", { state: ["queued"], sort: "priority", order: "desc" });
  }

  async fetch() {
    /** @type {any[]} */
    const all = [];
    let cursor = null;
    for (let turn = 0; turn < MOST && (turn === 0 || cursor !== null); turn += 1) {
      const found = await get(this.path, { ...this.query, limit: WHOLE, cursor },
        this.control.signal);
      all.push(...found.items);
      cursor = found.cursor;
    }
    all.sort((a, b) => b.priority - a.priority || (a.order < b.order ? -1 : 1));
    this.pages.clear();
    for (let at = 0; at * PAGE < all.length; at += 1) {
      this.pages.set(at, all.slice(at * PAGE, (at + 1) * PAGE));
    }
    this.total = all.length;
  }

  renew() {
    return this.load(0);
  }

  want() {
    if (!this.loaded.peek()) {
      this.load(0);
    }
  }
}
