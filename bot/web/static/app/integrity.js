// Whether what was delivered is still what it was; and how the service came up.
import { attempt, get, post } from "./api.js";
import { count, duration, percent, plural, size, words } from "./format.js";
import { html, useState } from "./lib.js";
import { Icon } from "./icons.js";
import { link, may, say } from "./state.js";
import { Act, Area, Badge, Card, Empty, Field, Loaded, Name, useData, useEvery, When } from "./ui.js";

/** @type {Record<string, string>} */
const KINDS = { running: "busy", done: "good", failed: "bad", partial: "medium", cancelled: "plain",
  interrupted: "medium" };
const REFETCHED = new Set(["missing", "size_differs", "hash_differs", "unreadable"]);

/** @param {any} check */
const about = (check) => ({ all: "Everything delivered", data: "The data directory",
  scheduled: "Everything, by schedule" })[/** @type {string} */ (check.scope)]
  ?? `${check.scope} ${check.target ?? ""}`;

/** @param {{check: any}} of */
const Line = ({ check }) => html`<li class="note"><a href=${link("integrity", check.id)}>
    <${Badge} kind=${check.wrong ? "bad" : KINDS[check.state]}>${check.wrong
      ? `${count(check.wrong)} wrong` : check.state}<//><${Name} text=${about(check)} /></a>
  <${When} at=${check.started_at} />
  <span class="sub">${`${plural(check.files, "file")} · ${size(check.bytes)} · ${duration(check.seconds)}`}</span></li>`;

/** @param {{id: string}} of */
function Findings({ id }) {
  const [more, setMore] = useState(/** @type {any[]} */ ([]));
  const found = useData((signal) => get(`/recovery/checks/${encodeURIComponent(id)}`, {}, signal), [id]);
  const running = found.data?.state === "running";
  useEvery(() => running && found.again(), 1);
  return html`<a class="back" href=${link("integrity")}><${Icon} name="back" /> All checks</a><${Loaded} of=${found}>${
    (/** @type {any} */ check) => {
      const all = [...check.first_findings, ...more];
      return html`<${Area} title=${html`<${Name} text=${about(check)} />`} tools=${may("operate") && html`
        ${running && html`<${Act} run=${async () => {
          await attempt(() => post(`/recovery/checks/${id}/cancel`), "It ends");
          found.again();
        }}>Cancel<//>`}
        ${check.resumable && html`<${Act} class="primary" run=${async () => {
          const next = await post("/recovery/verify-integrity", { resume: id });
          location.hash = link("integrity", next.id);
        }}>Go on with it<//>`}`}>
        <${Card}><p role="status"><${Badge} kind=${KINDS[check.state]}>${check.state}<//>
          ${` ${plural(check.receipts, "receipt")}, ${plural(check.files, "file")}, ${size(check.bytes)} in ${
            duration(check.seconds)}`}</p>
          ${check.error && html`<p class="why"><bdi>${check.error}</bdi></p>`}
          ${all.length === 0 ? html`<${Empty} icon=${running ? "search" : "check"} title=${running
            ? "Nothing is wrong so far." : "Nothing is wrong."} />`
            : html`<ul class="plain">${all.map((each) => html`<li class="note" key=${each.number}><span>
              <${Badge} kind="bad">${words(each.condition)}<//> <bdi>${each.path}</bdi>
              <span class="sub">${each.expected && html`expected <code>${each.expected}</code> `}
              ${each.found && html`found <code>${each.found}</code>`}</span></span>
              ${may("operate") && each.task && REFETCHED.has(each.condition) && html`<${Act}
                run=${async () => {
                  const answer = await post("/recovery/refetch", { check: id, finding: each.number });
                  say({ kind: "good", text: "It is fetched again", action: { label: "Show",
                    run: () => {
                      location.hash = link("tasks", answer.task.id);
                    } } });
                }}>Fetch again<//>`}</li>`)}</ul>`}
          ${all.length < check.findings && html`<${Act} run=${async () => {
            const page = await get(`/recovery/checks/${id}/findings`,
              { cursor: all[all.length - 1]?.number ?? 0 });
            setMore([...more, ...page.items]);
          }}>More findings<//>`}<//><//>`;
    }}<//>`;
}

function Begin() {
  const [path, setPath] = useState("");
  const begin = (/** @type {object} */ body) => async () => {
    const check = await post("/recovery/verify-integrity", body);
    location.hash = link("integrity", check.id);
  };
  return html`<${Card} title="Check now"><div class="tools">
    <${Act} class="primary" run=${begin({ all: true })}>Everything delivered<//>
    ${may("admin") && html`<${Act} run=${begin({ data: true })}>The data directory<//>`}</div>
    <form class="inline" onSubmit=${async (/** @type {Event} */ event) => {
      event.preventDefault();
      await attempt(begin({ path: path.trim() }));
    }}><${Field} label="A file, a directory or remote:path">${(/** @type {string} */ id) => html`<input id=${id}
      required value=${path} spellcheck=${false} maxlength="4096"
      onInput=${(/** @type {any} */ event) => setPath(event.target.value)} />`}<//>
      <button class="button">Check it</button></form><//>`;
}

/** @param {{status: any}} of */
function Start({ status }) {
  const { start } = status;
  const left = start.recovered;
  const settled = [
    left.resumed.length ? `${plural(left.resumed.length, "task")} went on` : "",
    left.workspaces.length ? `${left.workspaces.length} workspaces were removed` : "",
    left.checks.length ? `${plural(left.checks.length, "check")} had been cut off` : "",
  ].filter(Boolean).join(", ");
  return html`<${Card} title="This start"><dl class="facts"><dt>Since</dt><dd><${When} at=${start.started_at} /></dd>
    <dt>The run before</dt><dd><${Badge} kind=${start.clean ? "good" : "medium"}>${start.clean
      ? "ended as it should" : "was cut off"}<//></dd>
    <dt>Settled</dt><dd>${settled || "nothing had to be"}</dd>
    ${left.failed.length > 0 && html`<dt>Left over</dt><dd class="why"><bdi>${left.failed.join("; ")}</bdi></dd>`}
    <dt>Delivered, last day</dt><dd>${percent(status.tasks.day?.ratio)} of ${count(status.tasks.day?.total ?? 0)}</dd>
    <dt>Delivered, last week</dt><dd>${percent(status.tasks.week?.ratio)} of ${
      count(status.tasks.week?.total ?? 0)}</dd></dl><//>`;
}

function All() {
  const status = useData((signal) => get("/recovery/status", {}, signal));
  const list = useData((signal) => get("/recovery/history", { of: "checks", limit: 50 }, signal));
  const starts = useData((signal) => get("/recovery/history", { of: "starts", limit: 20 }, signal));
  useEvery(() => {
    status.again();
    list.again();
  }, 10);
  return html`<${Area} title="Integrity"><div class="two">${may("operate") && html`<${Begin} />`}
      <${Loaded} of=${status}>${(/** @type {any} */ found) => html`<${Start} status=${found} />`}<//></div>
    <${Card} title="Checks"><${Loaded} of=${list}>${(/** @type {any} */ page) => (page.items.length === 0
      ? html`<${Empty} icon="integrity" title="Nothing was checked yet.">
          <p>A check compares what lies at the destinations with the receipts.</p><//>`
      : html`<ul class="plain">${page.items.map((/** @type {any} */ check) => html`<${Line} key=${check.id}
          check=${check} />`)}</ul>`)}<//><//>
    <${Card} title="Starts of the service"><${Loaded} of=${starts}>${(/** @type {any} */ page) => html`<ul
      class="plain">${page.items.map((/** @type {any} */ each) => html`<li class="note" key=${each.id}>
        <span><${When} at=${each.started_at} /> <span class="quiet">version ${each.version}</span></span>
        <${Badge} kind=${each.killed ? "bad" : each.ended_at ? "plain" : "good"}>${each.killed ? "was cut off"
          : each.ended_at ? "ended" : "runs"}<//></li>`)}</ul>`}<//><//><//>`;
}

/** @param {{id: string}} of */
export const Integrity = ({ id }) => (id ? html`<${Findings} id=${id} key=${id} />` : html`<${All} />`);
