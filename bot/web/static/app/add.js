// Add tasks: links, one a line, or torrent files; where to, through which steps; the plan first.
import { call, newKey, Problem, tell } from "./api.js";
import { plural, size } from "./format.js";
import { Icon } from "./icons.js";
import { html, signal, useEffect, useState } from "./lib.js";
import { link, say } from "./state.js";
import { Steps, stepsOf } from "./steps.js";
import { Act, Dialog, Field, Name } from "./ui.js";

const open = signal(false);
const MOST = 500; // lines at once
const PLANNED = 20; // of them planned before the start
const LARGEST = 3_000_000; // bytes of a torrent file

export const openAdd = () => {
  open.value = true;
};

/** @typedef {{key: string, name: string, source: string}} Dropped */

/** @param {File} file @returns {Promise<Dropped>} */
async function read(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return { key: newKey(), name: file.name, source: `torrent:base64,${btoa(text)}` };
}

/** @param {{plan: any, error: any, name: string}} of */
const Plan = ({ plan, error, name }) => html`<li class="plan ${error ? "bad" : ""}">
  <${Name} text=${plan?.name ?? name} />
  ${error ? html`<p class="why"><bdi>${error.detail ?? error.message}</bdi>
      ${error.hint && html` – <bdi>${error.hint}</bdi>`}</p>`
    : html`<p class="quiet">${[`${size(plan.size)}${plan.is_estimate ? " (a guess)" : ""}`, plan.engine,
        plan.stages.join(" → "), plan.files.length > 1 ? `${plan.files.length} files` : "",
        plan.resumable ? "can be resumed" : "can't be resumed"].filter(Boolean).join(" · ")}</p>
      <p class="quiet">to <bdi>${plan.destination}</bdi>${plan.disk.fits ? ""
        : html`<strong class="why"> – not enough room: needs ${size(plan.disk.needed)}, has
          ${size(plan.disk.available)}</strong>`}</p>
      ${plan.note && html`<p class="quiet"><bdi>${plan.note}</bdi></p>`}`}</li>`;

/** @param {{dropped: Dropped[], set: (all: Dropped[]) => void}} of */
function Drop({ dropped, set }) {
  const [over, setOver] = useState(false);
  const take = async (/** @type {Iterable<File>} */ files) => {
    const good = [...files].filter((file) => file.name.toLowerCase().endsWith(".torrent")
      && file.size <= LARGEST);
    if (good.length < [...files].length) {
      say({ kind: "bad", text: "Only .torrent files of at most 3 MB can be added." });
    }
    set([...dropped, ...await Promise.all(good.map(read))]);
  };
  return html`<div class="drop ${over ? "over" : ""}"
    onDragOver=${(/** @type {Event} */ event) => {
      event.preventDefault();
      setOver(true);
    }} onDragLeave=${() => setOver(false)}
    onDrop=${(/** @type {DragEvent} */ event) => {
      event.preventDefault();
      setOver(false);
      take(event.dataTransfer?.files ?? []);
    }}><label class="button"><input type="file" accept=".torrent" multiple class="hidden"
      onChange=${(/** @type {any} */ event) => {
        take(event.target.files);
        event.target.value = "";
      }} />Choose .torrent files</label> <span class="quiet">or drop them here</span>
    ${dropped.map((each) => html`<span class="chip" key=${each.key}><${Name} text=${each.name} />
      <button type="button" class="button ghost" aria-label=${`Leave out ${each.name}`}
        onClick=${() => set(dropped.filter((other) => other.key !== each.key))}>
        <${Icon} name="close" /></button></span>`)}</div>`;
}

/** @param {{more: any, set: (more: any) => void}} of */
function More({ more, set }) {
  const text = (/** @type {string} */ name) => (/** @type {any} */ event) =>
    set({ ...more, [name]: event.target.value });
  const check = (/** @type {string} */ name) => (/** @type {any} */ event) =>
    set({ ...more, [name]: event.target.checked });
  return html`<details class="more-options"><summary>More options</summary><div class="grid2">
    <${Field} label="Another name (one link)">${(/** @type {string} */ id) => html`<input id=${id}
      value=${more.name} maxlength="255" onInput=${text("name")} />`}<//>
    <${Field} label="Priority">${(/** @type {string} */ id) => html`<input id=${id} type="number"
      min="-100" max="100" value=${more.priority} onInput=${text("priority")} />`}<//>
    <${Field} label="Quality (video pages)">${(/** @type {string} */ id) => html`<input id=${id}
      placeholder="best, 1080p, audio" value=${more.quality} onInput=${text("quality")} />`}<//>
    <${Field} label="When the name is taken">${(/** @type {string} */ id) => html`<select id=${id}
      value=${more.overwrite} onChange=${text("overwrite")}><option value="rename">add a number</option>
      <option value="replace">replace what is there</option><option value="refuse">refuse</option>
      </select>`}<//>
    <${Field} label="Expected hash">${(/** @type {string} */ id) => html`<input id=${id}
      placeholder="sha256:…" value=${more.checksum} spellcheck=${false} onInput=${text("checksum")} />`}<//>
    <${Field} label="Start not before">${(/** @type {string} */ id) => html`<input id=${id}
      type="datetime-local" value=${more.start} onInput=${text("start")} />`}<//>
    <${Field} label="User name at the source">${(/** @type {string} */ id) => html`<input id=${id}
      autocomplete="off" value=${more.username} onInput=${text("username")} />`}<//>
    <${Field} label="Password at the source">${(/** @type {string} */ id) => html`<input id=${id}
      type="password" autocomplete="off" value=${more.password} onInput=${text("password")} />`}<//>
    <label class="check"><input type="checkbox" checked=${more.ask} onChange=${check("ask")} />
      Let me choose the files of a torrent or playlist</label>
    <label class="check"><input type="checkbox" checked=${more.again} onChange=${check("again")} />
      Also when an unfinished task does the same</label></div></details>`;
}

const NONE = { name: "", priority: "", quality: "", overwrite: "rename", checksum: "", start: "",
  username: "", password: "", ask: false, again: false };

/** @param {string} source @param {string} to @param {any} more @param {any[]} steps */
function submission(source, to, more, steps) {
  return {
    source,
    to: to.trim() || null,
    steps: stepsOf(steps),
    priority: Number(more.priority) || 0,
    start_at: more.start ? new Date(more.start).toISOString() : null,
    again: more.again,
    options: {
      name: more.name.trim() || null,
      quality: more.quality.trim() || null,
      checksum: more.checksum.trim() || null,
      overwrite: more.overwrite,
      username: more.username || null,
      password: more.password || null,
      ask_selection: more.ask,
    },
  };
}

/** @param {{close: () => void}} of */
function Add({ close }) {
  const [links, setLinks] = useState("");
  const [dropped, setDropped] = useState(/** @type {Dropped[]} */ ([]));
  const [to, setTo] = useState("");
  const [steps, setSteps] = useState(/** @type {any[]} */ ([]));
  const [more, setMore] = useState(NONE);
  const [plans, setPlans] = useState(/** @type {any[] | null} */ (null));
  const [key, setKey] = useState(newKey);
  const lines = [...new Set(links.split("\n").map((line) => line.trim()).filter(Boolean))];
  const sources = [...lines.map((line) => ({ name: line, source: line })), ...dropped];
  useEffect(() => {
    setPlans(null);
    setKey(newKey());
  }, [links, dropped, to, steps, more]);
  const wanted = () => sources.map((each) => submission(each.source, to, more, steps));
  const plan = async () => setPlans(await Promise.all(wanted().slice(0, PLANNED).map(
    async (body, index) => {
      const name = sources[index]?.name ?? "";
      try {
        return { name, plan: await call("POST", "/plan", body) };
      } catch (error) {
        if (!(error instanceof Problem)) {
          throw error;
        }
        return { name, error };
      }
    })));
  const start = async () => {
    try {
      const answer = await call("POST", "/tasks/batch", { tasks: wanted() },
        { headers: { "Idempotency-Key": key } });
      if (answer.refused > 0) {
        setPlans(answer.items.filter((/** @type {any} */ item) => item.error).map(
          (/** @type {any} */ item) => ({ name: sources[item.index]?.name, error: item.error })));
        setLinks(answer.items.filter((/** @type {any} */ item) => item.error)
          .map((/** @type {any} */ item) => sources[item.index]?.name).join("\n"));
      }
      if (answer.accepted > 0) {
        const first = answer.items.find((/** @type {any} */ item) => item.task).task;
        say({ kind: "good", text: `${plural(answer.accepted, "task")} added`,
          action: { label: "Show", run: () => {
            location.hash = answer.accepted === 1 ? link("tasks", first.id) : link("tasks");
          } } });
      }
      if (answer.refused === 0) {
        close();
      } else {
        say({ kind: "bad", text: `${answer.refused} refused`, hint: answer.items.find(
          (/** @type {any} */ item) => item.error).error.detail });
      }
    } catch (error) {
      tell(error);
    }
  };
  const none = sources.length === 0 || sources.length > MOST;
  return html`<${Dialog} title="Add tasks" close=${close} class="wide">
    <form onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}><div class="body">
      <${Field} label="Links, one a line" help="https, ftp, sftp, magnet, a video page, or remote:path">
        ${(/** @type {string} */ id) => html`<textarea id=${id} rows="4" autofocus spellcheck=${false}
          value=${links} onInput=${(/** @type {any} */ event) => setLinks(event.target.value)}
          placeholder="https://example.org/file.iso"></textarea>`}<//>
      <${Drop} dropped=${dropped} set=${setDropped} />
      <${Field} label="To" help="A directory or remote:path; empty: the download directory">
        ${(/** @type {string} */ id) => html`<input id=${id} value=${to} spellcheck=${false}
          autocomplete="off" placeholder="remote:folder"
          onInput=${(/** @type {any} */ event) => setTo(event.target.value)} />`}<//>
      <${Steps} steps=${steps} set=${setSteps} />
      <${More} more=${more} set=${setMore} />
      <div aria-live="polite">${plans && html`<h3>Plan</h3><ul class="plain plans">${plans.map(
        (each, index) => html`<${Plan} key=${index} ...${each} />`)}</ul>
        ${sources.length > PLANNED && html`<p class="quiet">The first ${PLANNED} of
          ${sources.length} are planned here.</p>`}`}</div>
    </div><footer>
      ${sources.length > MOST && html`<span class="why">At most ${MOST} at once.</span>`}
      <${Act} disabled=${none} run=${plan}>Show the plan<//>
      <${Act} class="primary" disabled=${none} run=${start}>Start ${sources.length > 1
        ? plural(sources.length, "task") : ""}<//></footer></form><//>`;
}

export const Adding = () => (open.value ? html`<${Add} close=${() => {
  open.value = false;
}} />` : null);
