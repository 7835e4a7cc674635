// What lists and the page of a task share: its name, its state, its progress, what can be done.
import { attempt, call, post, tell } from "./api.js";
import { duration, size, speed, words } from "./format.js";
import { html } from "./lib.js";
import { say } from "./state.js";
import { ACTIVE, FINAL, listsTick } from "./store.js";
import { Badge, Bar, confirm } from "./ui.js";

/** @typedef {import("./store.js").Task} Task */

/** @param {Task} task */
export const taskName = (task) => task.name ?? task.source;

/** @type {Record<string, string>} */
const KINDS = { done: "good", failed: "bad", cancelled: "plain", paused: "plain", queued: "plain",
  retrying: "medium", awaiting_selection: "medium" };

/** @param {{task: Task}} of */
export const State = ({ task }) => html`<${Badge} kind=${KINDS[task.state] ?? "busy"}>${
  words(task.state)}<//>`;

/** How far it is, in one line of text. @param {Task} task */
export function figures(task) {
  const progress = task.progress;
  if (task.state === "done") {
    return size(task.size);
  }
  if (!progress) {
    return task.note ?? "";
  }
  const known = progress.total !== null;
  const of = known ? `${size(progress.done)} of ${size(progress.total)}` : size(progress.done);
  const left = progress.eta === null ? "" : `${duration(progress.eta)} left`;
  return [of, ACTIVE.has(task.state) ? speed(progress.speed) : "", left]
    .filter(Boolean).join(" · ");
}

/** @param {{task: Task, bare?: boolean}} of */
export function Progress({ task, bare }) {
  const over = FINAL.has(task.state);
  const { progress } = task;
  const stage = task.stage ? `${task.stage.kind} ${task.stage.number}/${task.stage.of}` : "";
  return html`<div class="progress">
    ${!over && (progress || ACTIVE.has(task.state)) && html`<${Bar} done=${progress?.done ?? 0}
      total=${progress?.total} label=${`Progress of ${taskName(task)}`} />`}
    ${!bare && html`<span class="figures"><${State} task=${task} /> ${stage && `${stage} · `}${
      figures(task)}</span>`}</div>`;
}

/** @typedef {"cancel" | "pause" | "resume" | "retry" | "delete"} Verb */
/** @type {Record<Verb, {icon: string, label: string, done: string, from: (state: string) => boolean}>} */
export const VERBS = {
  pause: { icon: "pause", label: "Pause", done: "Paused",
    from: (state) => !FINAL.has(state) && state !== "paused" },
  resume: { icon: "play", label: "Resume", done: "Resumed", from: (state) => state === "paused" },
  retry: { icon: "retry", label: "Retry", done: "Tried again",
    from: (state) => state === "failed" || state === "cancelled" || state === "retrying" },
  cancel: { icon: "stop", label: "Cancel", done: "Cancelled", from: (state) => !FINAL.has(state) },
  delete: { icon: "trash", label: "Forget", done: "Forgotten", from: (state) => FINAL.has(state) },
};

/** @param {Verb} verb @param {string} id */
const path = (verb, id) => (verb === "delete" ? call("DELETE", `/tasks/${id}`)
  : post(`/tasks/${id}/${verb}`));

/** What can be undone is done at once and offers to undo it; what can't be is asked for.
 *  @type {Partial<Record<Verb, [Verb, string]>>} */
const UNDO = { pause: ["resume", "Resume"], resume: ["pause", "Pause"] };

/** @param {Verb} verb @param {number} number @param {string} name */
async function sure(verb, number, name) {
  if (verb !== "cancel" && verb !== "delete") {
    return true;
  }
  const what = number === 1 ? html`<bdi class="quoted">${name}</bdi>` : `${number} tasks`;
  return confirm(verb === "cancel"
    ? { title: number === 1 ? "Cancel this task?" : `Cancel ${number} tasks?`, verb: "Cancel it",
      text: html`<p>${what} ends, and what was fetched so far is removed. It can be tried again from
        the beginning.</p>` }
    : { title: number === 1 ? "Forget this task?" : `Forget ${number} tasks?`, verb: "Forget it",
      text: html`<p>${what} leaves the list. The delivered files and their receipts stay.</p>` });
}

/** @param {Verb} verb @param {Task} task @returns {Promise<boolean>} */
export async function act(verb, task) {
  const name = taskName(task);
  if (!await sure(verb, 1, name)) {
    return false;
  }
  const went = await attempt(() => path(verb, task.id));
  const undo = UNDO[verb];
  if (went) {
    listsTick.value += 1;
    say({ kind: "good", text: `${VERBS[verb].done}: ${name.slice(0, 80)}`,
      action: undo && { label: undo[1], run: () => act(undo[0], task) } });
  }
  return went;
}

const MOST = 1000; // ids in one call

/** @param {Verb} verb @param {string[]} ids @returns {Promise<string[]>} Those it was refused for. */
export async function actMany(verb, ids) {
  if (!await sure(verb, ids.length, "")) {
    return ids;
  }
  /** @type {string[]} */
  const refused = [];
  let why = "";
  try {
    for (let from = 0; from < ids.length; from += MOST) {
      const answer = await post("/tasks/bulk", { ids: ids.slice(from, from + MOST), action: verb });
      for (const item of answer.items) {
        if (item.error) {
          refused.push(item.id);
          why ||= item.error.detail;
        }
      }
    }
  } catch (error) {
    tell(error);
    return ids;
  }
  listsTick.value += 1;
  const good = ids.length - refused.length;
  say({ kind: refused.length ? "bad" : "good", text: `${VERBS[verb].done}: ${good} of ${ids.length}`,
    hint: why || undefined });
  return refused;
}
