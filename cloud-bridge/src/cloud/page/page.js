// The live page. Follows /api/v1/events and shows what changes. All text that comes from devices is
// set as text, never as markup.
"use strict";

const HISTORY = 120; // Seconds in a sparkline.
const TAIL = 30; // Messages in the tail.
const SILENCE_MS = 12000; // The cloud says something at least every 5 s.
const SHOWN = 200; // Devices drawn at a time; the search finds the others.
const PAYLOAD = 300; // Characters of a payload that are shown.

const at = (id) => document.getElementById(id);
const devices = new Map(); // Key -> what the cloud last said of it.
const cards = new Map(); // Key -> { element, drawn }.
const routes = new Map(); // Name -> { stored, seconds, element }.
let messages = []; // Newest first.
let store = null;
let second = 0;
let clockOffset = 0; // The cloud's clock minus this browser's.
let paused = false;

// --- Small things -----------------------------------------------------------------------------------

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function makeSvg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const number = (value) => value.toLocaleString("en-US");

function bytes(value) {
  if (value < 1024) return `${value} B`;
  const power = Math.min(4, Math.floor(Math.log2(value) / 10));
  const scaled = value / 1024 ** power;
  return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

function ago(ms) {
  if (!ms) return "never";
  const seconds = Math.max(0, Math.round((Date.now() + clockOffset - ms) / 1000));
  if (seconds < 2) return "now";
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

// --- Routes -----------------------------------------------------------------------------------------

function routeElement(name) {
  const element = make("div", "route");
  const title = make("span", "name", name);
  title.title = name;
  const svg = makeSvg("svg", { viewBox: `0 0 ${HISTORY - 1} 34`, preserveAspectRatio: "none", role: "img" });
  const area = makeSvg("path", { class: "area" });
  const line = makeSvg("path", { class: "line" });
  svg.append(area, line);
  const parts = { rate: make("span", "rate"), total: make("span", "total"), peak: make("span", "peak"), svg, area, line };
  const [first, second] = [make("div", "line-1"), make("div", "line-2")];
  first.append(title, parts.rate);
  second.append(parts.total, parts.peak);
  element.append(first, second, svg);
  return { element, parts };
}

function drawRoute(name, route) {
  const { rate, total, peak, svg, area, line } = route.parts;
  const now = route.seconds.at(-1) ?? 0;
  const most = Math.max(...route.seconds, 0);
  rate.replaceChildren(number(now), make("small", "", " /s"));
  total.textContent = `${number(route.stored)} stored`;
  peak.textContent = most ? `peak ${number(most)} /s in 2 min` : "quiet for 2 min";
  svg.setAttribute("aria-label", `${name}: ${now} messages per second, at most ${most} in the last two minutes`);
  const start = HISTORY - route.seconds.length;
  const scale = 31 / Math.max(most, 1);
  const points = route.seconds.map((value, index) => `${start + index},${(33 - value * scale).toFixed(1)}`);
  line.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
  area.setAttribute("d", points.length > 1 ? `M${start},33L${points.join("L")}L${HISTORY - 1},33Z` : "");
}

function takeRoutes(update) {
  const quiet = update.full ? 0 : Math.max(0, update.second - second - 1);
  second = update.second;
  const names = Object.keys(update.routes).sort();
  for (const name of names) {
    const { stored, seconds } = update.routes[name];
    let route = routes.get(name);
    if (!route) {
      route = { stored: 0, seconds: [], ...routeElement(name) };
      routes.set(name, route);
      const before = [...routes.keys()].filter((other) => other > name).sort()[0];
      at("routes").insertBefore(route.element, before ? routes.get(before).element : null);
    }
    if (update.full) route.seconds = [];
    route.seconds.push(...new Array(Math.min(quiet, HISTORY)).fill(0), ...seconds);
    route.seconds.splice(0, route.seconds.length - HISTORY);
    route.stored = stored;
    drawRoute(name, route);
  }
  at("routes").hidden = routes.size === 0;
  at("no-routes").hidden = routes.size > 0;
}

// --- Devices ----------------------------------------------------------------------------------------

const PRESENCE = { online: "good", away: "warn", silent: "bad" };
const MODULE = {
  running: "good", creating: "warn", starting: "warn", stopping: "warn", "back-off": "bad", failed: "bad", ended: "",
};
// The order of the list: what needs a look comes first.
const URGENCY = { silent: 0, away: 1, online: 3 };

function isTroubled(device) {
  const modules = Object.values(device.modules);
  return device.problems.length > 0 || modules.some((module) => MODULE[module.state] === "bad" || module.problem);
}

const urgency = (device) => (device.presence === "online" && isTroubled(device) ? 2 : URGENCY[device.presence]);

function moduleRow(name, module) {
  const row = make("div", "row module");
  const title = make("span", "", name);
  title.title = name;
  const image = make("span", "soft image", module.image);
  image.title = module.digest ? `${module.image} (${module.digest})` : module.image;
  const cpu = module.cpu_millis === null ? "" : `${(module.cpu_millis / 10).toFixed(1)} %`;
  const memory = module.memory_bytes ? bytes(module.memory_bytes) : "";
  const used = make("span", "soft num", [cpu, memory].filter(Boolean).join(" \u00b7 "));
  const limit = module.memory_limit_bytes ? `, of ${bytes(module.memory_limit_bytes)} memory` : "";
  used.title = `${cpu || "not known"} of one core${limit}, ${plural(module.restarts, "restart")}`;
  const state = make("span", `state ${MODULE[module.state] ?? ""}`, module.state);
  if (module.exit_code !== null) state.title = `exit code ${module.exit_code}`;
  row.append(title, state, image, used);
  const why = [module.problem, module.output, module.restarts ? plural(module.restarts, "restart") : ""].filter(Boolean);
  if (why.length) row.append(make("span", "why", why.join(" \u00b7 ")));
  return row;
}

function queueRow(name, queue, most) {
  const row = make("div", "row queue");
  const title = make("span", "", name);
  title.title = `${name}: ${number(queue.depth)} waiting (${bytes(queue.bytes)}), ${number(queue.appended)} since the daemon started`;
  const depth = make("span", "num", number(queue.depth));
  depth.title = bytes(queue.bytes);
  const gauge = make("div", queue.bytes > 64 * 2 ** 20 ? "gauge high" : "gauge");
  const svg = makeSvg("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none" });
  // By logarithm: the difference between 10 and 1,000 shows beside a queue of a million.
  const width = (100 * Math.log1p(queue.depth)) / Math.log1p(most);
  svg.append(makeSvg("rect", { x: 0, y: 0, height: 1, width: queue.depth ? Math.max(3, width).toFixed(1) : 0 }));
  gauge.append(svg);
  row.append(title, depth, gauge);
  if (queue.dropped) row.append(make("span", "why", `${number(queue.dropped)} dropped because the queue was full`));
  return row;
}

function column(rows, nothing) {
  const part = make("div");
  if (rows.length) part.append(...rows);
  else part.append(make("p", "nothing", nothing));
  return part;
}

function systemElement(system, clock) {
  const free = system.disk_bytes ? `${bytes(system.disk_free_bytes)} free` : "";
  const element = make("span", "", [`load ${(system.load_millis / 1000).toFixed(1)}`, free].filter(Boolean).join(", "));
  const lines = [
    `disk: ${bytes(system.disk_free_bytes)} of ${bytes(system.disk_bytes)} free`,
    `memory: ${bytes(system.memory_free_bytes)} of ${bytes(system.memory_bytes)} free`,
    `load: ${(system.load_millis / 1000).toFixed(2)} on ${plural(system.cores, "core")}`,
    `booted: ${new Date(system.booted_ms).toISOString()}`,
    `engine ${system.engine || "none"}, kernel ${system.kernel}`,
  ];
  if (clock) lines.push(`clock: the cloud's is ${number(clock.ahead_ms)} ms ahead, give or take ${number(clock.error_ms)} ms`);
  element.title = lines.join("\n");
  return element;
}

function deviceElement(device) {
  const element = make("article", `device ${device.presence}`);
  const head = make("div", "head");
  const meta = make("div", "meta");
  const key = make("span", "mono", device.key.slice(0, 8));
  key.title = device.key;
  meta.append(key, make("span", "", device.version ? `wayside ${device.version}` : ""));
  if (device.peers) meta.append(make("span", "", plural(device.peers, "peer")));
  if (device.system) meta.append(systemElement(device.system, device.clock));
  for (const [label, value] of Object.entries(device.labels)) meta.append(make("span", "label", `${label}=${value}`));
  if (device.assigned > device.held) {
    const pending = make("span", "pending", `update ${device.assigned} not taken yet`);
    pending.title = `holds assignment ${device.held}, should hold ${device.assigned}`;
    meta.append(pending);
  }
  const seen = make("span", "seen");
  head.append(make("span", "name", device.name || "unnamed"), make("span", `state ${PRESENCE[device.presence]}`, device.presence), meta, seen);
  element.append(head);
  for (const problem of device.problems) element.append(make("p", "note", problem));
  for (const drift of device.drift) {
    const since = drift.since_ms ? `, since ${ago(drift.since_ms)}` : "";
    const why = drift.why ? `: ${drift.why}` : "";
    element.append(make("p", "note drift", `${drift.what} should be ${drift.desired} and is ${drift.reported}${since}${why}`));
  }
  const queues = Object.entries(device.queues);
  const most = Math.max(100, ...queues.map(([, queue]) => queue.depth));
  const body = make("div", "body");
  const modules = Object.entries(device.modules).map(([name, module]) => moduleRow(name, module));
  body.append(column(modules, "no modules"), column(queues.map(([name, queue]) => queueRow(name, queue, most)), "no queues"));
  element.append(body);
  return { element, seen, drawn: device };
}

function matches(device, words) {
  if (!words.length) return true;
  const labels = Object.entries(device.labels).map(([label, value]) => `${label}=${value}`);
  const text = [device.name, device.key, device.presence, ...labels, ...Object.keys(device.modules)].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function drawDevices() {
  const words = at("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [...devices.values()].filter((device) => matches(device, words));
  found.sort((a, b) => urgency(a) - urgency(b) || a.name.localeCompare(b.name) || a.key.localeCompare(b.key));
  const shown = found.slice(0, SHOWN);
  const keep = new Set(shown.map((device) => device.key));
  for (const [key, card] of cards) {
    if (!keep.has(key)) {
      card.element.remove();
      cards.delete(key);
    }
  }
  const list = at("devices");
  shown.forEach((device, index) => {
    let card = cards.get(device.key);
    if (!card || card.drawn !== device) {
      const fresh = deviceElement(device);
      if (card) card.element.replaceWith(fresh.element);
      card = fresh;
      cards.set(device.key, card);
    }
    if (list.children[index] !== card.element) list.insertBefore(card.element, list.children[index] ?? null);
  });
  const none = at("no-devices");
  none.hidden = found.length > 0 && found.length === shown.length;
  if (!devices.size) none.textContent = "No device has joined yet. Start one with: wayside up --join LINK, with the link that `wayside-cloud links` shows.";
  else if (!found.length) none.textContent = "No device matches.";
  else none.textContent = `${number(found.length - shown.length)} more devices: narrow the search to see them.`;
  drawAges();
}

function drawAges() {
  for (const card of cards.values()) {
    const age = ago(card.drawn.last_seen_ms);
    card.seen.textContent = card.drawn.presence === "online" ? "" : `last seen ${age}`;
  }
}

function drawSummary() {
  const counts = { online: 0, away: 0, silent: 0 };
  let [running, modules, waiting, troubled] = [0, 0, 0, 0];
  for (const device of devices.values()) {
    counts[device.presence] += 1;
    troubled += isTroubled(device) ? 1 : 0;
    for (const module of Object.values(device.modules)) {
      modules += 1;
      running += module.state === "running" ? 1 : 0;
    }
    for (const queue of Object.values(device.queues)) waiting += queue.depth;
  }
  const rate = [...routes.values()].reduce((sum, route) => sum + (route.seconds.at(-1) ?? 0), 0);
  const parts = [];
  const add = (strong, text, className) => {
    if (parts.length) parts.push(" \u00b7 ");
    parts.push(make("b", className, strong), ` ${text}`);
  };
  add(`${number(counts.online)} of ${number(devices.size)}`, "devices online");
  if (counts.away) add(number(counts.away), "away");
  if (counts.silent) add(number(counts.silent), "silent", "bad");
  if (troubled) add(number(troubled), "with problems", "bad");
  add(`${number(running)} of ${number(modules)}`, "modules running");
  add(number(rate), "messages/s");
  if (waiting) add(number(waiting), "waiting on devices");
  at("summary").replaceChildren(...parts);
  document.title = counts.silent || troubled ? `(!) Wayside` : "Wayside";
}

// --- Messages and the store -------------------------------------------------------------------------

function messageRow(message) {
  const row = make("li");
  const time = new Date(message.stored_ms).toLocaleTimeString("en-GB");
  let payload = message.payload ?? `base64 ${message.payload_base64}`;
  if (payload.length > PAYLOAD) payload = `${payload.slice(0, PAYLOAD)}\u2026`;
  const body = make("span", "payload", payload);
  body.title = `${message.source}/${message.topic}`;
  row.append(
    make("span", "soft", time), make("span", "", message.device_name),
    make("span", "soft route-name", message.route), make("span", "num", `#${number(message.seq)}`), body,
  );
  return row;
}

function takeMessages(update) {
  if (update.full) messages = [];
  messages = [...update.messages.reverse(), ...messages].slice(0, TAIL);
  if (paused) return;
  const list = at("tail");
  if (update.full) list.replaceChildren();
  const fresh = update.messages.map(messageRow);
  // A few stand out; a stream of them would only flicker.
  if (fresh.length <= 5) for (const row of fresh) row.classList.add("new");
  list.prepend(...fresh);
  while (list.children.length > TAIL) list.lastChild.remove();
}

function drawStore() {
  const parts = [`${number(store.last_id)} messages stored`, `${bytes(store.bytes)} of ${bytes(store.keep_bytes)} on disk`];
  if (store.dropped) parts.push(`${number(store.dropped)} oldest dropped for want of room`);
  at("store").textContent = parts.join(" \u00b7 ");
  at("problems").hidden = store.problems.length === 0;
  at("problems").replaceChildren(...store.problems.map((problem) => make("p", "", problem)));
}

function take(update) {
  clockOffset = update.now_ms - Date.now();
  if (update.full) devices.clear();
  for (const device of update.devices) devices.set(device.key, device);
  takeRoutes(update);
  if (update.full || update.devices.length) drawDevices();
  takeMessages(update);
  store = update.store;
  drawStore();
  drawSummary();
}

// --- The connection ---------------------------------------------------------------------------------

function show(state, text) {
  at("link").className = `link ${state}`;
  at("link").textContent = text;
  document.body.classList.toggle("lost", state === "lost");
}

function askForToken(why) {
  if (why) at("sign-in-why").textContent = why;
  at("sign-in").hidden = false;
  at("main").hidden = true;
  show("waiting", "not signed in");
  at("token").focus();
}

// Calls `heard` for every event of the stream, until it ends. Silence ends it too.
async function follow(token, heard) {
  const stop = new AbortController();
  let watch;
  const alive = () => {
    clearTimeout(watch);
    watch = setTimeout(() => stop.abort(), SILENCE_MS);
  };
  try {
    alive();
    const headers = { Authorization: `Bearer ${token}` };
    const answer = await fetch("/api/v1/events", { headers, signal: stop.signal, cache: "no-store" });
    if (answer.status === 401) return "refused";
    if (!answer.ok) throw new Error(`${answer.status}`);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return "ended";
      alive();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
        if (data.length) heard(JSON.parse(data.join("\n")));
      }
    }
  } finally {
    clearTimeout(watch);
    stop.abort();
  }
}

async function run(token) {
  let failures = 0;
  for (;;) {
    try {
      const end = await follow(token, (update) => {
        failures = 0;
        at("main").hidden = false;
        take(update);
        show("live", "live");
      });
      if (end === "refused") {
        sessionStorage.removeItem("token");
        return askForToken("This token is not good. Paste the one from api.token in the cloud's state directory.");
      }
    } catch (error) {
      console.debug("the stream of events ended", error);
    }
    failures += 1;
    const wait = Math.min(10, failures);
    for (let left = wait; left > 0; left -= 1) {
      show("lost", `connection lost, retrying in ${left} s`);
      await new Promise((resume) => setTimeout(resume, 1000));
    }
    show("lost", "connection lost, retrying");
  }
}

function start() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    // The token does not stay in the address bar or in the history.
    history.replaceState(null, "", location.pathname);
  }
  const token = sessionStorage.getItem("token");
  at("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = at("token").value.trim();
    sessionStorage.setItem("token", typed);
    at("sign-in").hidden = true;
    run(typed);
  });
  at("find").addEventListener("input", drawDevices);
  at("pause").addEventListener("click", () => {
    paused = !paused;
    at("pause").setAttribute("aria-pressed", String(paused));
    at("pause").textContent = paused ? "Resume" : "Pause";
    if (!paused) at("tail").replaceChildren(...messages.map(messageRow));
  });
  setInterval(drawAges, 1000);
  if (token) run(token);
  else askForToken();
}

start();
