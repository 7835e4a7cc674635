// Alerts: what fires and what fired, silences, rules, channels.
import { attempt, get, post, call } from "./api.js";
import { count, duration, plural, words } from "./format.js";
import { html, useEffect, useState } from "./lib.js";
import { may, say } from "./state.js";
import { alertsNow } from "./store.js";
import { Channels, Rules } from "./alertrules.js";
import { Act, Area, Badge, Card, Choice, Dialog, Empty, Field, Loaded, useData, useEvery, When }
  from "./ui.js";

const SPANS = [["3600", "1 hour"], ["14400", "4 hours"], ["86400", "1 day"], ["604800", "1 week"]];
/** @type {[string, string, string[]][]} */
const STATES = [["open", "Open", ["firing", "acknowledged", "silenced", "pending"]],
  ["firing", "Firing", ["firing"]], ["resolved", "Over", ["resolved"]], ["all", "All", []]];
const SEVERITIES = ["critical", "high", "medium", "low"];

/** @param {{about: {rule?: string, severity?: string, labels?: Record<string, string>},
 *   close: () => void, done: () => void}} of */
function Silence({ about, close, done }) {
  const [seconds, setSeconds] = useState("14400");
  const [reason, setReason] = useState("");
  const [rule, setRule] = useState(about.rule ?? "");
  const [severity, setSeverity] = useState("");
  const [only, setOnly] = useState(true);
  const labels = Object.entries(about.labels ?? {});
  return html`<${Dialog} title="Silence alerts" close=${close}><form onSubmit=${
    async (/** @type {Event} */ event) => {
      event.preventDefault();
      const went = await attempt(() => post("/alerts/silences", {
        rule: rule || null, severity: severity || null, seconds: Number(seconds), reason,
        labels: only ? about.labels ?? {} : {},
      }), "Silenced");
      if (went) {
        close();
        done();
      }
    }}><div class="body">
      <p class="quiet">They are recorded all the same; nobody is told until it ends.</p>
      <div class="grid2"><${Field} label="Rule (empty: any)">${(/** @type {string} */ id) =>
        html`<input id=${id} value=${rule} maxlength="50"
          onInput=${(/** @type {any} */ event) => setRule(event.target.value)} />`}<//>
      <${Field} label="Severity">${(/** @type {string} */ id) => html`<select id=${id} value=${severity}
        onChange=${(/** @type {any} */ event) => setSeverity(event.target.value)}>
        <option value="">any</option>${SEVERITIES.map((each) =>
          html`<option key=${each} value=${each}>${each}</option>`)}</select>`}<//>
      <${Field} label="For">${(/** @type {string} */ id) => html`<select id=${id} value=${seconds}
        onChange=${(/** @type {any} */ event) => setSeconds(event.target.value)}>${SPANS.map(
          ([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}</select>`}<//></div>
      <${Field} label="Why">${(/** @type {string} */ id) => html`<input id=${id} required maxlength="1000"
        autofocus value=${reason} onInput=${(/** @type {any} */ event) =>
          setReason(event.target.value)} />`}<//>
      ${labels.length > 0 && html`<label class="check"><input type="checkbox" checked=${only}
        onChange=${(/** @type {any} */ event) => setOnly(event.target.checked)} /> Only about
        <bdi>${labels.map(([name, value]) => `${name}=${value}`).join(", ")}</bdi></label>`}
    </div><footer><button type="button" class="button" onClick=${close}>Back</button>
      <button class="button primary">Silence</button></footer></form><//>`;
}

/** @param {{alert: any, again: () => void, silence: (alert: any) => void}} of */
const One = ({ alert, again, silence }) => html`<li class="alert ${alert.severity} ${alert.state}">
  <span class="when"><${When} at=${alert.started_at} /></span>
  <div class="alert-body"><div class="alert-title"><${Badge} kind=${alert.severity}>${alert.severity}<//>
      <strong><bdi>${alert.title}</bdi></strong>
      <${Badge} kind=${alert.state === "resolved" ? "good" : "plain"}>${words(alert.state)}<//></div>
    <p><bdi>${alert.message}</bdi></p>
    <p class="quiet">${[alert.rule, alert.count > 1 ? `noticed ${count(alert.count)} times` : "",
      ...Object.entries(alert.labels).map(([name, value]) => `${name}=${value}`),
      alert.resolved_at ? `lasted ${duration((Date.parse(alert.resolved_at)
        - Date.parse(alert.started_at)) / 1000)}` : "",
      alert.acknowledged_by ? `${alert.acknowledged_by} looks after it` : "",
      alert.note ?? ""].filter(Boolean).map((text, index) =>
        html`<bdi key=${index}>${index > 0 && " · "}${text}</bdi>`)}</p>
    ${may("operate") && alert.state !== "resolved" && html`<div class="tools">
      ${(alert.state === "firing" || alert.state === "silenced") && html`<${Act} run=${async () => {
        await post(`/alerts/${alert.id}/acknowledge`);
        say({ kind: "good", text: "You look after it" });
        again();
      }}>Acknowledge<//>`}
      <${Act} run=${async () => {
        await post(`/alerts/${alert.id}/resolve`);
        say({ kind: "good", text: "It is over" });
        again();
      }}>Resolve<//>
      <button type="button" class="button" onClick=${() => silence(alert)}>Silence</button></div>`}
  </div></li>`;

/** @param {{silence: (about: any) => void, tick: number}} of */
function Timeline({ silence, tick }) {
  const [show, setShow] = useState("open");
  const [severity, setSeverity] = useState("");
  const [rest, setRest] = useState(/** @type {any[]} */ ([]));
  const [cursor, setCursor] = useState(/** @type {string | null | undefined} */ (undefined));
  const query = { state: STATES.find(([name]) => name === show)?.[2] ?? [], severity };
  const found = useData((signal) => get("/alerts/recent", { ...query, limit: 50 }, signal),
    [show, severity, tick, alertsNow.value]);
  useEffect(() => {
    setRest([]);
    setCursor(undefined);
  }, [show, severity]);
  const next = cursor === undefined ? found.data?.cursor : cursor;
  return html`<${Card} title="Timeline" tools=${html`<${Choice} label="Which alerts" value=${show}
      choose=${setShow} choices=${STATES.map(([name, text]) => [name, text])} />
    <label><span class="hidden">Severity</span><select value=${severity} onChange=${
      (/** @type {any} */ event) => setSeverity(event.target.value)}><option value="">Any severity</option>
      ${SEVERITIES.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select></label>`}>
    <${Loaded} of=${found}>${(/** @type {any} */ page) => {
      const known = new Set(page.items.map((/** @type {any} */ each) => each.id));
      const all = [...page.items, ...rest.filter((each) => !known.has(each.id))];
      return all.length === 0
        ? html`<${Empty} title=${show === "open" ? "Nothing is wrong." : "There is none."}>
            ${show === "open" ? "Alerts of the rules below are shown here as they fire." : ""}<//>`
        : html`<ol class="plain alerts">${all.map((alert) => html`<${One} key=${alert.id} alert=${alert}
            again=${found.again} silence=${silence} />`)}</ol>
          ${next && html`<${Act} run=${async () => {
            const more = await get("/alerts/recent", { ...query, limit: 50, cursor: next });
            setRest([...rest, ...more.items]);
            setCursor(more.cursor);
          }}>Older ones<//>`}`;
    }}<//><//>`;
}

/** @param {{tick: number, again: () => void, silence: (about: any) => void}} of */
function Silences({ tick, again, silence }) {
  const found = useData((signal) => get("/alerts/silences", {}, signal), [tick]);
  useEvery(found.again, 30);
  return html`<${Card} title="Silences" tools=${may("operate") && html`<button type="button" class="button"
    onClick=${() => silence({})}>New silence</button>`}><${Loaded} of=${found}>${
    (/** @type {any} */ page) => (page.items.length === 0
      ? html`<p class="quiet">None: every alert is told to the channels.</p>`
      : html`<ul class="plain">${page.items.map((/** @type {any} */ each) => html`<li class="note"
          key=${each.id}><span><bdi>${each.reason}</bdi><span class="sub">${[each.rule ?? "any rule",
            each.severity ?? "any severity", `by ${each.by}`].join(" · ")}, until
            <${When} at=${each.until} /></span></span>${may("operate") && html`<${Act} run=${async () => {
            await attempt(() => call("DELETE", `/alerts/silences/${each.id}`), "It ended");
            found.again();
            again();
          }}>End it<//>`}</li>`)}</ul>`)}<//><//>`;
}

function Trigger(/** @type {{again: () => void}} */ { again }) {
  const [open, setOpen] = useState(false);
  const [title, setTitle] = useState("");
  const [message, setMessage] = useState("");
  const [severity, setSeverity] = useState("medium");
  return html`<button type="button" class="button" onClick=${() => setOpen(true)}>Raise one by hand</button>
    ${open && html`<${Dialog} title="Raise an alert" close=${() => setOpen(false)}><form onSubmit=${
      async (/** @type {Event} */ event) => {
        event.preventDefault();
        if (await attempt(() => post("/alerts/trigger", { title, message, severity }), "Raised")) {
          setOpen(false);
          setTitle("");
          again();
        }
      }}><div class="body"><${Field} label="Title">${(/** @type {string} */ id) => html`<input id=${id}
        required autofocus maxlength="200" value=${title} onInput=${(/** @type {any} */ event) =>
          setTitle(event.target.value)} />`}<//>
      <${Field} label="More about it">${(/** @type {string} */ id) => html`<textarea id=${id} maxlength="4000"
        value=${message} onInput=${(/** @type {any} */ event) => setMessage(event.target.value)}></textarea>`}<//>
      <${Field} label="Severity">${(/** @type {string} */ id) => html`<select id=${id} value=${severity}
        onChange=${(/** @type {any} */ event) => setSeverity(event.target.value)}>${SEVERITIES.map((each) =>
          html`<option key=${each} value=${each}>${each}</option>`)}</select>`}<//></div>
      <footer><button type="button" class="button" onClick=${() => setOpen(false)}>Back</button>
        <button class="button primary">Raise</button></footer></form><//>`}`;
}

export function Alerts() {
  const [about, setAbout] = useState(/** @type {any} */ (null));
  const [tick, turn] = useState(0);
  const again = () => turn((n) => n + 1);
  const now = alertsNow.value;
  return html`<${Area} title="Alerts" tools=${may("operate") && html`<${Trigger} again=${again} />`}>
    <p class="quiet lead" role="status">${now.firing === 0 ? "Nothing fires."
      : `${plural(now.firing, "alert")} ${now.firing === 1 ? "fires" : "fire"}.`}</p>
    <${Timeline} silence=${setAbout} tick=${tick} />
    <${Silences} tick=${tick} again=${again} silence=${setAbout} />
    ${may("admin") && html`<${Channels} />`}<${Rules} />
    ${about && html`<${Silence} about=${about} close=${() => setAbout(null)} done=${again} />`}<//>`;
}
