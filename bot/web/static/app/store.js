// What the live frames say, as signals. Tasks lie in a plain map: `tasksTick` tells of changes.
import { batch, signal } from "./lib.js";

/** @typedef {{done: number, total: number | null, speed: number, eta: number | null,
 *   is_estimate: boolean, connections: number, uploaded: number, peers: number,
 *   seeds: number}} Progress */
/** @typedef {{code: string, message: string, stage: string, hint: string | null,
 *   retryable: boolean, attempt: number, at: string}} Failure */
/** @typedef {{id: string, state: string, source: string, to: string, user: string,
 *   name: string | null, size: number | null, engine: string | null, priority: number,
 *   progress: Progress | null, error: Failure | null, note: string | null, path: string | null,
 *   created_at: string, updated_at: string, started_at: string | null,
 *   finished_at: string | null, start_at: string | null, version: number, stages?: any[],
 *   steps?: any[], receipt?: any, stage?: {kind: string, name: string, attempt: number,
 *   number: number, of: number} | null}} Task */
/** @typedef {{firing: number, severities: Record<string, number>, items: any[]}} AlertsNow */

export const FINAL = new Set(["done", "failed", "cancelled"]);
export const ACTIVE = new Set(
  ["probing", "running", "processing", "delivering", "verifying", "seeding"]);

export const metrics = signal(/** @type {Record<string, number>} */ ({}));
export const metricsAt = signal(0);
export const counts = signal(/** @type {Record<string, number>} */ ({}));
export const alertsNow = signal(
  /** @type {AlertsNow} */ ({ firing: 0, severities: {}, items: [] }));
export const pluginsNow = signal(/** @type {any[]} */ ([]));
export const version = signal("");
export const tasksTick = signal(0);
/** Grows when lists from REST may be out of date: something new, gone, or in another state. */
export const listsTick = signal(0);
/** @type {Map<string, Task>} */
export const tasks = new Map();
/** Whether the first picture is there. */
export const ready = signal(false);

const KEPT = 400; // finished tasks that stay in memory

let sequence = -1;

/** Forget everything: another one may log in next. */
export function reset() {
  tasks.clear();
  sequence = -1;
  batch(() => {
    ready.value = false;
    metrics.value = {};
    counts.value = {};
    alertsNow.value = { firing: 0, severities: {}, items: [] };
    pluginsNow.value = [];
    tasksTick.value += 1;
  });
}

/** @param {any} frame @returns {boolean} Whether the chain holds; if not, ask for a snapshot. */
export function take(frame) {
  let holds = true;
  batch(() => {
    if (frame.metrics) {
      metrics.value = frame.metrics;
      metricsAt.value = frame.at;
    }
    if (frame.type === "snapshot") {
      tasks.clear();
      sequence = frame.seq;
      version.value = frame.version ?? version.value;
      ready.value = true;
      merge(frame);
      listsTick.value += 1;
    } else if (frame.type === "delta") {
      holds = frame.since === sequence;
      if (holds) {
        sequence = frame.seq;
        if (merge(frame) || frame.more) {
          listsTick.value += 1;
        }
      }
    }
  });
  return holds;
}

/** @param {any} frame @returns {boolean} Whether lists changed by more than progress. */
function merge(frame) {
  let listed = false;
  for (const change of frame.tasks ?? []) {
    const known = tasks.get(change.id);
    listed ||= !known || (change.state !== undefined && change.state !== known.state);
    if (known || change.version !== undefined) {
      tasks.set(change.id, { ...known, ...change });
    }
  }
  for (const id of frame.removed ?? []) {
    listed = tasks.delete(id) || listed;
  }
  if (frame.counts) {
    counts.value = frame.counts;
  }
  if (frame.alerts) {
    alertsNow.value = frame.alerts;
  }
  if (frame.plugins) {
    pluginsNow.value = frame.plugins;
  }
  if (frame.tasks?.length || frame.removed?.length) {
    prune();
    tasksTick.value += 1;
  }
  return listed;
}

/** A page that stays open for days must not keep all that ever finished. */
function prune() {
  const finished = [...tasks.values()].filter((task) => FINAL.has(task.state));
  if (finished.length > KEPT * 2) {
    finished.sort((a, b) => (a.updated_at < b.updated_at ? -1 : 1));
    for (const task of finished.slice(0, finished.length - KEPT)) {
      tasks.delete(task.id);
    }
  }
}

/** A row from REST with what has been heard of it since. @param {Task} row @returns {Task} */
export function newest(row) {
  const live = tasks.get(row.id);
  return live && live.version >= row.version ? { ...row, ...live } : row;
}
