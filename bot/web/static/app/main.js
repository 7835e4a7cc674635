// The frame of the page: who looks, where they are, how the connection is.
import { enterToken, leave, resume, tell } from "./api.js";
import { Icon, LOGO } from "./icons.js";
import { html, render, useEffect, useState } from "./lib.js";
import { connection, reconnect, start } from "./live.js";
import { Login } from "./login.js";
import { dress, link, may, route, session, theme } from "./state.js";
import { alertsNow, counts, ready } from "./store.js";
import { Act, Empty, Questions, Toasts } from "./ui.js";
import { Adding, openAdd } from "./add.js";
import { Alerts } from "./alerts.js";
import { Backups } from "./backups.js";
import { Integrity } from "./integrity.js";
import { Logs } from "./logs.js";
import { Overview } from "./overview.js";
import { Performance } from "./performance.js";
import { Plugins } from "./plugins.js";
import { Settings } from "./settings.js";
import { Tasks } from "./tasks.js";
import { OneTask } from "./task.js";

/** @typedef {{title: string, show: (props: any) => any, scope?: "operate" | "admin"}} AreaOf */
/** @type {Record<string, AreaOf>} */
const AREAS = {
  overview: { title: "Overview", show: Overview },
  tasks: { title: "Tasks", show: ({ id }) => (id ? html`<${OneTask} id=${id} key=${id} />`
    : html`<${Tasks} />`) },
  plugins: { title: "Plugins", show: Plugins },
  alerts: { title: "Alerts", show: Alerts },
  backups: { title: "Backups", show: Backups, scope: "admin" },
  performance: { title: "Performance", show: Performance },
  logs: { title: "Logs", show: Logs, scope: "admin" },
  integrity: { title: "Integrity", show: Integrity },
  settings: { title: "Settings", show: Settings },
};
const FIRST = ["overview", "tasks", "alerts", "plugins"]; // on a phone; the rest is under "More"

function Connection() {
  const now = connection.value;
  const [, turn] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => turn((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  const left = Math.max(0, Math.ceil((now.retryAt - Date.now()) / 1000));
  /** @type {Record<string, string>} */
  const texts = {
    live: "Live",
    polling: "Asking every few seconds",
    connecting: "Connecting …",
    lost: "No connection",
  };
  return html`<div class="connection ${now.state}"><span class="dot" aria-hidden="true"></span>
    <span role="status">${texts[now.state]}</span>
    ${now.state === "lost" && html`<span class="left">${left ? `again in ${left} s` : "trying …"}
      </span><${Act} class="ghost" run=${async () => reconnect()}>Now<//>`}</div>`;
}

function ThemeSwitch() {
  const now = theme.value;
  const next = now === "system" ? "light" : now === "light" ? "dark" : "system";
  return html`<button type="button" class="button ghost" onClick=${() => dress(next)}
    aria-label=${`Colours: ${now}. Change to ${next}`} title=${`Colours: ${now}`}>
    <${Icon} name=${now === "dark" ? "moon" : now === "light" ? "sun" : "half"} /></button>`;
}

/** @param {{area: string, inMenu?: boolean}} of */
function Place({ area, inMenu }) {
  const here = route.value.area === area;
  const number = area === "alerts" ? alertsNow.value.firing
    : area === "tasks" ? counts.value.failed ?? 0 : 0;
  return html`<li class=${FIRST.includes(area) || inMenu ? "" : "later"}>
    <a href=${link(area)} aria-current=${here ? "page" : undefined}>
    <${Icon} name=${area} /><span class="place">${AREAS[area]?.title}</span>
    ${number > 0 && html`<span class="number"><span class="hidden">, </span>${number}
      <span class="hidden">${area === "alerts" ? " firing" : " failed"}</span></span>`}</a></li>`;
}

function Places() {
  const [open, setOpen] = useState(false);
  const known = Object.keys(AREAS).filter((area) => may(AREAS[area]?.scope ?? "view"));
  const rest = known.filter((area) => !FIRST.includes(area));
  useEffect(() => setOpen(false), [route.value.area]);
  return html`<nav class="places" aria-label="Areas"><ul>
    ${known.map((area) => html`<${Place} area=${area} key=${area} />`)}
    ${rest.length > 0 && html`<li class="more"><button type="button"
      aria-expanded=${open ? "true" : "false"} onClick=${() => setOpen(!open)}
      class=${rest.includes(route.value.area) ? "here" : ""}><${Icon} name="more" />
      <span class="place">More</span></button>
      ${open && html`<ul class="more-list">${rest.map((area) =>
        html`<${Place} area=${area} key=${area} inMenu=${true} />`)}</ul>`}</li>`}
  </ul></nav>`;
}

function Frame() {
  const { area, id } = route.value;
  const known = AREAS[area];
  useEffect(() => {
    document.title = `${known?.title ?? "?"} – mltb`;
    document.querySelector("main")?.scrollTo(0, 0);
  }, [area]);
  const Shown = known?.show;
  return html`<a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => {
    event.preventDefault();
    document.getElementById("main")?.focus();
  }}>To the content</a>
  <header class="top"><a class="brand" href=${link("overview")} aria-label="mltb, to the overview">
      <img src=${LOGO} alt="" width="24" height="24" /><span>mltb</span></a>
    <${Connection} />
    <div class="tools">
      ${may("operate") && html`<button type="button" class="button primary" onClick=${openAdd}>
        <${Icon} name="add" /><span>Add</span></button>`}
      <${ThemeSwitch} />
      ${session.value?.csrf
        ? html`<${Act} class="ghost" icon="leave" run=${leave}
            label=${`Log out ${session.value.user}`} />`
        : html`<button type="button" class="button" onClick=${() => {
            session.value = null;
          }}>Log in</button>`}</div></header>
  <${Places} />
  <main id="main" tabindex="-1" data-ready=${ready.value ? "yes" : "no"}>
    ${Shown ? html`<${Shown} id=${id} />`
      : html`<${Empty} icon="search" title="There is no such place.">
          <a href=${link("overview")}>To the overview</a><//>`}</main>
  <${Adding} />`;
}

function Page() {
  const who = session.value;
  return html`${who === undefined ? html`<p class="loading">Loading …</p>`
    : who === null ? html`<${Login} />` : html`<${Frame} />`}<${Questions} /><${Toasts} />`;
}

/** Where one may be who has no login yet: again and again until the service answers. */
async function enter() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    history.replaceState(null, "", location.pathname);
    route.value = { area: "overview", id: "", query: new URLSearchParams() };
  }
  try {
    if (given) {
      await enterToken(given);
    } else {
      await resume();
    }
  } catch (error) {
    if (given) {
      tell(error);
      session.value = null;
      return;
    }
    setTimeout(enter, 2000);
  }
}

dress(theme.value);
start();
enter();
const root = /** @type {HTMLElement} */ (document.getElementById("app"));
root.textContent = "";
render(html`<${Page} />`, root);
