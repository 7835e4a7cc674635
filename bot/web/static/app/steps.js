// The steps between fetching and delivering, with their parameters.
import { html } from "./lib.js";
import { pluginsNow } from "./store.js";
import { Icon } from "./icons.js";
import { Field } from "./ui.js";
import { BUILT_IN } from "./stepslist.js";

/** @typedef {{name: string, params: Record<string, any>, other?: boolean}} Step */

/** What was filled in, as the service takes it. @param {Step[]} steps */
export const stepsOf = (steps) => steps.filter((step) => step.name).map((step) => ({
  name: step.name,
  params: Object.fromEntries(Object.entries(step.params).filter(([, value]) => value !== ""
    && value !== false).map(([name, value]) => [name, split(step.name, name, value)])),
}));

/** @param {string} step @param {string} name @param {any} value */
function split(step, name, value) {
  const field = BUILT_IN[step]?.find((each) => each.name === name);
  if (field?.kind === "number") {
    return Number(value);
  }
  return field?.kind === "list" ? String(value).split(",").map((each) => each.trim()).filter(Boolean)
    : value;
}

/** @param {{field: import("./stepslist.js").ParamOf, value: any, set: (value: any) => void}} of */
const Param = ({ field, value, set }) => (field.kind === "flag"
  ? html`<label class="check"><input type="checkbox" checked=${value === true}
      onChange=${(/** @type {any} */ event) => set(event.target.checked)} /> ${field.label}</label>`
  : html`<${Field} label=${field.label}>${(/** @type {string} */ id) => (field.choices
    ? html`<select id=${id} value=${value ?? ""} onChange=${(/** @type {any} */ event) =>
        set(event.target.value)}><option value="">–</option>${field.choices.map((choice) =>
        html`<option key=${choice} value=${choice}>${choice}</option>`)}</select>`
    : html`<input id=${id} type=${field.kind === "number" ? "number"
        : field.kind === "secret" ? "password" : "text"} min=${field.least} max=${field.most}
        autocomplete="off" required=${field.needed} placeholder=${field.example} value=${value ?? ""}
        onInput=${(/** @type {any} */ event) => set(event.target.value)} />`)}<//>`);

/** @param {{steps: Step[], set: (steps: Step[]) => void}} of */
export function Steps({ steps, set }) {
  const plugged = pluginsNow.value.filter((plugin) => plugin.kind === "task"
    || plugin.type === "task").map((plugin) => plugin.name ?? plugin.id);
  const names = [...Object.keys(BUILT_IN), ...plugged];
  const change = (/** @type {number} */ index, /** @type {Step | null} */ step) =>
    set(steps.flatMap((each, at) => (at !== index ? [each] : step ? [step] : [])));
  return html`<fieldset class="steps"><legend>Steps before it is delivered</legend>
    ${steps.map((step, index) => html`<div class="step" key=${index}><div class="step-head">
      <strong>${index + 1}. ${step.name}</strong>
      <button type="button" class="button ghost" aria-label=${`Leave out the step ${step.name}`}
        onClick=${() => change(index, null)}><${Icon} name="close" /></button></div>
      <div class="grid2">${(BUILT_IN[step.name] ?? []).map((field) => html`<${Param} key=${field.name}
        field=${field} value=${step.params[field.name]} set=${(/** @type {any} */ value) =>
          change(index, { ...step, params: { ...step.params, [field.name]: value } })} />`)}</div>
      </div>`)}
    <select aria-label="Add a step" value="" onChange=${(/** @type {any} */ event) => {
      if (event.target.value) {
        set([...steps, { name: event.target.value, params: {} }]);
        event.target.value = "";
      }
    }}><option value="">Add a step …</option>${names.map((name) =>
      html`<option key=${name} value=${name}>${name}</option>`)}</select></fieldset>`;
}
