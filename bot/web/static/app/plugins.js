// Plugins: how they are, what they may do, and what can be done with them.
import { attempt, get, post, Problem } from "./api.js";
import { count, duration, size, title } from "./format.js";
import { html, useEffect, useState } from "./lib.js";
import { Icon } from "./icons.js";
import { link, may, say } from "./state.js";
import { pluginsNow } from "./store.js";
import { Consent, rightWords } from "./consent.js";
import { SchemaForm } from "./schemaform.js";
import { Act, Area, Badge, Card, confirm, Empty, Field, Loaded, Name, useData, useEvery }
  from "./ui.js";

/** @type {Record<string, string>} */
const KINDS = { running: "good", failed: "bad", refused: "bad", loading: "busy", waiting: "medium" };
/** @type {Record<string, string>} */
const SIGNATURES = {
  signed: "Signed by a key that you trust",
  untrusted: "Signed by a key that nobody trusts yet",
  unsigned: "Not signed",
  truncated: "A part of it is not signed",
  tampered: "It is not what was signed",
};

/** @param {any} plugin @returns {string[]} */
const lacking = (plugin) => plugin.rights.filter(
  (/** @type {string} */ right) => !plugin.granted.includes(right));

/** @param {string} name @param {() => void} again */
function verbs(name, again) {
  const run = (/** @type {string} */ verb, /** @type {object} */ more = {}) =>
    post(`/plugins/${verb}`, { plugin_name: name, ...more });
  return {
    enable: (/** @type {object} */ more) => attempt(() => run("enable", more), `${name} is enabled`)
      .then(again),
    reload: () => attempt(() => run("reload"), `${name} runs what lies there now`).then(again),
    disable: async () => {
      if (await attempt(() => run("disable"))) {
        say({ kind: "good", text: `${name} is disabled`, action: { label: "Enable",
          run: () => attempt(() => run("enable")).then(again) } });
      }
      again();
    },
  };
}

/** @param {{plugin: any, again: () => void}} of */
function Verbs({ plugin, again }) {
  const [asking, setAsking] = useState(false);
  const does = verbs(plugin.id, again);
  const on = plugin.state !== "disabled" && plugin.state !== "refused" && plugin.state !== "failed";
  if (!may("admin")) {
    return null;
  }
  return html`${on ? html`<${Act} run=${does.reload} icon="retry">Reload<//>
      <${Act} run=${does.disable}>Disable<//>`
    : html`<${Act} class="primary" run=${async () => (lacking(plugin).length
        || plugin.state === "refused" ? setAsking(true) : does.enable({}))}>Enable<//>`}
    ${asking && html`<${Consent} plugin=${plugin} close=${() => setAsking(false)}
      agree=${async (/** @type {object} */ more) => {
        setAsking(false);
        await does.enable(more);
      }} />`}`;
}

/** @param {{plugin: any, again: () => void}} of */
const Line = ({ plugin, again }) => html`<li class="card plugin">
  <div class="plugin-head"><a href=${link("plugins", plugin.id)}><${Name} text=${plugin.id} /></a>
    <${Badge} kind=${KINDS[plugin.state]}>${plugin.state}<//>
    <span class="quiet">${plugin.version} · ${plugin.type}</span></div>
  <p class="quiet"><bdi>${plugin.description}</bdi></p>
  ${plugin.reason && html`<p class="why"><bdi>${plugin.reason}</bdi></p>`}
  ${plugin.reload_error && html`<p class="why">The newer version does not run:
    <bdi>${plugin.reload_error}</bdi></p>`}
  <p class="quiet">${count(plugin.calls)} calls · ${count(plugin.failures)} failed · ${
    count(plugin.crashes)} crashes${plugin.memory ? ` · ${size(plugin.memory)}` : ""}${
    plugin.tier ? ` · confined by ${plugin.tier}` : ""}</p>
  <div class="tools"><${Verbs} plugin=${plugin} again=${again} />
    <a class="button" href=${link("plugins", plugin.id)}>Details</a></div></li>`;

function Keys() {
  const found = useData((signal) => get("/plugins/keys", {}, signal));
  const [key, setKey] = useState("");
  const [name, setName] = useState("");
  return html`<${Card} title="Trusted keys"><${Loaded} of=${found}>${(/** @type {any} */ page) =>
    (page.items.length === 0 ? html`<p class="quiet">No key is trusted. A plugin that a trusted key
      signed may be held to its publisher.</p>`
      : html`<ul class="plain">${page.items.map((/** @type {any} */ each) => html`<li class="note"
        key=${each.key}><span><${Name} text=${each.name || "(no name)"} />
        <code class="hash">${each.key}</code></span>${each.revoked
          ? html`<${Badge} kind="bad">revoked<//>`
          : html`<${Act} run=${async () => {
            if (await confirm({ title: "Revoke this key?", verb: "Revoke",
              text: html`<p>Every plugin that it signed ends at once and does not run again.</p>` })) {
              await attempt(() => post("/plugins/keys/revoke", { key: each.key }), "Revoked");
              found.again();
            }
          }}>Revoke<//>`}</li>`)}</ul>`)}<//>
    <form class="inline" onSubmit=${async (/** @type {Event} */ event) => {
      event.preventDefault();
      if (await attempt(() => post("/plugins/keys/trust", { key: key.trim(), name }), "Trusted")) {
        setKey("");
        setName("");
        found.again();
      }
    }}><${Field} label="Key">${(/** @type {string} */ id) => html`<input id=${id} required value=${key}
        spellcheck=${false} placeholder="ed25519:…" pattern="ed25519:[A-Za-z0-9_\\-]{43}"
        onInput=${(/** @type {any} */ event) => setKey(event.target.value)} />`}<//>
      <${Field} label="Whose it is">${(/** @type {string} */ id) => html`<input id=${id} value=${name}
        maxlength="100" onInput=${(/** @type {any} */ event) => setName(event.target.value)} />`}<//>
      <button class="button">Trust</button></form><//>`;
}

function All() {
  const found = useData((signal) => get("/plugins/list", {}, signal));
  useEffect(() => {
    found.again();
  }, [pluginsNow.value]);
  useEvery(found.again, 15);
  return html`<${Area} title="Plugins"><${Loaded} of=${found}>${(/** @type {any} */ page) => (
    page.items.length === 0
      ? html`<${Card}><${Empty} icon="plugins" title="No plugin lies in PLUGINS_DIR.">
          <p>Copy one there, or begin one with <code>mltb plugin new</code>; it is shown here at
          once.</p><//><//>`
      : html`<ul class="plain plugins">${page.items.map((/** @type {any} */ plugin) =>
          html`<${Line} key=${plugin.id} plugin=${plugin} again=${found.again} />`)}</ul>`)}<//>
    ${may("admin") && html`<${Keys} />`}<//>`;
}

/** @param {{name: string}} of */
function Run({ name }) {
  const [data, setData] = useState("{}");
  const [result, setResult] = useState(/** @type {{text: string, bad: boolean} | null} */ (null));
  const run = async () => {
    let parsed;
    try {
      parsed = JSON.parse(data || "{}");
    } catch (error) {
      setResult({ text: `That is no JSON: ${/** @type {Error} */ (error).message}`, bad: true });
      return;
    }
    try {
      const answer = await post("/plugins/execute", { plugin_name: name, data: parsed });
      setResult({ text: JSON.stringify(answer.result, null, 2), bad: false });
    } catch (error) {
      if (!(error instanceof Problem)) {
        throw error;
      }
      setResult({ text: [error.message, error.hint].filter(Boolean).join("\n"), bad: true });
    }
  };
  return html`<${Card} title="Run it"><${Field} label="Arguments, as a JSON object">
    ${(/** @type {string} */ id) => html`<textarea id=${id} rows="4" spellcheck=${false} value=${data}
      onInput=${(/** @type {any} */ event) => setData(event.target.value)}></textarea>`}<//>
    <p class="spaced"><${Act} class="primary" icon="play" run=${run}>Run<//></p>
    <div aria-live="polite">${result && html`<pre class="result ${result.bad ? "why" : ""}"
      tabindex="0">${result.text}</pre>`}</div><//>`;
}

/** @param {{name: string}} of */
function Config({ name }) {
  const found = useData((signal) => get(`/plugins/${name}/config`, {}, signal), [name]);
  return html`<${Card} title="Configuration"><${Loaded} of=${found}>${(/** @type {any} */ config) => (
    Object.keys(config.schema.properties ?? {}).length === 0
      ? html`<p class="quiet">It has nothing to configure.</p>`
      : html`<${SchemaForm} schema=${config.schema} value=${config.config}
          save=${async (/** @type {any} */ value) => {
            await attempt(() => post("/plugins/config", { plugin_name: name, config: value }),
              "Configured");
            found.again();
          }} />`)}<//><//>`;
}

/** @param {{name: string}} of */
function Lines({ name }) {
  const found = useData((signal) => get(`/plugins/${name}/logs`, {}, signal), [name]);
  useEvery(found.again, 5);
  return html`<${Card} title="What it wrote"><${Loaded} of=${found}>${(/** @type {any} */ page) => (
    page.items.length === 0 ? html`<p class="quiet">It has written nothing.</p>`
      : html`<div class="log" role="log" tabindex="0" aria-label="Lines of the plugin">${
        page.items.map((/** @type {string} */ line, /** @type {number} */ index) =>
          html`<p class="line one" key=${index}><bdi>${line}</bdi></p>`)}</div>`)}<//><//>`;
}

/** @param {{plugin: any, again: () => void}} of */
const Details = ({ plugin, again }) => html`<${Area} title=${plugin.id}
  tools=${html`<${Verbs} plugin=${plugin} again=${again} />`}>
  ${plugin.reason && html`<section class="card failure"><h2><${Icon} name="warn" /> It does not run</h2>
    <p class="reason"><bdi>${plugin.reason}</bdi></p></section>`}
  <div class="two"><${Card} title="What it is"><dl class="facts">
    <dt>State</dt><dd><${Badge} kind=${KINDS[plugin.state]}>${plugin.state}<//></dd>
    <dt>Kind</dt><dd>${plugin.type}</dd><dt>Version</dt><dd><bdi>${plugin.version}</bdi></dd>
    <dt>Author</dt><dd><bdi>${plugin.author || "–"}</bdi></dd>
    <dt>About</dt><dd><bdi>${plugin.description || "–"}</bdi></dd>
    <dt>Signature</dt><dd>${plugin.signature ? SIGNATURES[plugin.signature] ?? title(plugin.signature)
      : "Not looked at"}</dd>
    ${plugin.publisher && html`<dt>Publisher</dt><dd><code>${plugin.publisher}</code></dd>`}
    <dt>Confined by</dt><dd>${plugin.tier ?? "– (it does not run)"}</dd>
    <dt>Takes part in</dt><dd>${plugin.hooks.join(", ") || "–"}</dd></dl><//>
  <${Card} title="How it does"><dl class="facts">
    <dt>Calls</dt><dd>${count(plugin.calls)}, ${count(plugin.failures)} failed, ${
      count(plugin.timeouts)} too slow</dd>
    <dt>Time in calls</dt><dd>${duration(plugin.seconds)}</dd>
    <dt>Crashes</dt><dd>${count(plugin.crashes)}, ended by force ${count(plugin.kills)}</dd>
    <dt>Memory</dt><dd>${size(plugin.memory)}</dd><dt>CPU time</dt><dd>${duration(plugin.cpu_seconds)}</dd>
    <dt>Disk</dt><dd>${size(plugin.disk)}</dd><dt>Open files</dt><dd>${count(plugin.open_files)}</dd></dl><//></div>
  <${Card} title="What it may do">${plugin.rights.length === 0
    ? html`<p class="quiet">Nothing beyond its own directory: it asks for no right.</p>`
    : html`<ul class="rights">${plugin.rights.map((/** @type {string} */ right) => html`<li key=${right}>
        <${Badge} kind=${plugin.granted.includes(right) ? "good" : "medium"}>${
          plugin.granted.includes(right) ? "granted" : "not granted"}<//> ${rightWords(right)}
        <code class="quiet">${right}</code></li>`)}</ul>`}<//>
  ${may("admin") && html`<div class="two"><${Config} name=${plugin.id} /><${Run} name=${plugin.id} /></div>
    <${Lines} name=${plugin.id} />`}<//>`;

/** @param {{name: string}} of */
function One({ name }) {
  const found = useData((signal) => get(`/plugins/${encodeURIComponent(name)}`, {}, signal), [name]);
  useEvery(found.again, 5);
  return html`<a class="back" href=${link("plugins")}><${Icon} name="back" /> All plugins</a>
    <${Loaded} of=${found}>${(/** @type {any} */ plugin) =>
      html`<${Details} plugin=${plugin} again=${found.again} />`}<//>`;
}

/** @param {{id: string}} of */
export const Plugins = ({ id }) => (id ? html`<${One} name=${id} key=${id} />` : html`<${All} />`);
