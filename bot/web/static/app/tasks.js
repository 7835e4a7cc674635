// All tasks: search, filter, sort, choose many, and the order of the queue.
import { post, attempt } from "./api.js";
import { count, plural } from "./format.js";
import { Icon } from "./icons.js";
import { html, useEffect, useMemo, useState } from "./lib.js";
import { link, may, route } from "./state.js";
import { counts } from "./store.js";
import { openAdd } from "./add.js";
import { Pages, Queue } from "./pages.js";
import { actMany, VERBS } from "./taskparts.js";
import { dragging, TaskTable } from "./tasktable.js";
import { Act, Area, Choice, Empty } from "./ui.js";

/** @typedef {import("./taskparts.js").Verb} Verb */

/** @type {Record<string, {text: string, states: string[]}>} */
const SHOWS = {
  all: { text: "All", states: [] },
  active: { text: "Active", states: ["probing", "running", "processing", "delivering", "verifying",
    "seeding"] },
  waiting: { text: "Waiting", states: ["queued", "retrying", "paused", "awaiting_selection"] },
  queue: { text: "Queue", states: ["queued"] },
  done: { text: "Done", states: ["done"] },
  failed: { text: "Failed", states: ["failed"] },
  cancelled: { text: "Cancelled", states: ["cancelled"] },
};
const SORTS = [["created", "Added"], ["updated", "Changed"], ["name", "Name"], ["size", "Size"],
  ["priority", "Priority"]];
const PAUSE = 250; // milliseconds after the last key

/** @param {{show: string, text: string}} of */
function Nothing({ show, text }) {
  if (text) {
    return html`<${Empty} icon="search" title="No task has that in its name or source." />`;
  }
  if (show !== "all") {
    return html`<${Empty} icon="tasks" title=${`No task is ${SHOWS[show]?.text.toLowerCase()}.`}>
      <a href=${link("tasks")}>Show all</a><//>`;
  }
  return html`<${Empty} icon="tasks" title="No task yet.">
    ${may("operate") ? html`<p>Add a link, a magnet or a torrent, or run
      <code>mltb mirror LINK</code>.</p><button type="button" class="button primary"
      onClick=${openAdd}>Add a link</button>` : html`<p>Nobody has added one.</p>`}<//>`;
}

/** @param {{chosen: Set<string>, pages: Pages, clear: (kept?: string[]) => void}} of */
function Bulk({ chosen, pages, clear }) {
  const ids = [...chosen];
  const run = (/** @type {Verb} */ verb) => async () => {
    const left = await actMany(verb, ids);
    clear(left);
    await pages.refresh();
  };
  return html`<div class="bulk" role="region" aria-label="Chosen tasks">
    <span role="status">${plural(ids.length, "task")} chosen</span>
    ${/** @type {Verb[]} */ (["pause", "resume", "retry", "cancel", "delete"]).map((verb) =>
      html`<${Act} key=${verb} run=${run(verb)} icon=${VERBS[verb].icon}>${VERBS[verb].label}<//>`)}
    <button type="button" class="button ghost" onClick=${() => clear()}>None</button></div>`;
}

/** @param {{show: string, go: (change: Record<string, string>) => void}} of */
function Filters({ show, go }) {
  const by = counts.value;
  const of = (/** @type {string[]} */ states) => (states.length === 0 ? Object.values(by)
    : states.map((state) => by[state] ?? 0)).reduce((a, b) => a + b, 0);
  return html`<${Choice} label="Which tasks" value=${show} choose=${(/** @type {string} */ name) =>
    go({ show: name })} choices=${Object.entries(SHOWS).map(([name, each]) => [name,
      html`${each.text} <span class="of">${count(of(each.states))}</span>`])} />`;
}

export function Tasks() {
  const asked = route.value.query;
  const show = asked.get("show") ?? "all";
  const queue = show === "queue";
  const sort = queue ? "priority" : asked.get("sort") ?? "created";
  const order = asked.get("order") ?? (sort === "name" ? "asc" : "desc");
  const text = asked.get("text") ?? "";
  const [typed, setTyped] = useState(text);
  const [chosen, setChosen] = useState(/** @type {Set<string>} */ (new Set()));
  const [anchor, setAnchor] = useState("");
  const go = (/** @type {Record<string, string>} */ change) => {
    const next = { show, sort: asked.get("sort") ?? "", order: asked.get("order") ?? "", text,
      ...change };
    const kept = Object.entries(next).filter(([name, value]) => value && value !== "all"
      && !(name === "sort" && value === "created"));
    location.replace(link("tasks", "", Object.fromEntries(kept)));
  };
  const pages = useMemo(() => (queue && !text ? new Queue() : new Pages("/tasks", {
    state: SHOWS[show]?.states ?? [], sort, order, text,
  })), [show, sort, order, text]);
  useEffect(() => () => pages.close(), [pages]);
  useEffect(() => setChosen(new Set()), [pages]);
  useEffect(() => {
    const timer = setTimeout(() => typed !== text && go({ text: typed }), PAUSE);
    return () => clearTimeout(timer);
  }, [typed]);
  const choose = (/** @type {string} */ id, /** @type {boolean} */ on,
    /** @type {boolean} */ range) => {
    const next = new Set(chosen);
    const all = [...pages.pages.entries()].sort(([a], [b]) => a - b)
      .flatMap(([, rows]) => rows.map((row) => row.id));
    const [from, to] = [all.indexOf(anchor), all.indexOf(id)].sort((a, b) => a - b);
    for (const each of range && from !== undefined && from >= 0 ? all.slice(from, to + 1) : [id]) {
      on ? next.add(each) : next.delete(each);
    }
    setAnchor(id);
    setChosen(next);
  };
  const move = async (/** @type {string} */ id, /** @type {string | null} */ before) => {
    await attempt(() => post(`/tasks/${id}/move`, { before }));
    await pages.refresh();
  };
  const drag = useMemo(() => (queue && !text && may("operate") ? dragging(move, pages) : undefined),
    [pages]);
  const by = (/** @type {string} */ name) => go({ sort: name, order: name === sort
    ? (order === "desc" ? "asc" : "desc") : name === "name" ? "asc" : "desc" });
  return html`<${Area} title="Tasks" tools=${html`<label class="search"><span class="hidden">
      Search in names and sources</span><${Icon} name="search" />
      <input type="search" placeholder="Search" value=${typed} maxlength="200"
        onInput=${(/** @type {any} */ event) => setTyped(event.target.value)} /></label>
      <label class="sort"><span class="hidden">Sort by</span><select value=${sort} disabled=${queue}
        onChange=${(/** @type {any} */ event) => by(event.target.value)}>${SORTS.map(([name, word]) =>
        html`<option value=${name} key=${name}>${word}</option>`)}</select></label>`}>
    <div class="filters"><${Filters} show=${show} go=${go} />
      ${may("operate") && !queue && html`<button type="button" class="button ghost"
        onClick=${() => setChosen(new Set([...pages.pages.values()].flat().map((task) => task.id)))}>Choose all shown</button>`}
    </div>
    ${queue && html`<p class="quiet">Drag a task to where it is to be, or take its handle and use the
      arrow keys. What stands first goes first; users take turns among equals.</p>`}
    ${chosen.size > 0 && html`<${Bulk} chosen=${chosen} pages=${pages}
      clear=${(/** @type {string[]} */ kept = []) => setChosen(new Set(kept))} />`}
    ${pages.error.value && html`<p class="stale" role="alert">${pages.error.value.message}</p>`}
    <${TaskTable} pages=${pages} chosen=${chosen} choose=${choose} sort=${sort} order=${order}
      by=${by} drag=${drag} empty=${html`<${Nothing} show=${show} text=${text} />`} /><//>`;
}
