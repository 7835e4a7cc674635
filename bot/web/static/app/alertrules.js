// The rules that are in force, and the channels with what they were told.
import { attempt, get, post } from "./api.js";
import { count, duration } from "./format.js";
import { html } from "./lib.js";
import { Act, Badge, Card, Empty, Loaded, Name, useData, useEvery, When } from "./ui.js";

/** In words. @param {any} rule */
function meaning(rule) {
  if (rule.kind === "event") {
    return `when ${rule.event} happens${rule.keep ? `, for ${duration(rule.keep)}` : ""}`;
  }
  const hold = rule.hold ? ` for ${duration(rule.hold)}` : "";
  const clear = rule.clear === null ? "" : `; ends at ${count(rule.clear)}`;
  return `${rule.reading} ${rule.comparison} ${count(rule.threshold)}${hold}${clear}`;
}

export function Rules() {
  const found = useData((signal) => get("/alerts/rules", {}, signal));
  return html`<${Card} title="Rules"><${Loaded} of=${found}>${(/** @type {any} */ page) => (
    page.items.length === 0 ? html`<p class="quiet">No rule is in force.</p>`
      : html`<div class="wide-table" tabindex="0" role="region" aria-label="Rules"><table><thead><tr>
          <th scope="col">Rule</th><th scope="col">Severity</th><th scope="col">Fires</th></tr></thead>
        <tbody>${page.items.map((/** @type {any} */ rule) => html`<tr key=${rule.name}>
          <td><bdi>${rule.title}</bdi> <code class="quiet">${rule.name}</code></td>
          <td><${Badge} kind=${rule.severity}>${rule.severity}<//></td>
          <td><bdi>${meaning(rule)}</bdi></td></tr>`)}</tbody></table></div>`)}<//><//>`;
}

/** @param {{channel: any, again: () => void}} of */
const Channel = ({ channel, again }) => html`<li class="note">
  <span><strong><bdi>${channel.name}</bdi></strong> ${channel.failing > 0
    && html`<${Badge} kind="bad">failing<//>`}
    <${Name} class="quiet" text=${channel.url ?? "this machine"} />
    <span class="sub">${`${count(channel.delivered)} told · ${count(channel.pending)} waiting · ${
      count(channel.failed)} failed · from ${channel.min_severity} on`}${channel.last_sent
      && html` · last <${When} at=${channel.last_sent} />`}</span>
    ${channel.error && html`<span class="why"><bdi>${channel.error}</bdi></span>`}</span>
  <${Act} run=${async () => {
    await attempt(() => post(`/alerts/channels/${encodeURIComponent(channel.name)}/test`),
      `${channel.name} took the message`);
    again();
  }}>Test<//></li>`;

export function Channels() {
  const found = useData((signal) => get("/alerts/channels", {}, signal));
  const told = useData((signal) => get("/alerts/notifications", { limit: 20 }, signal));
  useEvery(() => {
    found.again();
    told.again();
  }, 20);
  return html`<${Card} title="Channels"><${Loaded} of=${found}>${(/** @type {any} */ page) => (
    page.items.length === 0
      ? html`<${Empty} icon="alerts" title="Nobody is told of alerts.">
          <p>Set <code>ALERT_CHANNELS</code> to a mail, chat or push address; a hundred kinds are
          known.</p><//>`
      : html`<ul class="plain">${page.items.map((/** @type {any} */ channel) => html`<${Channel}
          key=${channel.name} channel=${channel} again=${found.again} />`)}</ul>`)}<//>
    ${told.data?.items.length > 0 && html`<details><summary>What was told</summary><ul class="plain">${
      told.data.items.map((/** @type {any} */ each) => html`<li class="note" key=${each.id}><span>
        <bdi>${each.title}</bdi><span class="sub">${each.channel} · ${each.kind}${each.error
          ? html` · <bdi>${each.error}</bdi>` : ""}</span></span>
        <span><${Badge} kind=${each.state === "delivered" ? "good" : each.state === "failed" ? "bad"
          : "medium"}>${each.state}<//> <${When} at=${each.created_at} /></span></li>`)}</ul></details>`}<//>`;
}
