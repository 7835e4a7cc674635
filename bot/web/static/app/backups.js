// Backups: made, verified, brought back, taken away.
import { attempt, call, get, post, Problem } from "./api.js";
import { duration, plural, size } from "./format.js";
import { html, useEffect, useState } from "./lib.js";
import { connection } from "./live.js";
import { say } from "./state.js";
import { Act, Area, Badge, Bar, Card, confirm, Dialog, Empty, Field, Loaded, Name, useData, useEvery, When }
  from "./ui.js";

const ROUND = 2; // seconds between looks while something goes on

/** @type {Record<string, string>} */
const KINDS = { good: "good", bad: "bad", unverified: "medium" };

/** @param {{running: any}} of */
const Job = ({ running }) => html`<${Card} title="Under way" class="job"><div aria-live="polite">
  <p><strong>${running.job}</strong> <bdi>${running.name}</bdi> · ${running.step} ·
    since <${When} at=${running.started_at} /></p></div>
  <${Bar} done=${running.done} total=${running.total} label=${`${running.job}: ${running.step}`} /><//>`;

/** @param {{stats: any}} of */
const Summary = ({ stats }) => html`<div class="tiles">
  <div class="tile ${stats.age === null ? "bad" : ""}"><span class="tile-label">Newest</span>
    <span class="tile-value">${stats.age === null ? "none" : duration(stats.age)}</span>
    <span class="tile-more">${stats.age === null ? "make one" : "ago"}</span></div>
  <div class="tile ${stats.bad ? "bad" : ""}"><span class="tile-label">Verified</span>
    <span class="tile-value">${stats.good} of ${stats.count}</span>
    <span class="tile-more">${stats.bad ? `${stats.bad} are bad` : "none is bad"}</span></div>
  <div class="tile"><span class="tile-label">Every</span>
    <span class="tile-value">${stats.interval ? duration(stats.interval) : "by hand"}</span>
    <span class="tile-more">BACKUP_INTERVAL</span></div>
  <div class="tile"><span class="tile-label">Size</span><span class="tile-value">${size(stats.size)}</span>
    <span class="tile-more" title=${stats.directory}><bdi>${stats.directory}</bdi></span></div>
  <div class="tile ${stats.encrypted ? "good" : ""}"><span class="tile-label">Encrypted</span>
    <span class="tile-value">${stats.encrypted ? "yes" : "no"}</span>
    <span class="tile-more">${stats.destinations.length
      ? plural(stats.destinations.length, "other place") : "here alone"}</span></div></div>`;

/** What opens an encrypted one, where the settings do not say. @param {any} props */
const Keys = ({ passphrase, identity, set }) => html`<details><summary>It is encrypted with another key</summary>
  <div class="form"><${Field} label="Passphrase">${(/** @type {string} */ id) => html`<input id=${id}
    type="password" autocomplete="off" value=${passphrase} onInput=${(/** @type {any} */ event) =>
      set({ passphrase: event.target.value })} />`}<//>
  <${Field} label="age identity" help="AGE-SECRET-KEY-…; never stored">${(/** @type {string} */ id) =>
    html`<textarea id=${id} rows="2" spellcheck=${false} value=${identity}
      onInput=${(/** @type {any} */ event) => set({ identity: event.target.value })}></textarea>`}<//>
  </div></details>`;

/** @param {{backup: any, close: () => void, begun: () => void}} of */
function Restore({ backup, close, begun }) {
  const [typed, setTyped] = useState("");
  const [config, setConfig] = useState(false);
  const [keys, setKeys] = useState({ passphrase: "", identity: "" });
  const [wrong, setWrong] = useState("");
  const run = async () => {
    setWrong("");
    try {
      await post("/backups/restore", { name: backup.name, confirm: typed, config,
        passphrase: keys.passphrase || null, identity: keys.identity || null });
      close();
      begun();
    } catch (error) {
      if (!(error instanceof Problem)) {
        throw error;
      }
      setWrong([error.message, error.hint].filter(Boolean).join(" – "));
    }
  };
  return html`<${Dialog} title="Restore this backup" close=${close}><div class="body">
    <p>The service stops, its database is replaced by what it was
      <strong> <${When} at=${backup.created_at} /></strong>, and it starts again. What was added since then
      is gone from it; delivered files stay. The state of now is kept aside, and comes back by itself if the
      backup can't be put in place.</p>
    <label class="check"><input type="checkbox" checked=${config} onChange=${(/** @type {any} */ event) =>
      setConfig(event.target.checked)} /> Put back <code>.env</code> and <code>config.py</code> too</label>
    ${backup.encrypted && html`<${Keys} ...${keys} set=${(/** @type {any} */ some) =>
      setKeys({ ...keys, ...some })} />`}
    <${Field} label=${html`Type <code class="typed">${backup.name}</code> to go on`}>
      ${(/** @type {string} */ id) => html`<input id=${id} autocomplete="off" spellcheck=${false} autofocus
        value=${typed} onInput=${(/** @type {any} */ event) => setTyped(event.target.value)} />`}<//>
    <p class="wrong" role="alert">${wrong}</p></div>
    <footer><button type="button" class="button" onClick=${close}>Back</button>
      <${Act} class="danger" disabled=${typed !== backup.name} run=${run}>Restore<//></footer><//>`;
}

/** @param {{backup: any, again: () => void, restore: (backup: any) => void}} of */
function One({ backup, again, restore }) {
  const check = backup.verification;
  return html`<li class="backup"><div class="alert-title"><strong><${Name} text=${backup.name} /></strong>
      <${Badge} kind=${KINDS[backup.state]}>${backup.state}<//>
      ${backup.encrypted && html`<${Badge}>encrypted<//>`}</div>
    <p class="quiet">${[size(backup.size), backup.local ? "" : "not here", backup.database ?? "",
      backup.program ? `version ${backup.program}` : ""].filter(Boolean).join(" · ")} ·
      <${When} at=${backup.created_at} /></p>
    ${check && html`<p class="quiet">${check.ok ? "Verified" : "Found bad"} <${When} at=${check.at} />${
      check.ok ? `: ${plural(check.passed.length, "check")} passed` : ""}${
      check.error ? html` – <bdi class="why">${check.error}</bdi>` : ""}</p>`}
    ${backup.copies.length > 0 && html`<p class="quiet">${backup.copies.map((/** @type {any} */ copy) =>
      html`<span key=${copy.destination}><${Badge} kind=${copy.done ? "good" : "bad"}><bdi>${
        copy.destination}</bdi><//>${copy.error && html` <bdi class="why">${copy.error}</bdi>`} </span>`)}</p>`}
    <div class="tools"><${Act} icon="check" run=${async () => {
      const answer = await post(`/backups/${backup.name}/verify`, {});
      const over = answer.state !== "running";
      say({ kind: answer.state === "bad" ? "bad" : "good", text: !over ? "It is being verified"
        : answer.state === "good" ? "It can be restored" : "It is bad",
        hint: answer.verification?.error ?? undefined });
      again();
    }}>Verify<//>
    ${backup.local && html`<a class="button" href=${`/api/v3/backups/${backup.name}/download`}
      download=${backup.name}>Download</a>`}
    <button type="button" class="button" onClick=${() => restore(backup)}>Restore</button>
    <${Act} icon="trash" class="ghost" label=${`Remove ${backup.name}`} run=${async () => {
      if (await confirm({ title: "Remove this backup?", verb: "Remove it", text: html`<p>
        <bdi class="quoted">${backup.name}</bdi> is removed here and at the remotes. It can't be had back.</p>` })) {
        await attempt(() => call("DELETE", `/backups/${backup.name}`), "Removed");
        again();
      }
    }} /></div></li>`;
}

/** @type {Record<string, string>} */
const ENDS = { restored: "The backup was restored", rolled_back: "The backup could not be put in place; the state before it is back",
  failed: "The restore failed" };

/** Waits for a restore to end, through the restart. @param {string | null} before */
async function outcome(before) {
  for (let tries = 0; tries < 120; tries += 1) {
    await new Promise((resolve) => {
      setTimeout(resolve, ROUND * 1000);
    });
    try {
      const found = await get("/backups/restore");
      if (found.id !== null && found.id !== before && found.state !== "none") {
        return found;
      }
    } catch (error) {
      if (!(error instanceof Problem)) {
        throw error;
      }
      if (error.status === 401) {
        return null;
      }
    }
  }
  return null;
}

export function Backups() {
  const list = useData((signal) => get("/backups/list", {}, signal));
  const stats = useData((signal) => get("/backups/stats", {}, signal));
  const last = useData((signal) => get("/backups/restore", {}, signal));
  const [restoring, setRestoring] = useState(/** @type {any} */ (null));
  const [under, setUnder] = useState("");
  const again = () => Promise.all([list.again(), stats.again()]);
  const running = stats.data?.running;
  useEvery(again, running ? ROUND : 30);
  const lost = connection.value.state === "lost";
  useEffect(() => {
    if (!lost) {
      again();
    }
  }, [lost]);
  const create = async () => {
    const answer = await post("/backups/create", { wait: 0 });
    say({ kind: "good", text: answer.state === "running" ? "The backup is being made" : "The backup is made" });
    await again();
  };
  const begun = async (/** @type {string} */ name) => {
    setUnder(name);
    const end = await outcome(last.data?.id ?? null);
    setUnder("");
    if (end) {
      say({ kind: end.state === "restored" ? "good" : "bad", text: ENDS[end.state] ?? end.state,
        hint: end.message ?? undefined }, 20);
    }
    last.again();
    again();
  };
  const failed = stats.data?.last_failure;
  return html`<${Area} title="Backups" tools=${html`<${Act} class="primary" icon="add" disabled=${Boolean(running)}
      run=${create}>Make a backup<//>`}>
    ${under && html`<p class="stale" role="status">The service restores <bdi>${under}</bdi> and starts again. This
      page comes back by itself.</p>`}
    <${Loaded} of=${stats}>${(/** @type {any} */ data) => html`<${Summary} stats=${data} />
      ${data.running && html`<${Job} running=${data.running} />`}`}<//>
    ${failed && html`<p class="stale"><${When} at=${failed.at} />: ${failed.job} of <bdi>${failed.name}</bdi>
      failed: <bdi>${failed.message}</bdi></p>`}
    ${last.data && last.data.state !== "none" && html`<p class="quiet lead">${ENDS[last.data.state]}:
      <bdi>${last.data.name}</bdi>, <${When} at=${last.data.at} />${last.data.kept
        ? html`; the state before it lies in <bdi>${last.data.kept}</bdi>` : ""}</p>`}
    <${Card} title="All backups"><${Loaded} of=${list}>${(/** @type {any} */ page) => (page.items.length === 0
      ? html`<${Empty} icon="backups" title="There is no backup yet.">
          <p>Make one now; set <code>BACKUP_INTERVAL</code> and they are made by themselves.</p><//>`
      : html`<ul class="plain list">${page.items.map((/** @type {any} */ backup) => html`<${One}
          key=${backup.name} backup=${backup} again=${again} restore=${setRestoring} />`)}</ul>`)}<//><//>
    ${restoring && html`<${Restore} backup=${restoring} close=${() => setRestoring(null)}
      begun=${() => begun(restoring.name)} />`}<//>`;
}
