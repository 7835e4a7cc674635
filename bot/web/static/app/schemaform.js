// A form made from a JSON Schema; what it can't show as fields is edited as JSON.
import { html, useEffect, useState } from "./lib.js";
import { title } from "./format.js";
import { Act, Field } from "./ui.js";

/** @param {any} schema */
const typeOf = (schema) => (Array.isArray(schema.type)
  ? schema.type.find((/** @type {string} */ each) => each !== "null") : schema.type);

/** @param {any} schema */
const isSecret = (schema) => schema.writeOnly === true || schema.format === "password"
  || schema.secret === true || schema["x-secret"] === true;

/** @param {{id: string, schema: any, value: any, set: (value: any) => void}} of */
function Json({ id, schema, value, set }) {
  const [text, setText] = useState(() => JSON.stringify(value ?? schema.default ?? null, null, 1));
  const [wrong, setWrong] = useState("");
  return html`<textarea id=${id} rows="3" spellcheck=${false} value=${text}
      aria-invalid=${wrong ? "true" : undefined} onInput=${(/** @type {any} */ event) => {
        setText(event.target.value);
        try {
          set(JSON.parse(event.target.value));
          setWrong("");
        } catch (error) {
          setWrong(/** @type {Error} */ (error).message);
        }
      }}></textarea><p class="wrong">${wrong}</p>`;
}

/** @param {{id: string, schema: any, value: any, set: (value: any) => void, needed: boolean}} of */
function Control({ id, schema, value, set, needed }) {
  const type = typeOf(schema);
  if (schema.enum) {
    return html`<select id=${id} value=${JSON.stringify(value)} required=${needed}
      onChange=${(/** @type {any} */ event) => set(JSON.parse(event.target.value))}>
      ${schema.enum.map((/** @type {any} */ each) => html`<option key=${String(each)}
        value=${JSON.stringify(each)}>${String(each)}</option>`)}</select>`;
  }
  if (type === "string") {
    return html`<input id=${id} type=${isSecret(schema) ? "password" : "text"} value=${value ?? ""}
      required=${needed} minlength=${schema.minLength} maxlength=${schema.maxLength}
      autocomplete="off" spellcheck=${false} placeholder=${schema.examples?.[0]}
      onInput=${(/** @type {any} */ event) => set(event.target.value)} />`;
  }
  if (type === "integer" || type === "number") {
    return html`<input id=${id} type="number" step=${type === "integer" ? 1 : "any"} value=${value ?? ""}
      required=${needed} min=${schema.minimum ?? schema.exclusiveMinimum}
      max=${schema.maximum ?? schema.exclusiveMaximum}
      onInput=${(/** @type {any} */ event) => set(event.target.value === "" ? undefined
        : Number(event.target.value))} />`;
  }
  if (type === "array" && typeOf(schema.items ?? {}) === "string") {
    return html`<textarea id=${id} rows="3" spellcheck=${false} value=${(value ?? []).join("\n")}
      onInput=${(/** @type {any} */ event) => set(event.target.value.split("\n")
        .filter((/** @type {string} */ line) => line.trim()))}></textarea>`;
  }
  return html`<${Json} id=${id} schema=${schema} value=${value} set=${set} />`;
}

/** @param {{name: string, schema: any, value: any, set: (value: any) => void, needed: boolean}} of */
function Part({ name, schema, value, set, needed }) {
  const label = schema.title ?? title(name);
  const type = typeOf(schema);
  if (type === "object" && schema.properties) {
    return html`<fieldset><legend>${label}</legend>${schema.description
      && html`<p class="help">${schema.description}</p>`}
      <${Parts} schema=${schema} value=${value ?? {}} set=${set} /></fieldset>`;
  }
  if (type === "boolean") {
    return html`<div><label class="check"><input type="checkbox" checked=${value === true}
      onChange=${(/** @type {any} */ event) => set(event.target.checked)} /> <bdi>${label}</bdi></label>
      ${schema.description && html`<p class="help"><bdi>${schema.description}</bdi></p>`}</div>`;
  }
  const lines = type === "array" && typeOf(schema.items ?? {}) === "string" ? " One a line." : "";
  return html`<${Field} label=${html`<bdi>${label}</bdi>${needed ? " *" : ""}`}
    help=${`${schema.description ?? ""}${lines}`.trim() || undefined}>${(/** @type {string} */ id) =>
    html`<${Control} id=${id} schema=${schema} value=${value} set=${set} needed=${needed} />`}<//>`;
}

/** @param {{schema: any, value: any, set: (value: any) => void}} of */
const Parts = ({ schema, value, set }) => html`<div class="form">${Object.entries(
  schema.properties ?? {}).map(([name, each]) => html`<${Part} key=${name} name=${name} schema=${each}
    value=${value[name]} needed=${(schema.required ?? []).includes(name)}
    set=${(/** @type {any} */ next) => {
      const { [name]: _, ...rest } = value;
      set(next === undefined ? rest : { ...rest, [name]: next });
    }} />`)}</div>`;

/** @param {{schema: any, value: any, save: (value: any) => Promise<unknown>}} of */
export function SchemaForm({ schema, value, save }) {
  const [draft, setDraft] = useState(value);
  const same = JSON.stringify(draft) === JSON.stringify(value);
  useEffect(() => setDraft(value), [JSON.stringify(value)]);
  return html`<form onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
    <${Parts} schema=${schema} value=${draft} set=${setDraft} />
    <p class="spaced tools"><${Act} class="primary" disabled=${same} run=${() => save(draft)}>Save<//>
      <button type="button" class="button" disabled=${same} onClick=${() => setDraft(value)}>Undo</button></p>
    <p class="help">Stars stand for a secret that stays as it is.</p></form>`;
}
