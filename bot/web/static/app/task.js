// One task: its stages, what happened, its files, its receipt, why it failed and what to do.
import { call, get, Problem } from "./api.js";
import { duration, size, title, words } from "./format.js";
import { lineText } from "./loglines.js";
import { Icon } from "./icons.js";
import { html, useEffect, useState } from "./lib.js";
import { link, may, say } from "./state.js";
import { listsTick, newest, tasks, tasksTick } from "./store.js";
import { act, Progress, taskName, VERBS } from "./taskparts.js";
import { Act, Area, Badge, Card, Empty, Field, Loaded, Name, useData, useEvery, When } from "./ui.js";

/** @typedef {import("./store.js").Task} Task */

/** @param {{task: Task}} of */
function Why({ task }) {
  const error = task.error;
  if (!error || task.state === "done") {
    return null;
  }
  return html`<section class="card failure" role="alert" aria-label="Why it failed">
    <h2><${Icon} name="warn" /> ${title(error.stage)} failed${error.attempt > 1
      ? `, ${error.attempt} times` : ""}</h2>
    <p class="reason"><bdi>${error.message}</bdi></p>
    <p><strong>What to do: </strong><bdi>${error.hint ?? (error.retryable
      ? "Retry; it may have been a passing fault."
      : "Look whether the link and its login are right, then retry.")}</bdi></p>
    <p class="quiet"><code>${error.code}</code> · <${When} at=${error.at} />${
      error.retryable ? " · trying again may help" : ""}</p></section>`;
}

/** @type {Record<string, string>} */
const STAGE_KINDS = { done: "good", failed: "bad", running: "busy" };

/** @param {{task: Task}} of */
const Stages = ({ task }) => html`<${Card} title="Stages"><ol class="stages">
  ${(task.stages ?? []).map((stage, index) => html`<li key=${index} class=${stage.state}>
    <span class="mark" aria-hidden="true"></span>
    <span class="stage-name">${title(stage.kind)} <span class="quiet">${stage.name}</span></span>
    <${Badge} kind=${STAGE_KINDS[stage.state] ?? "plain"}>${words(stage.state)}<//>
    <span class="quiet">${[stage.seconds ? duration(stage.seconds) : "",
      stage.attempt ? `${stage.attempt} failed tries` : "",
      stage.files ? `${stage.files} files` : ""].filter(Boolean).join(" · ")}</span></li>`)}
  </ol>${(task.stages ?? []).length === 0 && html`<p class="quiet">It has not been planned yet.</p>`}<//>`;

/** @param {{task: Task}} of */
function Timeline({ task }) {
  /** @type {[string, string][]} */
  const events = [["Added", task.created_at]];
  const note = (/** @type {string} */ text, /** @type {string | null} */ at) => at
    && events.push([text, at]);
  note("Starts not before", task.start_at);
  note("Started", task.started_at);
  for (const stage of task.stages ?? []) {
    note(`${title(stage.kind)} (${stage.name}) began`, stage.started_at);
    note(`${title(stage.kind)} (${stage.name}) ended`, stage.finished_at);
  }
  if (task.error) {
    note(`${title(task.error.stage)} failed: ${task.error.message}`, task.error.at);
  }
  note(title(task.state), task.finished_at);
  events.sort((a, b) => Date.parse(a[1]) - Date.parse(b[1]));
  return html`<${Card} title="Timeline"><ol class="timeline">${events.map(([text, at], index) =>
    html`<li key=${index}><${When} at=${at} />
      <bdi>${text}</bdi></li>`)}</ol><//>`;
}

/** @param {{task: Task}} of */
function Files({ task }) {
  const receipt = task.receipt;
  if (!receipt) {
    return null;
  }
  return html`<${Card} title="Receipt"><dl class="facts">
      <dt>Delivered to</dt><dd><${Name} text=${receipt.path ?? receipt.destination} /></dd>
      <dt>Verified by</dt><dd>${receipt.method}</dd>
      <dt>Size</dt><dd>${size(receipt.size)}</dd>
      ${receipt.sha256 && html`<dt>SHA-256</dt><dd><code class="hash">${receipt.sha256}</code></dd>`}
      ${receipt.steps.length > 0 && html`<dt>Steps</dt><dd>${receipt.steps.join(", ")}</dd>`}
      <dt>Took</dt><dd>${duration(receipt.total_seconds)}</dd></dl>
    <h3>${receipt.files.length === 1 ? "File" : `${receipt.files.length} files`}</h3>
    <ul class="files">${receipt.files.slice(0, 500).map((/** @type {any} */ file) =>
      html`<li key=${file.path}><${Name} text=${file.path} /><span>${size(file.size)}</span>
        ${file.sha256 && html`<code class="hash" title=${file.sha256}>${
          file.sha256.slice(0, 16)}…</code>`}</li>`)}</ul>
    ${receipt.files.length > 500 && html`<p class="quiet">and ${receipt.files.length - 500} more</p>`}<//>`;
}

/** @param {{task: Task, again: () => void}} of */
function Choose({ task, again }) {
  const found = useData(() => call("POST", "/plan", { source: task.source, to: task.to }), [task.id]);
  const [chosen, setChosen] = useState(/** @type {Set<number>} */ (new Set()));
  return html`<${Card} title="Choose the files"><${Loaded} of=${found}>${(/** @type {any} */ plan) =>
    html`<ul class="plain pick">${plan.files.map((/** @type {any} */ file) => html`<li
      key=${file.index}><label><input type="checkbox" checked=${chosen.has(file.index)}
      onChange=${(/** @type {any} */ event) => {
        const next = new Set(chosen);
        event.target.checked ? next.add(file.index) : next.delete(file.index);
        setChosen(next);
      }} /> <${Name} text=${file.path} /> <span class="quiet">${size(file.size)}</span></label></li>`)}
    </ul><${Act} class="primary" disabled=${chosen.size === 0} run=${async () => {
      await call("POST", `/tasks/${task.id}/select`, { files: [...chosen] });
      again();
    }}>Fetch ${chosen.size} files<//>`}<//><//>`;
}

/** @param {{id: string}} of */
function Log({ id }) {
  const found = useData((signal) => get("/logger/recent-logs", { task: id, limit: 200 }, signal), [id]);
  useEvery(found.again, 5);
  return html`<${Card} title="Log"><${Loaded} of=${found}>${(/** @type {any} */ page) => (
    page.items.length === 0
      ? html`<p class="quiet">Nothing was logged of this task.</p>`
      : html`<div class="log" role="log" tabindex="0" aria-label="Log lines of this task">${
        [...page.items].reverse().map((/** @type {any} */ line, index) => html`<p key=${index}
          class="line ${line.level}"><${When} at=${line.time} /><span class="level">${line.level}</span>
          <bdi>${lineText(line)}</bdi></p>`)}</div>`)}<//><//>`;
}

/** @param {{task: Task, again: () => void}} of */
function Priority({ task, again }) {
  const [value, setValue] = useState(String(task.priority));
  useEffect(() => setValue(String(task.priority)), [task.priority]);
  return html`<form class="inline" onSubmit=${async (/** @type {Event} */ event) => {
    event.preventDefault();
    await call("PATCH", `/tasks/${task.id}`, { priority: Number(value) }).then(
      () => say({ kind: "good", text: `Priority ${value}` }),
      (error) => say({ kind: "bad", text: error.message, hint: error.hint }));
    again();
  }}><${Field} label="Priority (-100 to 100; higher goes first)">${(/** @type {string} */ id) =>
    html`<input id=${id} type="number" min="-100" max="100" value=${value} required
      onInput=${(/** @type {any} */ event) => setValue(event.target.value)} />`}<//>
    <button class="button" disabled=${value === String(task.priority)}>Set</button></form>`;
}

/** @param {{task: Task, again: () => void}} of */
function Shown({ task, again }) {
  const over = !VERBS.cancel.from(task.state);
  const verbs = /** @type {import("./taskparts.js").Verb[]} */ (
    ["resume", "pause", "retry", "cancel", "delete"]);
  return html`<${Area} title=${html`<${Name} text=${taskName(task)} />`} tools=${may("operate")
    && verbs.filter((verb) => VERBS[verb].from(task.state)).map((verb) => html`<${Act} key=${verb}
      icon=${VERBS[verb].icon} class=${verb === "retry" ? "primary" : ""} run=${async () => {
        if (await act(verb, task)) {
          if (verb === "delete") {
            location.replace(link("tasks"));
          } else {
            again();
          }
        }
      }}>${VERBS[verb].label}<//>`)}>
    <${Why} task=${task} />
    ${task.state === "awaiting_selection" && may("operate")
      && html`<${Choose} task=${task} again=${again} />`}
    <div class="two"><${Card} title="Now"><${Progress} task=${task} />
      <dl class="facts"><dt>Source</dt><dd><${Name} class="wrap" text=${task.source} /></dd>
        <dt>To</dt><dd><${Name} class="wrap" text=${task.to} /></dd>
        <dt>Size</dt><dd>${size(task.size)}</dd><dt>Engine</dt><dd>${task.engine ?? "–"}</dd>
        <dt>User</dt><dd><bdi>${task.user}</bdi></dd>
        ${task.progress?.peers || task.progress?.seeds ? html`<dt>Peers, seeds</dt>
          <dd>${task.progress.peers}, ${task.progress.seeds}</dd>` : null}
        <dt>Id</dt><dd><code>${task.id}</code></dd></dl>
      ${!over && may("operate") && html`<${Priority} task=${task} again=${again} />`}<//>
      <${Stages} task=${task} /></div>
    <${Files} task=${task} />
    <div class="two"><${Timeline} task=${task} />${may("admin") && html`<${Log} id=${task.id} />`}</div><//>`;
}

/** @param {{id: string}} of */
export function OneTask({ id }) {
  const found = useData((signal) => get(`/tasks/${encodeURIComponent(id)}`, {}, signal), [id]);
  tasksTick.value;
  const live = tasks.get(id);
  useEffect(() => {
    if (found.data && live && live.version > found.data.version) {
      found.again();
    }
  }, [live?.version, listsTick.value]);
  useEvery(() => !live && found.again(), 5);
  const back = html`<a class="back" href=${link("tasks")}><${Icon} name="back" /> All tasks</a>`;
  if (found.error instanceof Problem && found.error.status === 404) {
    return html`${back}<${Empty} icon="search" title="There is no such task.">It may have been
      forgotten.<//>`;
  }
  return html`${back}<${Loaded} of=${found}>${(/** @type {any} */ task) =>
    html`<${Shown} task=${newest(task)} again=${found.again} />`}<//>`;
}
