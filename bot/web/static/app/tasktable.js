// The table of tasks: only the rows that are looked at exist.
import { count, size, speed, duration } from "./format.js";
import { Icon } from "./icons.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";
import { link, may } from "./state.js";
import { ACTIVE, listsTick, newest, tasksTick } from "./store.js";
import { act, figures, Progress, State, taskName, VERBS } from "./taskparts.js";
import { Act, Name, When } from "./ui.js";

/** @typedef {import("./store.js").Task} Task */
/** @typedef {import("./pages.js").Pages} Pages */

const WIDE = 52;
const NARROW = 104;
const OVER = 6; // rows beyond both edges
/** @type {[string, string, string][]} */
const COLUMNS = [["name", "Task", "name"], ["", "State", "state"], ["", "Progress", "far"],
  ["size", "Size", "size"], ["created", "Added", "created"]];

const narrow = matchMedia("(max-width: 760px)");

function useNarrow() {
  const [is, set] = useState(narrow.matches);
  useEffect(() => {
    const change = () => set(narrow.matches);
    narrow.addEventListener("change", change);
    return () => narrow.removeEventListener("change", change);
  }, []);
  return is;
}

/** @param {Task} task */
const offered = (task) => /** @type {import("./taskparts.js").Verb[]} */ (
  ["resume", "pause", "retry", "cancel", "delete"]).filter((verb) => VERBS[verb].from(task.state)
    && !(verb === "retry" && task.state === "retrying"));

/** @param {{task: Task, index: number, top: number, chosen: boolean,
 *   choose: (id: string, on: boolean, range: boolean) => void, changed: () => void,
 *   drag: any}} props */
function Row({ task, index, top, chosen, choose, changed, drag }) {
  const progress = task.progress;
  const name = taskName(task);
  const running = ACTIVE.has(task.state) && progress;
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    if (place.current) {
      place.current.style.transform = `translateY(${top}px)`;
    }
  }, [top]);
  return html`<div class="row ${chosen ? "chosen" : ""}" role="row" aria-rowindex=${index + 2} ref=${place}
    data-id=${task.id} ...${drag ? drag.of(task) : {}}>
    <div role="cell" class="c-pick">${drag ? html`<button type="button" class="button ghost grip"
        aria-label=${`Move ${name}: arrow keys up and down`} onKeyDown=${drag.key(task, index)}>
        <${Icon} name="grip" /></button>`
      : may("operate") && html`<input type="checkbox" checked=${chosen} aria-label=${`Choose ${name}`}
        onClick=${(/** @type {any} */ event) =>
          choose(task.id, event.target.checked, event.shiftKey)} />`}</div>
    <div role="cell" class="c-name"><a href=${link("tasks", task.id)}><${Name} text=${name} /></a>
      <span class="sub">${task.error && task.state !== "done"
        ? html`<${Name} class="why" text=${`${task.error.message}${task.error.hint
          ? ` – ${task.error.hint}` : ""}`} />`
        : html`<${Name} text=${task.name ? task.source : task.to} />`}</span></div>
    <div role="cell" class="c-state"><${State} task=${task} /></div>
    <div role="cell" class="c-far">${running || (progress && task.state === "paused")
      ? html`<${Progress} task=${task} bare=${true} /><span class="sub">${
        running ? `${speed(progress.speed)}${progress.eta === null ? ""
          : ` · ${duration(progress.eta)} left`}` : figures(task)}</span>`
      : html`<span class="sub">${task.state === "queued" && task.priority
        ? `priority ${task.priority}` : task.note ?? ""}</span>`}</div>
    <div role="cell" class="c-size">${size(task.size ?? progress?.total)}</div>
    <div role="cell" class="c-created"><${When} at=${task.created_at} /></div>
    <div role="cell" class="c-acts">${may("operate") && offered(task).map((verb) => html`<${Act}
      key=${verb} class="ghost" icon=${VERBS[verb].icon} label=${`${VERBS[verb].label} ${
        name.slice(0, 100)}`} run=${async () => {
          if (await act(verb, task)) {
            changed();
          }
        }} />`)}</div></div>`;
}

/** @param {{sort: string, order: string, by: (sort: string) => void}} props */
const Head = ({ sort, order, by }) => html`<div role="rowgroup" class="thead"><div role="row"
  class="row head" aria-rowindex="1"><div role="columnheader" class="c-pick"><span class="hidden">
  Choose</span></div>
  ${COLUMNS.map(([key, text, name]) => html`<div role="columnheader" key=${name} class="c-${name}"
    aria-sort=${key && key === sort ? (order === "asc" ? "ascending" : "descending") : undefined}>
    ${key ? html`<button type="button" onClick=${() => by(key)}>${text}${key === sort
      ? html`<span aria-hidden="true">${order === "asc" ? " ↑" : " ↓"}</span>` : ""}</button>`
      : text}</div>`)}
  <div role="columnheader" class="c-acts"><span class="hidden">Actions</span></div></div></div>`;

/** @param {{pages: Pages, chosen: Set<string>, sort: string, order: string, empty: any, drag?: any,
 *   by: (sort: string) => void, choose: (id: string, on: boolean, range: boolean) => void}} props */
export function TaskTable({ pages, chosen, choose, sort, order, by, empty, drag }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [view, setView] = useState({ top: 0, height: 600 });
  const [fresh, setFresh] = useState(false);
  const high = useNarrow() ? NARROW : WIDE;
  tasksTick.value;
  pages.tick.value;
  const first = Math.max(0, Math.floor(view.top / high) - OVER);
  const last = Math.min(pages.length - 1, Math.ceil((view.top + view.height) / high) + OVER);
  useEffect(() => {
    pages.want(first, last);
  }, [pages, first, last, pages.tick.value]);
  useEffect(() => {
    const place = box.current;
    if (!place) {
      return undefined;
    }
    let frame = 0;
    const look = () => {
      frame = 0;
      setView({ top: place.scrollTop, height: place.clientHeight });
    };
    const later = () => {
      frame ||= requestAnimationFrame(look);
    };
    place.addEventListener("scroll", later, { passive: true });
    const fit = new ResizeObserver(later);
    fit.observe(place);
    look();
    return () => {
      place.removeEventListener("scroll", later);
      fit.disconnect();
      cancelAnimationFrame(frame);
    };
  }, []);
  useEffect(() => {
    box.current?.scrollTo(0, 0);
    setFresh(false);
  }, [pages]);
  // At the top the list follows by itself; further down nothing moves under the hand.
  const heard = listsTick.value;
  const seen = useRef(heard);
  useEffect(() => {
    if (heard === seen.current || !pages.loaded.peek()) {
      return undefined;
    }
    seen.current = heard;
    if (view.top > high * 2) {
      setFresh(true);
      return undefined;
    }
    const timer = setTimeout(() => pages.refresh(), 400);
    return () => clearTimeout(timer);
  }, [heard, pages]);
  const rows = [];
  for (let index = first; index <= last; index += 1) {
    const found = pages.row(index);
    if (found) {
      const task = newest(found);
      rows.push(html`<${Row} key=${task.id} task=${task} index=${index} top=${index * high}
        chosen=${chosen.has(task.id)} choose=${choose} drag=${drag}
        changed=${() => pages.renew(index)} />`);
    }
  }
  const nothing = pages.loaded.value && pages.total === 0;
  const space = useRef(/** @type {HTMLDivElement | null} */ (null));
  useLayoutEffect(() => {
    if (space.current) {
      space.current.style.height = `${pages.length * high}px`;
    }
  }, [pages.length, high]);
  return html`<div class="table"><div role="table" aria-label="Tasks" aria-rowcount=${
    pages.total === null ? -1 : pages.total + 1} aria-busy=${pages.loaded.value ? "false" : "true"}>
    <${Head} sort=${sort} order=${order} by=${by} />
    <div class="scroll" ref=${box} role="rowgroup" tabindex="0" aria-label=${
      pages.total === null ? "Rows" : `${count(pages.total)} rows`}>
      <div class="space" ref=${space} role="presentation">${rows}</div></div></div>
    ${fresh && html`<button type="button" class="button primary fresh" onClick=${() => {
      setFresh(false);
      box.current?.scrollTo(0, 0);
      pages.refresh();
    }}>The list has changed – show</button>`}
    ${nothing && empty}</div>`;
}

/** What dragging rows does: put a task before another one.
 *  @param {(id: string, before: string | null) => Promise<unknown>} move
 *  @param {Pages} pages */
export function dragging(move, pages) {
  let held = "";
  return {
    /** @param {Task} task */
    of: (task) => ({
      draggable: true,
      onDragStart: (/** @type {DragEvent} */ event) => {
        held = task.id;
        event.dataTransfer?.setData("text/plain", task.id);
      },
      onDragOver: (/** @type {DragEvent} */ event) => {
        if (held && held !== task.id) {
          event.preventDefault();
          /** @type {HTMLElement} */ (event.currentTarget).classList.add("target");
        }
      },
      onDragLeave: (/** @type {any} */ event) => event.currentTarget.classList.remove("target"),
      onDrop: async (/** @type {any} */ event) => {
        event.preventDefault();
        event.currentTarget.classList.remove("target");
        await move(held, task.id);
        held = "";
      },
    }),
    /** @param {Task} task @param {number} index */
    key: (task, index) => async (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "ArrowUp" && event.key !== "ArrowDown") {
        return;
      }
      event.preventDefault();
      const button = /** @type {HTMLElement} */ (event.currentTarget);
      const before = pages.row(event.key === "ArrowUp" ? index - 1 : index + 2);
      if (event.key === "ArrowUp" && !before) {
        return;
      }
      await move(task.id, before?.id ?? null);
      button.focus();
    },
  };
}

