// What is set and where it comes from; who may come in; what this browser likes.
import { attempt, call, get, post } from "./api.js";
import { html, useState } from "./lib.js";
import { interval, pace, setPace } from "./live.js";
import { dress, may, session, theme } from "./state.js";
import { version } from "./store.js";
import { Audit, Users } from "./users.js";
import { Act, Area, Badge, Card, Choice, confirm, Dialog, Empty, Field, Loaded, useData, When } from "./ui.js";

const LIFETIMES = [["", "for good"], ["86400", "a day"], ["2592000", "30 days"], ["31536000", "a year"]];

const Browser = () => html`<${Card} title="This browser"><div class="inline rows">
  <div class="field"><span class="quiet">Colours</span><${Choice} label="Colours" value=${theme.value}
    choose=${dress} choices=${[["system", "As the system"], ["light", "Light"], ["dark", "Dark"]]} /></div>
  <div class="field"><span class="quiet">Live figures</span><${Choice} label="Live figures"
    value=${String(pace.value)} choose=${(/** @type {string} */ value) => setPace(Number(value))}
    choices=${[["0", "As the service says"], ["1", "1 s"], ["5", "5 s"], ["15", "15 s"]]} /></div></div>
  <p class="quiet spaced">Now every ${interval.value} s. Times are in the zone of this browser:
    ${Intl.DateTimeFormat().resolvedOptions().timeZone}.</p><//>`;

function Effective() {
  const found = useData((signal) => get("/system/settings", {}, signal));
  const [text, setText] = useState("");
  const [all, setAll] = useState("set");
  return html`<${Card} title="Settings" tools=${html`<${Choice} label="Which" value=${all} choose=${setAll}
      choices=${[["set", "Set"], ["all", "All"]]} /><label class="search plain"><span class="hidden">Search in
      the settings</span><input type="search" placeholder="Search" value=${text}
      onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></label>`}>
    <${Loaded} of=${found}>${(/** @type {any} */ data) => {
      const wanted = text.toLowerCase();
      const items = data.items.filter((/** @type {any} */ each) => (wanted || all === "all"
        || each.origin !== "default") && `${each.name} ${each.help}`.toLowerCase().includes(wanted));
      return items.length === 0 ? html`<${Empty} icon="settings" title=${wanted ? "No setting has that."
          : "Everything is as it comes."}><p>Settings are read from the environment, <code>.env</code> and
          <code>config.py</code> at the start.</p><//>`
        : html`<div class="wide-table" tabindex="0" role="region" aria-label="Settings"><table><thead><tr>
          <th scope="col">Name</th><th scope="col">Value</th><th scope="col">From</th></tr></thead><tbody>${
          items.map((/** @type {any} */ each) => html`<tr key=${each.name}><th scope="row"><code>${each.name}</code>
            <p class="help">${each.help}</p></th><td><code><bdi>${each.value || "–"}</bdi></code></td>
            <td><${Badge} kind=${each.origin === "default" ? "plain" : "busy"}>${each.origin}<//></td></tr>`)}
          </tbody></table></div>`;
    }}<//><//>`;
}

/** @param {{secret: string, close: () => void}} of */
const Secret = ({ secret, close }) => html`<${Dialog} title="The new token" close=${close} class="small">
  <div class="body"><p>It is shown this once. Keep it where you keep passwords.</p>
    <p><code class="typed">${secret}</code></p></div>
  <footer><${Act} run=${async () => {
    await navigator.clipboard?.writeText(secret);
  }}>Copy<//><button type="button" class="button primary" onClick=${close}>Done</button></footer><//>`;

/** @param {{close: () => void, made: (secret: string) => void}} of */
function NewToken({ close, made }) {
  const [name, setName] = useState("");
  const [user, setUser] = useState(session.value?.user ?? "admin");
  const [scope, setScope] = useState("operate");
  const [lifetime, setLifetime] = useState("");
  return html`<${Dialog} title="Make a token" close=${close} class="small"><form onSubmit=${
    async (/** @type {Event} */ event) => {
      event.preventDefault();
      await attempt(async () => {
        const answer = await post("/tokens", { name, user, scope, lifetime: lifetime ? Number(lifetime) : null });
        close();
        made(answer.secret);
      });
    }}><div class="body"><${Field} label="What for">${(/** @type {string} */ id) => html`<input id=${id} required
      autofocus maxlength="100" value=${name} onInput=${(/** @type {any} */ event) =>
        setName(event.target.value)} />`}<//>
    <${Field} label="User">${(/** @type {string} */ id) => html`<input id=${id} required maxlength="100"
      value=${user} onInput=${(/** @type {any} */ event) => setUser(event.target.value)} />`}<//>
    <${Field} label="It may">${(/** @type {string} */ id) => html`<select id=${id} value=${scope}
      onChange=${(/** @type {any} */ event) => setScope(event.target.value)}><option value="view">look</option>
      <option value="operate">add and change tasks</option><option value="admin">do everything</option></select>`}<//>
    <${Field} label="It lasts">${(/** @type {string} */ id) => html`<select id=${id} value=${lifetime}
      onChange=${(/** @type {any} */ event) => setLifetime(event.target.value)}>${LIFETIMES.map(([value, text]) =>
        html`<option key=${value} value=${value}>${text}</option>`)}</select>`}<//></div>
    <footer><button type="button" class="button" onClick=${close}>Back</button>
      <button class="button primary">Make it</button></footer></form><//>`;
}

function Tokens() {
  const found = useData((signal) => get("/tokens", {}, signal));
  const [asking, setAsking] = useState(false);
  const [secret, setSecret] = useState("");
  return html`<${Card} title="Tokens" tools=${html`<button type="button" class="button"
      onClick=${() => setAsking(true)}>Make a token</button>`}>
    <${Loaded} of=${found}>${(/** @type {any} */ page) => html`<ul class="plain">${page.items.map(
      (/** @type {any} */ token) => html`<li class="note" key=${token.id}><span><strong><bdi>${token.name}</bdi></strong>
        <${Badge} kind=${token.scope === "admin" ? "medium" : "plain"}>${token.scope}<//>
        <span class="sub"><bdi>${token.user}</bdi> · made <${When} at=${token.created_at} />${token.last_used_at
          ? html` · used <${When} at=${token.last_used_at} />` : " · never used"}${token.expires_at
          ? html` · ends <${When} at=${token.expires_at} />` : ""}</span></span>
        <${Act} label=${`End the token ${token.name}`} run=${async () => {
          if (await confirm({ title: "End this token?", verb: "End it", text: html`<p>Whatever uses
            <bdi class="quoted">${token.name}</bdi> is refused from now on, sessions that began with it too.</p>` })) {
            await attempt(() => call("DELETE", `/tokens/${token.id}`), "It ended");
            found.again();
          }
        }}>End<//></li>`)}</ul>${page.items.length === 0 && html`<p class="quiet">There is none.</p>`}`}<//>
    ${asking && html`<${NewToken} close=${() => setAsking(false)} made=${(/** @type {string} */ text) => {
      setSecret(text);
      found.again();
    }} />`}
    ${secret && html`<${Secret} secret=${secret} close=${() => setSecret("")} />`}<//>`;
}

export const Settings = () => html`<${Area} title="Settings"><${Browser} />
  ${may("admin") && html`<${Effective} /><div class="two"><${Users} /><${Tokens} /></div><${Audit} />`}
  <${Card} title="For programs"><ul class="plain links"><li><a href="/graphql">GraphiQL</a>
    <span class="quiet"> asks over GraphQL with this login</span></li>
    <li><a href="/docs">REST</a><span class="quiet"> every call, with examples</span></li>
    <li><a href="/api/v3/openapi.json">OpenAPI</a><span class="quiet"> the same for programs</span></li></ul>
    <p class="quiet spaced">mltb ${version.value}</p><//><//>`;
