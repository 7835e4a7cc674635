// What runs now, how it goes, and how it went.
import { get } from "./api.js";
import { Chart } from "./chart.js";
import { count, duration, percent, plural, size, speed } from "./format.js";
import { html, useMemo, useState } from "./lib.js";
import { link, may } from "./state.js";
import { ACTIVE, alertsNow, counts, metrics, metricsAt, pluginsNow, tasks, tasksTick }
  from "./store.js";
import { openAdd } from "./add.js";
import { Progress, taskName } from "./taskparts.js";
import { Area, Badge, Card, Choice, Empty, Name, useData, useEvery, When } from "./ui.js";

/** @type {Record<string, {text: string, seconds: number, every: number}>} */
const RANGES = {
  hour: { text: "1 h", seconds: 3600, every: 15 },
  day: { text: "24 h", seconds: 86400, every: 60 },
  week: { text: "7 d", seconds: 7 * 86400, every: 300 },
};
const NAMES = ["bytes_in_per_second", "bytes_out_per_second", "tasks_running", "tasks_queued",
  "cpu_percent", "process_cpu_percent", "process_memory_bytes", "children_memory_bytes",
  "failures_per_minute", "disk_free_bytes"];
const SHOWN = 8;

/** @param {{label: string, value: any, more?: any, to?: string, kind?: string}} of */
const Tile = ({ label, value, more, to, kind = "" }) => {
  const inside = html`<span class="tile-label">${label}</span><span class="tile-value">${value}</span>
    <span class="tile-more">${more ?? " "}</span>`;
  return to ? html`<a class="tile ${kind}" href=${to}>${inside}</a>`
    : html`<div class="tile ${kind}">${inside}</div>`;
};

function Tiles() {
  const now = metrics.value;
  const by = counts.value;
  const alerts = alertsNow.value;
  const plugins = pluginsNow.value;
  const running = plugins.filter((each) => each.state === "running").length;
  const broken = plugins.filter((each) => each.state === "failed" || each.state === "refused").length;
  const memory = (now.process_memory_bytes ?? 0) + (now.children_memory_bytes ?? 0);
  const full = now.disk_free_ratio !== undefined && now.disk_free_ratio < 0.1;
  return html`<div class="tiles">
    <${Tile} label="Running" value=${count(now.tasks_running ?? 0)}
      more=${`${count(by.done ?? 0)} done`} to=${link("tasks", "", { show: "active" })} />
    <${Tile} label="Queue" value=${count((now.tasks_queued ?? 0) + (now.tasks_waiting ?? 0))}
      more=${now.queue_wait_seconds ? `longest ${duration(now.queue_wait_seconds)}` : "nobody waits"}
      to=${link("tasks", "", { show: "waiting" })} />
    <${Tile} label="Down" value=${speed(now.bytes_in_per_second ?? 0)}
      more=${`${size(now.bytes_in_total ?? 0)} in all`} />
    <${Tile} label="Up" value=${speed(now.bytes_out_per_second ?? 0)}
      more=${`${size(now.bytes_out_total ?? 0)} in all`} />
    <${Tile} label="Failed" value=${count(by.failed ?? 0)} kind=${by.failed ? "bad" : ""}
      more=${`${plural(now.failures_per_minute ?? 0, "try", "tries")} a minute`}
      to=${link("tasks", "", { show: "failed" })} />
    <${Tile} label="Disk free" value=${size(now.disk_free_bytes)} kind=${full ? "bad" : ""}
      more=${`${percent(now.disk_free_ratio)} of the disk`} />
    <${Tile} label="CPU" value=${`${count(Math.round(now.cpu_percent ?? 0))} %`}
      more=${`${count(Math.round(now.process_cpu_percent ?? 0))} % of a core`} />
    <${Tile} label="Memory" value=${size(memory)}
      more=${`${size(now.memory_available_bytes)} available`} />
    <${Tile} label="Cache hits" value=${percent(now.cache_hit_ratio)}
      more="since the start" to=${link("performance")} />
    <${Tile} label="Plugins" value=${count(running)} kind=${broken ? "bad" : ""}
      more=${broken ? `${broken} do not run` : `of ${plugins.length}`} to=${link("plugins")} />
    <${Tile} label="Alerts" value=${count(alerts.firing)} kind=${alerts.firing ? "bad" : "good"}
      more=${alerts.firing ? "firing" : "all is well"} to=${link("alerts")} />
    <${Tile} label="Last backup" value=${now.last_backup_age_seconds === undefined ? "none"
      : duration(now.last_backup_age_seconds)} more=${now.last_backup_age_seconds === undefined
      ? "make one" : "ago"} to=${may("admin") ? link("backups") : undefined} />
  </div>`;
}

function Running() {
  tasksTick.value;
  const all = [...tasks.values()].filter((task) => ACTIVE.has(task.state));
  const shown = all.slice(0, SHOWN);
  return html`<${Card} title="Running now" class="running" tools=${html`<a href=${link("tasks")}>All
    tasks</a>`}>
    ${shown.length === 0
      ? html`<${Empty} icon="tasks" title="Nothing runs.">
          ${may("operate") && html`<button type="button" class="button primary"
            onClick=${openAdd}>Add a link</button>`}<//>`
      : html`<ul class="plain">${shown.map((task) => html`<li key=${task.id} class="run">
          <a href=${link("tasks", task.id)}><${Name} text=${taskName(task)} /></a>
          <${Progress} task=${task} /></li>`)}</ul>
        ${all.length > SHOWN && html`<p class="quiet">and ${count(all.length - SHOWN)} more</p>`}`}
  <//>`;
}

function Attention() {
  tasksTick.value;
  const alerts = alertsNow.value.items.slice(0, 5);
  const failed = [...tasks.values()].filter((task) => task.state === "failed")
    .sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1)).slice(0, 5);
  return html`<${Card} title="Needs attention">
    ${alerts.length + failed.length === 0
      ? html`<${Empty} icon="check" title="Nothing does.">Alerts and failed tasks are shown here.<//>`
      : html`<ul class="plain">
        ${alerts.map((alert) => html`<li key=${alert.id} class="note">
          <a href=${link("alerts")}><${Badge} kind=${alert.severity}>${alert.severity}<//>
          <${Name} text=${alert.title} /></a> <${When} at=${alert.started_at} /></li>`)}
        ${failed.map((task) => html`<li key=${task.id} class="note">
          <a href=${link("tasks", task.id)}><${Badge} kind="bad">failed<//>
          <${Name} text=${taskName(task)} /></a> <${When} at=${task.updated_at} />
          <p class="why"><bdi>${task.error?.message ?? ""}</bdi></p></li>`)}</ul>`}<//>`;
}

function Charts() {
  const [range, setRange] = useState("hour");
  const chosen = RANGES[range] ?? RANGES.hour;
  const found = useData((signal) => get("/metrics/history", {
    name: NAMES,
    since: new Date(Date.now() - chosen.seconds * 1000).toISOString(),
    points: 400,
  }, signal), [range]);
  useEvery(found.again, chosen.every);
  const live = range === "hour" ? metricsAt.value : 0;
  const { times, of } = useMemo(() => {
    const data = found.data;
    // A young service has no past: what it has fills the chart.
    const first = Math.max(0, (data?.times ?? []).findIndex((/** @type {string} */ _,
      /** @type {number} */ at) => data.items.some((/** @type {any} */ each) => each.mean[at] !== null)));
    const moments = (data?.times ?? []).slice(first).map(
      (/** @type {string} */ at) => Date.parse(at) / 1000);
    const series = new Map((data?.items ?? []).map((/** @type {any} */ each) => [each.name, each]));
    const grow = live > (moments[moments.length - 1] ?? Infinity);
    return {
      times: grow ? [...moments, live] : moments,
      of: (/** @type {string} */ name) => {
        const mean = (series.get(name)?.mean ?? []).slice(first);
        return grow ? [...mean, metrics.peek()[name] ?? null] : mean;
      },
    };
  }, [found.data, live]);
  /** @param {[string, string, string, boolean?][]} which */
  const lines = (which) => which.map(([label, name, colour, fill]) =>
    ({ label, colour, values: of(name), fill }));
  const whole = (/** @type {number} */ value) => `${count(Math.round(value ?? 0))} %`;
  return html`<${Card} title="Over time" class="charts" tools=${html`<${Choice} label="How far back"
    value=${range} choose=${setRange}
    choices=${Object.entries(RANGES).map(([name, each]) => [name, each.text])} />`}>
    ${found.error && html`<p class="stale" role="alert">${found.error.message}</p>`}
    <div class="chart-grid">
      <${Chart} title="Throughput" times=${times} format=${speed} sync="overview" lines=${lines([
        ["Down", "bytes_in_per_second", "--chart-1", true],
        ["Up", "bytes_out_per_second", "--chart-2"]])} />
      <${Chart} title="Tasks" times=${times} format=${count} sync="overview" lines=${lines([
        ["Running", "tasks_running", "--chart-1", true],
        ["Queued", "tasks_queued", "--chart-3"],
        ["Failed tries a minute", "failures_per_minute", "--chart-4"]])} />
      <${Chart} title="Processor" times=${times} format=${whole} sync="overview" lines=${lines([
        ["Machine", "cpu_percent", "--chart-1", true],
        ["Service (of a core)", "process_cpu_percent", "--chart-2"]])} />
      <${Chart} title="Memory" times=${times} format=${size} sync="overview" lines=${lines([
        ["Service", "process_memory_bytes", "--chart-1", true],
        ["Programs it started", "children_memory_bytes", "--chart-2"]])} />
    </div>
    <p class="quiet">Drag over a chart to look closer; double click for all of it.</p><//>`;
}

export const Overview = () => html`<${Area} title="Overview"><${Tiles} />
  <div class="two"><${Running} /><${Attention} /></div><${Charts} /><//>`;

