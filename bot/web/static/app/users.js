// Who may log in with a password, and the record of what everybody changed.
import { attempt, call, get, post } from "./api.js";
import { html, useState } from "./lib.js";
import { session } from "./state.js";
import { Act, Badge, Card, confirm, Dialog, Field, Loaded, useData, When } from "./ui.js";

const ROLES = [["viewer", "looks"], ["operator", "adds and changes tasks"], ["admin", "does everything"]];

/** A new user, or a new role or password for one. @param {{user: any, close: () => void, done: () => void}} of */
function Change({ user, close, done }) {
  const [name, setName] = useState(user?.name ?? "");
  const [role, setRole] = useState(user?.role ?? "operator");
  const [password, setPassword] = useState("");
  const save = () => (user?.role
    ? call("PATCH", `/users/${encodeURIComponent(name)}`, { role, ...(password && { password }) })
    : post("/users", { name, role, password }));
  return html`<${Dialog} title=${user?.role ? `Change ${user.name}` : "Add a user"} close=${close} class="small">
    <form onSubmit=${async (/** @type {Event} */ event) => {
      event.preventDefault();
      if (await attempt(save, "Saved")) {
        close();
        done();
      }
    }}><div class="body"><${Field} label="Name">${(/** @type {string} */ id) => html`<input id=${id} required
        readonly=${Boolean(user)} autofocus=${!user} autocomplete="off" maxlength="100" value=${name}
        onInput=${(/** @type {any} */ event) => setName(event.target.value)} />`}<//>
      <${Field} label="Role">${(/** @type {string} */ id) => html`<select id=${id} value=${role}
        onChange=${(/** @type {any} */ event) => setRole(event.target.value)}>${ROLES.map(([value, text]) =>
          html`<option key=${value} value=${value}>${value}: ${text}</option>`)}</select>`}<//>
      <${Field} label=${user?.role ? "New password (empty: as it is)" : "Password"} help=${user?.role
        ? "A new one ends their sessions." : undefined}>${(/** @type {string} */ id) => html`<input id=${id}
        type="password" autocomplete="new-password" required=${!user?.role} value=${password}
        onInput=${(/** @type {any} */ event) => setPassword(event.target.value)} />`}<//></div>
      <footer><button type="button" class="button" onClick=${close}>Back</button>
        <button class="button primary">Save</button></footer></form><//>`;
}

export function Users() {
  const found = useData((signal) => get("/users", {}, signal));
  const [asked, setAsked] = useState(/** @type {any} */ (undefined));
  return html`<${Card} title="Users" tools=${html`<button type="button" class="button"
      onClick=${() => setAsked(null)}>Add a user</button>`}>
    <${Loaded} of=${found}>${(/** @type {any} */ page) => html`<ul class="plain">${page.items.map(
      (/** @type {any} */ user) => html`<li class="note" key=${user.name}><span><strong><bdi>${user.name}</bdi></strong>
        <${Badge} kind=${user.role === "admin" ? "medium" : "plain"}>${user.role ?? "tokens only"}<//>
        <span class="sub">${user.tokens.length} tokens${user.created_at
          ? html` · since <${When} at=${user.created_at} />` : ""}</span></span>
        <span class="tools"><button type="button" class="button" onClick=${() => setAsked(user)}>${user.role
          ? "Change" : "Give a password"}</button>
        ${user.role && user.name !== session.value?.user && html`<${Act} icon="trash" class="ghost"
          label=${`Remove ${user.name}`} run=${async () => {
            if (await confirm({ title: "Remove this user?", verb: "Remove", text: html`<p><bdi class="quoted">${
              user.name}</bdi> is logged out and can't log in any more. Their tokens and tasks stay.</p>` })) {
              await attempt(() => call("DELETE", `/users/${encodeURIComponent(user.name)}`), "Removed");
              found.again();
            }
          }} />`}</span></li>`)}</ul>`}<//>
    ${asked !== undefined && html`<${Change} user=${asked} close=${() => setAsked(undefined)}
      done=${found.again} />`}<//>`;
}

export function Audit() {
  const [rest, setRest] = useState(/** @type {any[]} */ ([]));
  const [cursor, setCursor] = useState(/** @type {string | null | undefined} */ (undefined));
  const found = useData((signal) => get("/audit", { limit: 30 }, signal));
  const next = cursor === undefined ? found.data?.cursor : cursor;
  return html`<${Card} title="Who changed what"><${Loaded} of=${found}>${(/** @type {any} */ page) => html`<div
    class="wide-table" tabindex="0" role="region" aria-label="Who changed what"><table><thead><tr>
      <th scope="col">When</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">From</th>
      <th scope="col">Ended</th></tr></thead><tbody>${[...page.items, ...rest].map((/** @type {any} */ deed) =>
      html`<tr key=${deed.id}><td><${When} at=${deed.at} /></td><td><bdi>${deed.user ?? "–"}</bdi></td>
        <td><bdi>${deed.action}</bdi> <span class="quiet"><bdi>${deed.target ?? ""}</bdi></span></td>
        <td><bdi>${deed.address ?? "–"}</bdi></td><td>${deed.outcome}</td></tr>`)}</tbody></table></div>
    ${page.items.length === 0 && html`<p class="quiet">Nothing was changed yet.</p>`}
    ${next && html`<p class="spaced"><${Act} run=${async () => {
      const more = await get("/audit", { limit: 30, cursor: next });
      setRest([...rest, ...more.items]);
      setCursor(more.cursor);
    }}>Older ones<//></p>`}`}<//><//>`;
}
