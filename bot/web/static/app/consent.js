// What a plugin may do, in words, before it is granted.
import { html, useState } from "./lib.js";
import { Act, Dialog } from "./ui.js";

/** @param {string} right Such as `net example.org:443`. */
export function rightWords(right) {
  const [kind, ...rest] = right.split(" ");
  const what = rest.join(" ");
  if (kind === "net") {
    return what ? html`It may talk to <bdi class="strong">${what}</bdi>`
      : "It may talk to hosts on the network";
  }
  if (kind === "decide") {
    return "It may answer where the service asks: refuse or change what is done";
  }
  if (kind === "link") {
    return "It may talk to the host of a link that it is asked about, for as long as it is asked";
  }
  return html`It may use <bdi class="strong">${right}</bdi>`;
}

/** @param {{plugin: any, close: () => void, agree: (more: object) => unknown}} of */
export function Consent({ plugin, close, agree }) {
  const [repin, setRepin] = useState(false);
  const added = plugin.rights.filter((/** @type {string} */ right) => !plugin.granted.includes(right));
  return html`<${Dialog} title=${`What ${plugin.id} asks for`} close=${close}>
    <div class="body">
      ${added.length > 0
        ? html`<p>Once you agree,</p><ul class="rights">${added.map((/** @type {string} */ right) =>
            html`<li key=${right}>${rightWords(right)} <code class="quiet">${right}</code></li>`)}</ul>`
        : html`<p>It asks for no right that it does not have.</p>`}
      ${plugin.granted.length > 0 && html`<details><summary>What it has already</summary>
        <ul class="rights">${plugin.granted.map((/** @type {string} */ right) =>
          html`<li key=${right}>${rightWords(right)}</li>`)}</ul></details>`}
      <p class="quiet">Nothing else of the network, of the files and of the service is within its
        reach. A newer version that asks for more waits until you agree again.</p>
      ${plugin.state === "refused" && html`<p class="why"><bdi>${plugin.reason}</bdi></p>
        <label class="check"><input type="checkbox" checked=${repin} onChange=${
          (/** @type {any} */ event) => setRepin(event.target.checked)} />
        Take its publisher and its version as they are now</label>`}
    </div>
    <footer><button type="button" class="button" onClick=${close}>Back</button>
      <${Act} class="primary" run=${() => agree({ grant: added.length > 0, repin })}>${
        added.length > 0 ? "Grant and enable" : "Enable"}<//></footer><//>`;
}
