// The log as it grows: by level and text, held still when one wants to read.
import { get } from "./api.js";
import { size } from "./format.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";
import { lineText } from "./loglines.js";
import { route } from "./state.js";
import { Act, Area, Badge, Card, Choice, Empty, useData, useEvery, When } from "./ui.js";

/** @typedef {{key: number, line: any}} Kept */

const HELD = 1000;
const LEVELS = ["debug", "info", "warning", "error"];
const BREATH = 250;

let number = 0;

/** @param {any} line @returns {Kept} */
const numbered = (line) => ({ key: ++number, line });

/** @param {{level: string, text: string}} wanted */
function useTail(wanted) {
  const [lines, setLines] = useState(/** @type {Kept[]} */ ([]));
  const [state, setState] = useState("loading");
  const [older, setOlder] = useState(/** @type {string | null} */ (null));
  const waiting = useRef(/** @type {Kept[]} */ ([]));
  const query = { level: wanted.level, text: wanted.text };
  useEffect(() => {
    let over = false;
    /** @type {EventSource | null} */
    let source = null;
    waiting.current = [];
    setState("loading");
    const flush = setInterval(() => {
      const fresh = waiting.current;
      if (fresh.length) {
        waiting.current = [];
        setLines((old) => [...old, ...fresh].slice(-HELD));
      }
    }, BREATH);
    get("/logger/recent-logs", { ...query, limit: 200 }).then((page) => {
      if (over) {
        return;
      }
      setLines(page.items.reverse().map(numbered));
      setOlder(page.cursor);
      setState("live");
      const asked = new URLSearchParams({ level: query.level, after: page.end });
      if (query.text) {
        asked.set("text", query.text);
      }
      source = new EventSource(`/api/v3/logger/follow?${asked}`);
      source.onopen = () => setState("live");
      source.onerror = () => setState("lost");
      source.onmessage = (event) => {
        waiting.current.push(numbered(JSON.parse(event.data)));
        if (waiting.current.length > HELD) {
          waiting.current.shift();
        }
      };
    }, (error) => !over && setState(error.message));
    return () => {
      over = true;
      clearInterval(flush);
      source?.close();
    };
  }, [wanted.level, wanted.text]);
  const more = async () => {
    const page = await get("/logger/recent-logs", { ...query, limit: 200, cursor: older });
    setOlder(page.cursor);
    setLines((old) => [...page.items.reverse().map(numbered), ...old]);
  };
  return { lines, state, more: older ? more : null, clear: () => setLines([]) };
}

/** @param {{lines: Kept[], paused: boolean}} of */
function Lines({ lines, paused }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const low = useRef(true);
  useLayoutEffect(() => {
    if (box.current && low.current && !paused) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [lines, paused]);
  return html`<div class="log tail" role="log" aria-live="off" tabindex="0" aria-label="Log lines" ref=${box}
    onScroll=${(/** @type {any} */ event) => {
      const place = event.target;
      low.current = place.scrollHeight - place.scrollTop - place.clientHeight < 30;
    }}>${lines.map(({ key, line }) => html`<p key=${key} class="line ${line.level}">
      <${When} at=${line.time} /><span class="level">${line.level}</span>
      <bdi><span class="quiet">${line.logger}</span> ${lineText(line)}</bdi></p>`)}</div>`;
}

function Stats() {
  const found = useData((signal) => get("/logger/stats", {}, signal));
  useEvery(found.again, 30);
  const stats = found.data;
  return stats ? html`<p class="quiet">${`${stats.files} files, ${size(stats.bytes)}, in `}
    <bdi>${stats.directory}</bdi>${stats.dropped ? ` · ${stats.dropped} lines could not be written` : ""}
    ${stats.enabled ? "" : " · this service does not write them"}</p>` : null;
}

export function Logs() {
  const [level, setLevel] = useState("info");
  const [typed, setTyped] = useState(route.value.query.get("text") ?? "");
  const [text, setText] = useState(typed);
  const [held, setHeld] = useState(/** @type {Kept[] | null} */ (null));
  const tail = useTail({ level, text });
  useEffect(() => {
    const timer = setTimeout(() => setText(typed), 300);
    return () => clearTimeout(timer);
  }, [typed]);
  useEffect(() => setHeld(null), [level, text]);
  const shown = held ?? tail.lines;
  const last = held?.[held.length - 1]?.key ?? 0;
  const missed = held ? tail.lines.filter((each) => each.key > last).length : 0;
  return html`<${Area} title="Logs" tools=${html`
      <${Choice} label="Least level" value=${level} choose=${setLevel}
        choices=${LEVELS.map((each) => [each, each])} />
      <label class="search plain"><span class="hidden">Search in the log</span><input type="search"
        placeholder="Text" value=${typed} maxlength="200"
        onInput=${(/** @type {any} */ event) => setTyped(event.target.value)} /></label>
      <button type="button" class="button" aria-pressed=${held ? "true" : "false"}
        onClick=${() => setHeld(held ? null : tail.lines)}>${held
          ? `Go on${missed ? ` (${missed} new)` : ""}` : "Pause"}</button>`}>
    <${Card}>
      <div class="tools between"><span role="status">${tail.state === "live"
        ? html`<${Badge} kind=${held ? "medium" : "good"}>${held ? "paused" : "follows"}<//>`
        : tail.state === "loading" ? "Loading …"
          : html`<${Badge} kind="bad">${tail.state === "lost" ? "no connection, trying again"
            : tail.state}<//>`}</span>
        ${tail.more && html`<${Act} class="ghost" run=${tail.more}>Older lines<//>`}</div>
      ${shown.length === 0 && tail.state === "live"
        ? html`<${Empty} icon="logs" title=${text ? "No line has that." : "Nothing was logged at this level."}>
            New lines are shown here as they come.<//>`
        : html`<${Lines} lines=${shown} paused=${held !== null} />`}
      <${Stats} /><//><//>`;
}
