// The first page: log in, mirror a link, watch and move the tasks. Plain modules, no build step.
// @ts-check

const FINAL = new Set(["done", "failed", "cancelled"]);
const PERIOD = 1000;

/** @param {string} id @returns {HTMLElement} */
const part = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id @returns {HTMLInputElement} */
const field = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id));

// The token comes after the #, which browsers keep to themselves, and stays in this tab alone.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}

/** @param {string} method @param {string} path @param {unknown} [body] */
async function call(method, path, body) {
  const response = await fetch(`/api/v3${path}`, {
    method,
    headers: {
      Authorization: `Bearer ${sessionStorage.getItem("token") ?? ""}`,
      "Content-Type": "application/json",
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status === 401) {
    leave();
  }
  const answer = response.status === 204 ? null : await response.json();
  if (!response.ok) {
    throw new Error([answer.detail, answer.hint].filter(Boolean).join(" – "));
  }
  return answer;
}

/** @param {number | null | undefined} bytes */
function size(bytes) {
  if (bytes === null || bytes === undefined) {
    return "?";
  }
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) {
      return `${unit === "B" ? value : value.toFixed(1)} ${unit}`;
    }
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}

/** @param {number} seconds */
function time(seconds) {
  const whole = Math.ceil(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** @param {any} task */
function figures(task) {
  if (task.state === "done") {
    return [size(task.size), task.path, task.sha256 && `sha256 ${task.sha256}`]
      .filter(Boolean).join("  ·  ");
  }
  const progress = task.progress;
  if (!progress) {
    return task.note ?? "";
  }
  const of = progress.total === null ? size(progress.done)
    : `${size(progress.done)} of ${size(progress.total)}`;
  const left = progress.eta === null ? "" : `${time(progress.eta)} left`;
  return [of, `${size(progress.speed)}/s`, left].filter(Boolean).join("  ·  ");
}

/** @param {any} task @returns {string[]} */
function verbs(task) {
  if (task.state === "failed" || task.state === "cancelled") {
    return ["retry", "delete"];
  }
  if (task.state === "done") {
    return ["delete"];
  }
  return task.state === "paused" ? ["resume", "cancel"] : ["pause", "cancel"];
}

/** @param {string} tag @param {string} name @param {string} [text] */
function make(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

/** One row, made once and then only changed, so that nothing jumps and the focus stays. */
class Row {
  constructor() {
    this.element = document.createElement("li");
    this.name = make("span", "name");
    this.state = make("span", "state");
    this.bar = document.createElement("progress");
    this.figures = make("span", "figures");
    this.why = make("span", "why");
    this.acts = make("span", "acts");
    this.shown = "";
    const top = make("span", "top");
    top.append(this.name, this.state);
    this.element.append(top, this.bar, this.figures, this.why, this.acts);
  }

  /** @param {any} task */
  update(task) {
    this.element.className = task.state;
    this.name.textContent = task.name ?? task.source;
    this.state.textContent = task.state.replace("_", " ");
    const progress = task.progress;
    this.bar.hidden = FINAL.has(task.state) || !progress;
    this.bar.setAttribute("aria-label", `progress of ${task.name ?? task.id}`);
    if (progress?.total) {
      this.bar.max = progress.total;
      this.bar.value = progress.done;
    } else {
      this.bar.removeAttribute("value");
    }
    this.figures.textContent = figures(task);
    const error = task.state === "done" ? null : task.error;
    this.why.textContent = error ? `${error.stage}: ${error.message} ${error.hint ?? ""}` : "";
    this.offer(task);
  }

  /** @param {any} task */
  offer(task) {
    const wanted = verbs(task);
    if (this.shown === wanted.join()) {
      return;
    }
    this.shown = wanted.join();
    this.acts.replaceChildren(...wanted.map((verb) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = verb;
      button.setAttribute("aria-label", `${verb} ${task.name ?? task.id}`);
      button.addEventListener("click", () => act(task.id, verb));
      return button;
    }));
  }
}

/** @type {Map<string, Row>} */
const rows = new Map();

/** @param {any[]} tasks */
function draw(tasks) {
  const list = part("tasks");
  const seen = new Set(tasks.map((task) => task.id));
  for (const [id, row] of rows) {
    if (!seen.has(id)) {
      row.element.remove();
      rows.delete(id);
    }
  }
  tasks.forEach((task, index) => {
    const row = rows.get(task.id) ?? new Row();
    rows.set(task.id, row);
    row.update(task);
    if (list.children[index] !== row.element) {
      list.insertBefore(row.element, list.children[index] ?? null);
    }
  });
  part("empty").hidden = tasks.length > 0;
}

/** @param {string} id @param {string} verb */
async function act(id, verb) {
  await tell(verb === "delete"
    ? call("DELETE", `/tasks/${id}`)
    : call("POST", `/tasks/${id}/${verb}`));
  await refresh();
}

/** Show why a call failed. @param {Promise<unknown>} work */
async function tell(work) {
  const problem = part("problem");
  try {
    await work;
    problem.hidden = true;
    return true;
  } catch (error) {
    problem.textContent = String(/** @type {Error} */ (error).message);
    problem.hidden = false;
    return false;
  }
}

async function refresh() {
  try {
    const [page, counts] = await Promise.all([call("GET", "/tasks"), call("GET", "/tasks/counts")]);
    draw(page.items);
    part("counts").textContent = Object.entries(counts)
      .filter(([, count]) => count > 0)
      .map(([state, count]) => `${count} ${state.replace("_", " ")}`)
      .join(", ");
    part("connection").textContent = "";
  } catch (error) {
    if (sessionStorage.getItem("token")) {
      part("connection").textContent = "no connection, trying again …";
    }
  }
}

function enter() {
  const known = sessionStorage.getItem("token") !== null;
  part("login").hidden = known;
  part("work").hidden = !known;
  part("leave").hidden = !known;
  if (known) {
    refresh();
  }
}

function leave() {
  sessionStorage.removeItem("token");
  draw([]);
  enter();
}

part("leave").addEventListener("click", leave);
part("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", field("token").value.trim());
  field("token").value = "";
  enter();
});
part("submit").addEventListener("submit", async (event) => {
  event.preventDefault();
  const to = field("to").value.trim();
  const body = { source: field("source").value.trim(), to: to || null };
  if (await tell(call("POST", "/tasks", body))) {
    field("source").value = "";
  }
  await refresh();
});
setInterval(() => {
  if (!document.hidden && sessionStorage.getItem("token")) {
    refresh();
  }
}, PERIOD);
enter();
