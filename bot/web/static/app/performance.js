// How long operations take, the slowest runs, queries, the cache.
import { attempt, call, get, post } from "./api.js";
import { count, duration, full, percent } from "./format.js";
import { html, useState } from "./lib.js";
import { may } from "./state.js";
import { Act, Area, Badge, Card, Choice, confirm, Empty, Field, Loaded, useData, useEvery, When }
  from "./ui.js";

const COLUMNS = [["count", "Runs"], ["errors", "Failed"], ["slow", "Slow"], ["median", "Median"],
  ["p95", "95 %"], ["p99", "99 %"], ["max", "Longest"], ["total", "In all"]];
const NUMBERS = new Set(["count", "errors", "slow"]);

/** @param {{items: any[], empty: string}} of */
function Operations({ items, empty }) {
  const [sort, setSort] = useState("total");
  if (items.length === 0) {
    return html`<${Empty} icon="performance" title=${empty} />`;
  }
  const sorted = [...items].sort((a, b) => b[sort] - a[sort]);
  return html`<div class="wide-table" tabindex="0" role="region" aria-label="Operations"><table><thead><tr>
    <th scope="col">Operation</th>${COLUMNS.map(([key, text]) => html`<th scope="col" class="num" key=${key}
      aria-sort=${key === sort ? "descending" : undefined}><button type="button" class="sorter"
      onClick=${() => setSort(key)}>${text}${key === sort ? " ↓" : ""}</button></th>`)}</tr></thead>
    <tbody>${sorted.map((each) => html`<tr key=${each.operation}><th scope="row"><bdi>${each.operation}</bdi></th>
      ${COLUMNS.map(([key]) => html`<td class="num ${(key === "errors" || key === "slow") && each[key]
        ? "why" : ""}" key=${key}>${NUMBERS.has(key) ? count(each[key]) : duration(each[key])}</td>`)}</tr>`)}
    </tbody></table></div>`;
}

function Slow() {
  const found = useData((signal) => get("/profiler/slow-operations", { limit: 50 }, signal));
  useEvery(found.again, 15);
  return html`<${Card} title="Slowest runs"><${Loaded} of=${found}>${(/** @type {any} */ page) => (
    page.items.length === 0 ? html`<p class="quiet">No run took as long as PROFILER_SLOW_THRESHOLD.</p>`
      : html`<div class="wide-table" tabindex="0" role="region" aria-label="Slowest runs"><table><thead><tr>
        <th scope="col">Operation</th><th scope="col" class="num">Took</th><th scope="col">When</th>
        <th scope="col">Of what</th></tr></thead><tbody>${page.items.map(
          (/** @type {any} */ run, /** @type {number} */ index) => html`<tr key=${index}>
          <td><bdi>${run.operation}</bdi> ${run.failed && html`<${Badge} kind="bad">failed<//>`}</td>
          <td class="num">${duration(run.seconds)}</td><td><${When} at=${run.at} /></td>
          <td class="quiet"><bdi>${Object.entries(run.detail).map(([name, value]) =>
            `${name}=${value}`).join(", ")}</bdi></td></tr>`)}</tbody></table></div>`)}<//><//>`;
}

function Queries() {
  const found = useData(async (signal) => {
    const [cache, hot] = await Promise.all([get("/system/query-cache", {}, signal),
      get("/system/hot-queries", { limit: 20 }, signal)]);
    return { cache, hot: hot.items };
  });
  useEvery(found.again, 15);
  return html`<${Card} title="Cache and queries" tools=${html`<${Act} run=${async () => {
    if (await confirm({ title: "Empty the cache?", verb: "Empty it", kind: "primary",
      text: html`<p>Answers are made anew for a while, so the service is a little slower.</p>` })) {
      await attempt(() => post("/system/query-cache/invalidate"), "The cache is empty");
      found.again();
    }
  }}>Empty the cache<//>`}><${Loaded} of=${found}>${(/** @type {any} */ data) => html`<dl class="facts">
      <dt>Cache</dt><dd>${data.cache.enabled ? data.cache.backend : "off"}</dd>
      <dt>Hits</dt><dd>${percent(data.cache.hit_ratio)} (${count(data.cache.hits)} of ${
        count(data.cache.hits + data.cache.misses)})</dd>
      <dt>Kept answers</dt><dd>${count(data.cache.entries)}, ${count(data.cache.evictions)} made
        room for others</dd></dl>
    ${data.hot.length === 0 ? html`<p class="quiet spaced">Nobody has asked over GraphQL yet.</p>`
      : html`<h3>Hot queries</h3><ul class="plain">${data.hot.map((/** @type {any} */ query) =>
        html`<li key=${query.fingerprint} class="query"><details><summary><bdi>${query.operation
          ?? query.fingerprint.slice(0, 12)}</bdi> <span class="quiet">${count(query.count)} times, ${
          count(query.hits)} from the cache, ${duration(query.mean)} each</span></summary><pre class="result" tabindex="0">${
          query.document}</pre></details></li>`)}</ul>`}`}<//><//>`;
}

function Profile() {
  const [seconds, setSeconds] = useState("5");
  const [format, setFormat] = useState("text");
  const [found, setFound] = useState(/** @type {any} */ (null));
  const take = async () => {
    const answer = await post("/profiler/profile", { seconds: Number(seconds), format });
    if (answer.format === "text") {
      setFound(answer);
      return;
    }
    const blob = new Blob([answer.content], { type: "application/octet-stream" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = answer.format === "html" ? "profile.html" : "profile.speedscope.json";
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return html`<${Card} title="Where the time goes"><div class="inline">
    <${Field} label="Seconds to look">${(/** @type {string} */ id) => html`<input id=${id} type="number" min="1"
      max="60" value=${seconds} onInput=${(/** @type {any} */ event) => setSeconds(event.target.value)} />`}<//>
    <${Choice} label="Format" value=${format} choose=${setFormat}
      choices=${[["text", "Text"], ["html", "HTML"], ["speedscope", "speedscope"]]} />
    <${Act} run=${take}>Take a profile<//></div>
    ${found && html`<p class="quiet spaced">${count(found.samples)} samples in ${duration(found.seconds)}</p>
      <pre class="result" tabindex="0">${found.content}</pre>`}<//>`;
}

export function Performance() {
  const [by, setBy] = useState("items");
  const found = useData((signal) => get("/profiler/stats", {}, signal));
  useEvery(found.again, 10);
  return html`<${Area} title="Performance" tools=${may("admin") && html`<${Act} run=${async () => {
      if (await confirm({ title: "Forget all figures?", verb: "Forget them",
        text: html`<p>Counting begins anew; the charts of the overview stay.</p>` })) {
        await attempt(() => call("DELETE", "/profiler/stats"), "Counting begins anew");
        found.again();
      }
    }}>Begin anew<//>`}>
    <${Loaded} of=${found}>${(/** @type {any} */ stats) => (stats.enabled
      ? html`<${Card} title="Operations" tools=${html`<${Choice} label="Which" value=${by} choose=${setBy}
          choices=${[["items", "Each"], ["areas", "By area"]]} />`}>
          <p class="quiet lead">${stats.since ? `Since ${full(stats.since)}` : ""}${stats.overflowed
            ? ` · ${count(stats.overflowed)} runs under too many names are counted together` : ""}</p>
          <${Operations} items=${stats[by]} empty="Nothing was measured yet." /><//>`
      : html`<${Card}><${Empty} icon="performance" title="The profiler is off.">
          <p>Set <code>ENABLE_PROFILER=true</code> and start the service again.</p><//><//>`)}<//>
    ${may("admin") && html`<div class="two"><${Queries} /><${Profile} /></div><${Slow} />`}<//>`;
}
