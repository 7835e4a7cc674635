// The parts that all areas are made of.
import { tell } from "./api.js";
import { full, moment } from "./format.js";
import { Icon } from "./icons.js";
import { html, signal, useEffect, useRef, useState } from "./lib.js";
import { hush, toasts } from "./state.js";

// Signs that turn the direction of text around: a name must not look like another one.
const TURNING = /[\u202a-\u202e\u2066-\u2069]/gu;

/** Text from outside: its own direction, cut where there is no room, whole as a title.
 *  @param {{text: string | null | undefined, class?: string}} of */
export function Name({ text, class: name = "" }) {
  const shown = (text ?? "–").replace(TURNING, "\ufffd");
  return html`<bdi class="cut ${name}" title=${shown}>${shown}</bdi>`;
}

/** @param {{at: string | number | null | undefined}} of */
export const When = ({ at }) => (at
  ? html`<time class="when" dateTime=${new Date(at).toISOString()} title=${full(at)}>${
    moment(at)}</time>`
  : html`<span class="when">–</span>`);

/** @param {{kind?: string, children?: any, title?: string}} of */
export const Badge = ({ kind = "plain", children, title }) =>
  html`<span class="badge ${kind}" title=${title}>${children}</span>`;

/** @param {{icon?: string, title: string, children?: any}} of */
export const Empty = ({ icon = "check", title, children }) => html`<div class="empty">
  <${Icon} name=${icon} /><p class="empty-title">${title}</p>
  ${children && html`<div class="empty-more">${children}</div>`}</div>`;

/** A button that is busy while its work goes on, so that nothing is done twice.
 *  @param {any} props */
export function Act({ run, children, class: name = "", icon, label, disabled, ...more }) {
  const [busy, setBusy] = useState(false);
  const here = useRef(true);
  useEffect(() => () => {
    here.current = false;
  }, []);
  const press = async (/** @type {Event} */ event) => {
    event.preventDefault();
    event.stopPropagation();
    setBusy(true);
    try {
      await run();
    } catch (error) {
      tell(error);
    } finally {
      if (here.current) {
        setBusy(false);
      }
    }
  };
  return html`<button type="button" class="button ${name}" onClick=${press}
    disabled=${disabled || busy} aria-busy=${busy ? "true" : undefined} aria-label=${label}
    title=${label} ...${more}>${icon && html`<${Icon} name=${icon} />`}${children}</button>`;
}

/** @param {{done: number, total: number | null | undefined, label: string, kind?: string}} of */
export function Bar({ done, total, label, kind = "" }) {
  const known = total !== null && total !== undefined && total > 0;
  return html`<progress class="bar ${kind}" aria-label=${label} max=${known ? total : undefined}
    value=${known ? Math.min(done, total) : undefined}></progress>`;
}

let ids = 0;

/** A label over a control. @param {any} props */
export function Field({ label, help, children, class: name = "" }) {
  const id = useRef(`f${++ids}`).current;
  return html`<div class="field ${name}"><label for=${id}>${label}</label>${children(id)}
    ${help && html`<p class="help">${help}</p>`}</div>`;
}

/** A modal dialog; Escape and the cross close it. @param {any} props */
export function Dialog({ title, close, children, class: name = "" }) {
  const box = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const heading = useRef(`d${++ids}`).current;
  useEffect(() => {
    const dialog = box.current;
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    dialog?.showModal();
    return () => {
      dialog?.close();
      before?.focus?.();
    };
  }, []);
  return html`<dialog ref=${box} class="dialog ${name}" aria-labelledby=${heading}
    onCancel=${(/** @type {Event} */ event) => {
      event.preventDefault();
      close();
    }}>
    <header><h2 id=${heading}>${title}</h2>
      <button type="button" class="button ghost" aria-label="Close" onClick=${close}>
        <${Icon} name="close" /></button></header>
    ${children}</dialog>`;
}

/** @typedef {{title: string, text?: any, verb: string, typed?: string, kind?: string,
 *   settle: (sure: boolean) => void}} Question */
const question = signal(/** @type {Question | null} */ (null));

/** Ask before something that can't be taken back. With `typed` that has to be written.
 *  @param {Omit<Question, "settle">} asked @returns {Promise<boolean>} */
export const confirm = (asked) => new Promise((resolve) => {
  question.value = { ...asked, settle: resolve };
});

export function Questions() {
  const asked = question.value;
  const [typed, setTyped] = useState("");
  if (!asked) {
    return null;
  }
  const settle = (/** @type {boolean} */ sure) => {
    question.value = null;
    setTyped("");
    asked.settle(sure);
  };
  const fits = !asked.typed || typed === asked.typed;
  return html`<${Dialog} title=${asked.title} close=${() => settle(false)} class="small">
    <form method="dialog" onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      if (fits) {
        settle(true);
      }
    }}>
      <div class="body">${asked.text}
        ${asked.typed && html`<${Field} label=${html`Type <code class="typed">${asked.typed}</code>
          to go on`}>${(/** @type {string} */ id) => html`<input id=${id} autocomplete="off"
            spellcheck=${false} value=${typed} autofocus
            onInput=${(/** @type {any} */ event) => setTyped(event.target.value)} />`}<//>`}
      </div>
      <footer><button type="button" class="button" onClick=${() => settle(false)}>Back</button>
        <button class="button ${asked.kind ?? "danger"}" disabled=${!fits}
          autofocus=${!asked.typed}>${asked.verb}</button></footer>
    </form><//>`;
}

/** What was done, and what went wrong; read out by screen readers. */
export const Toasts = () => html`<div class="toasts" role="status" aria-live="polite">
  ${toasts.value.map((toast) => html`<div class="toast ${toast.kind}" key=${toast.id}>
    <div class="toast-text"><bdi>${toast.text}</bdi>
      ${toast.hint && html`<bdi class="help">${toast.hint}</bdi>`}</div>
    ${toast.action && html`<${Act} class="ghost" run=${async () => {
      hush(toast.id);
      await toast.action?.run();
    }}>${toast.action.label}<//>`}
    <button type="button" class="button ghost" aria-label="Dismiss"
      onClick=${() => hush(toast.id)}><${Icon} name="close" /></button></div>`)}</div>`;

/** Fetch, show, and fetch again when `again` is called or what it depends on changes. What was
 *  there stays until the new is there. @template T
 *  @param {(signal: AbortSignal) => Promise<T>} load @param {any[]} [on]
 *  @returns {{data: T | undefined, error: any, again: () => Promise<void>}} */
export function useData(load, on = []) {
  const [found, setFound] = useState(
    /** @type {{data: T | undefined, error: any}} */ ({ data: undefined, error: null }));
  const current = useRef(/** @type {AbortController | null} */ (null));
  const again = async () => {
    current.current?.abort();
    const control = new AbortController();
    current.current = control;
    try {
      const data = await load(control.signal);
      if (!control.signal.aborted) {
        setFound({ data, error: null });
      }
    } catch (error) {
      if (!control.signal.aborted) {
        setFound((old) => ({ data: old.data, error }));
      }
    }
  };
  useEffect(() => {
    again();
    return () => current.current?.abort();
  }, on);
  return { ...found, again };
}

/** What useData found, or that it is on its way, or why it is not there.
 *  @param {{of: {data: any, error: any, again: () => void}, children: (data: any) => any}} props */
export function Loaded({ of, children }) {
  if (of.data === undefined) {
    return of.error
      ? html`<${Empty} icon="warn" title=${of.error.message}>${of.error.hint}
          <p><${Act} run=${of.again}>Try again<//></p><//>`
      : html`<p class="loading" aria-busy="true">Loading …</p>`;
  }
  return html`${of.error && html`<p class="stale" role="alert">${of.error.message}</p>`}${
    children(of.data)}`;
}

/** Call again and again while the page is looked at. @param {() => unknown} run
 *  @param {number} seconds */
export function useEvery(run, seconds) {
  const latest = useRef(run);
  latest.current = run;
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) {
        latest.current();
      }
    }, seconds * 1000);
    return () => clearInterval(timer);
  }, [seconds]);
}

/** Headings and what belongs beside them. @param {any} props */
export const Area = ({ title, children, tools }) => html`<div class="area-head">
  <h1 tabindex="-1">${title}</h1><div class="tools">${tools}</div></div>${children}`;

/** @param {any} props */
export const Card = ({ title, children, tools, class: name = "" }) =>
  html`<section class="card ${name}">${title && html`<header><h2>${title}</h2>
    <div class="tools">${tools}</div></header>`}${children}</section>`;

/** Choices beside each other, of which one holds. @param {{label: string, value: string,
 *   choices: [string, any][], choose: (value: string) => void}} props */
export const Choice = ({ label, value, choices, choose }) => html`<div class="choice" role="group"
  aria-label=${label}>${choices.map(([each, text]) => html`<button type="button" key=${each}
    aria-pressed=${each === value ? "true" : "false"} onClick=${() => choose(each)}>${text}
  </button>`)}</div>`;
