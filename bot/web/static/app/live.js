// The live connection: WebSocket, else server-sent events, else asking again and again.
import { get, resume } from "./api.js";
import { effect, signal, untracked } from "./lib.js";
import { keep, recall, session } from "./state.js";
import { reset, take } from "./store.js";

const PATH = "/api/v3/ws/live-metrics";
const STREAM = "/api/v3/sse/live-metrics";
const LONGEST = 30;
const SLACK = 20;
const POLL = 5;
const BETTER = 12; // times of asking, after which the better means are tried again

/** `live`, `polling`, `connecting` or `lost`. */
export const connection = signal(/** @type {{state: string, by: string, retryAt: number}} */ (
  { state: "connecting", by: "", retryAt: 0 }));
/** Seconds between ticks; 0 is what the service says. */
export const pace = signal(Number(recall("pace", "0")));
export const interval = signal(5);

/** @type {WebSocket | null} */
let socket = null;
/** @type {EventSource | null} */
let stream = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let watchdog;
let failures = 0;
let opened = false;
let means = /** @type {"socket" | "stream" | "poll"} */ ("socket");
let asked = 0;

/** @param {string} state @param {string} [by] @param {number} [retryAt] */
function show(state, by = "", retryAt = 0) {
  const old = connection.value;
  if (old.state !== state || old.by !== by || old.retryAt !== retryAt) {
    connection.value = { state, by, retryAt };
  }
}

function stop() {
  clearTimeout(timer);
  clearTimeout(watchdog);
  if (socket) {
    socket.onclose = socket.onmessage = socket.onopen = null;
    socket.close();
    socket = null;
  }
  stream?.close();
  stream = null;
}

/** @param {string} text @param {() => void} again */
function heard(text, again) {
  const frame = JSON.parse(text);
  if (frame.interval) {
    interval.value = frame.interval;
  }
  if (!take(frame)) {
    again();
  }
  failures = 0;
  opened = true;
  show("live", means);
  clearTimeout(watchdog);
  watchdog = setTimeout(lost, (interval.value * 3 + SLACK) * 1000);
}

function lost() {
  stop();
  if (!session.value) {
    return;
  }
  failures += 1;
  const seconds = Math.min(LONGEST, 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
  show("lost", "", Date.now() + seconds * 1000);
  timer = setTimeout(connect, seconds * 1000);
}

/** Means that never worked give way to the next at once. */
function fall() {
  if (opened) {
    lost();
    return;
  }
  if (means === "poll") {
    means = "socket";
    lost();
    return;
  }
  means = means === "socket" ? "stream" : "poll";
  connect();
}

/** @param {number} code */
async function closed(code) {
  stop();
  if (code === 4401 || code === 4408) {
    await resume().catch(() => undefined);
  }
  if (code === 1013) {
    failures = 6; // it is full: half a minute
    lost();
  } else {
    fall();
  }
}

/** @param {string} [text] */
function ask(text = '{"type":"snapshot"}') {
  if (socket?.readyState === WebSocket.OPEN) {
    socket.send(text);
  }
}

function bySocket() {
  const url = new URL(PATH, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(url);
  socket.onopen = () => hasten();
  socket.onmessage = (event) => heard(event.data, ask);
  socket.onclose = (event) => closed(event.code);
}

function byStream() {
  const seconds = pace.value || interval.value;
  stream = new EventSource(`${STREAM}?interval=${seconds}`);
  stream.onmessage = (event) => heard(event.data, () => {
    stop();
    byStream();
  });
  stream.onerror = () => {
    stop();
    resume().then(fall, lost);
  };
}

async function byAsking() {
  try {
    const [readings, counted, page, alerts, plugins] = await Promise.all([
      get("/metrics/current"), get("/tasks/counts"), get("/tasks", { sort: "updated", limit: 200 }),
      get("/alerts/summary"), get("/plugins/list"),
    ]);
    const known = readings.items.filter((/** @type {any} */ each) => each.value !== null);
    take({
      type: "snapshot",
      seq: 0,
      at: Date.now() / 1000,
      metrics: Object.fromEntries(known.map((/** @type {any} */ each) => [each.name, each.value])),
      counts: counted,
      tasks: page.items,
      alerts: { firing: alerts.firing.length, severities: alerts.by_severity,
        items: alerts.firing },
      plugins: plugins.items.map((/** @type {any} */ each) => ({ ...each, name: each.id })),
    });
    failures = 0;
    show("polling", "poll");
    asked += 1;
    timer = setTimeout(asked % BETTER ? byAsking : reconnect, (pace.value || POLL) * 1000);
  } catch {
    fall();
  }
}

function connect() {
  stop();
  if (connection.value.state !== "lost") {
    show("connecting");
  }
  const begin = { socket: bySocket, stream: byStream, poll: byAsking }[means];
  begin();
}

/** Tell the service how often. */
function hasten() {
  if (pace.value) {
    ask(JSON.stringify({ type: "interval", seconds: pace.value }));
  }
}

/** @param {number} seconds */
export function setPace(seconds) {
  pace.value = seconds;
  keep("pace", String(seconds));
  if (session.value) {
    connect();
  }
}

/** Try at once, with the best means first. */
export function reconnect() {
  failures = 0;
  opened = false;
  means = "socket";
  connect();
}

export function start() {
  let user = "";
  effect(() => {
    const now = session.value?.user ?? "";
    if (now !== user) {
      user = now;
      untracked(() => {
        stop();
        reset();
        if (now) {
          reconnect();
        }
      });
    }
  });
  const wake = () => {
    if (session.value && !document.hidden && connection.value.state === "lost") {
      reconnect();
    }
  };
  addEventListener("online", wake);
  document.addEventListener("visibilitychange", wake);
}
