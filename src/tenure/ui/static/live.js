// The live feed: items come over one stream and become rows once a frame; the page holds a bounded number of them.
"use strict";

const feed = $("#feed");
const ROWS = 200; // in the page
const HELD = 2000; // while somebody reads or has paused
const ROW_PX = 37; // the least that a row is high
const CALM_MS = 300; // after so long without news, rows that nobody sees are made
const GAP_MS = 60; // between two changes of the page: nobody reads faster, and scripts and layout cost as much each time
const AWAY_MS = 60000;
const word = $("#pulse-word");
const dot = $("#pulse .dot");
const pauseButton = $("#pause");
const heldButton = $("#held");
const ACTORS = { system: "Tenure", gateway: "The gateway" };
let after = Number(feed.dataset.after);
let fresh = []; // oldest first
let passed = 0;
let below = [];
let calm = 0;
let shown = -CALM_MS;
let paused = false;
let connected = "";
let due = false;
let changed = 0;
let left = 0;

function lengthOf(micros) {
  if (micros === null || micros === undefined) return "";
  if (micros < 1000) return `${Math.round(micros)} µs`;
  if (micros < 1e6) return micros < 1e5 ? `${Number((micros / 1000).toPrecision(3))} ms` : `${Math.round(micros / 1000)} ms`;
  if (micros < 6e7) return `${(micros / 1e6).toFixed(2)} s`;
  const minutes = Math.floor(micros / 6e7);
  const rest = Math.floor((micros % 6e7) / 1e6);
  if (minutes < 60) return rest ? `${minutes} min ${String(rest).padStart(2, "0")} s` : `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/* Few moments and lengths differ among many rows: to say one costs more than all else of a row. */
function once(make, most = 500) {
  const made = new Map();
  return (key) => {
    let value = made.get(key);
    if (value === undefined) {
      if (made.size >= most) made.clear();
      value = make(key);
      made.set(key, value);
    }
    return value;
  };
}
const clockOf = once((second) => clockFormat.format(second * 1000));
const stampOf = once((second) => stampFormat.format(second * 1000));
const pageOf = once((agent) => `/agents/${encodeURIComponent(agent)}`);
const blankOf = once((status) => $(`template[data-row="${status}"]`).content.firstElementChild);

/* The server's own row of the same status, with this item's words in it. */
function rowOf(item) {
  const row = blankOf(item.status).cloneNode(true);
  const [whenPlace, , what, took, linkPlace] = row.children;
  const [who, verb] = what.children;
  row.dataset.seq = item.seq;
  const time = whenPlace.firstElementChild;
  const second = Math.floor(Date.parse(item.time) / 1000);
  time.dateTime = item.time;
  time.title = stampOf(second);
  time.textContent = clockOf(second);
  who.textContent = item.agent || ACTORS[item.actor.split(":", 1)[0]] || item.actor.replace(/^person:/, "");
  if (item.agent) who.href = pageOf(item.agent);
  else who.removeAttribute("href");
  verb.textContent = item.title;
  what.lastElementChild.textContent = item.detail;
  took.textContent = lengthOf(item.duration_us);
  const link = linkPlace.firstElementChild;
  if (item.trace_id) {
    link.href = `/traces/${item.trace_id}${item.span_id ? `?span=${item.span_id}#s-${item.span_id}` : ""}`;
    link.setAttribute("aria-label", `Open the trace of this: ${item.title}`);
  } else link.remove();
  return row;
}

const holds = () => paused || scrollY > 200;

function tell() {
  dot.className = `dot ${paused ? "paused" : connected}`;
  word.textContent = paused ? "paused" : connected === "on" ? "live" : connected === "off" ? "connection lost, trying again" : "connecting";
}

/* Of many at once those that fit on the screen are made, and what was there is put aside: what follows below is made
   when it is calm, or when somebody scrolls. ``below`` has rows that were made and items that were not, newest first. */
function show() {
  const fits = Math.min(ROWS, Math.ceil(innerHeight / ROW_PX) + 2);
  const newest = fresh.slice(-ROWS).reverse();
  const rows = newest.slice(0, fits).map(rowOf);
  if (newest.length < 6) for (const row of rows) row.classList.add("fresh");
  const busy = newest.length > 5 || performance.now() - shown < CALM_MS;
  shown = performance.now();
  const aside = [...feed.children].slice((busy ? fits : ROWS) - rows.length);
  for (const row of aside) row.remove();
  below = [...newest.slice(fits), ...aside, ...below].slice(0, ROWS - Math.min(ROWS, rows.length + feed.children.length));
  feed.prepend(...rows);
  clearTimeout(calm);
  if (below.length) calm = setTimeout(fill, CALM_MS);
  $("#feed-empty").hidden = Boolean(feed.children.length);
  fresh = [];
  passed = 0;
}

function fill() {
  clearTimeout(calm);
  feed.append(...below.map((one) => (one instanceof Element ? one : rowOf(one))));
  below = [];
}

function apply() {
  due = false;
  changed = performance.now();
  if (fresh.length > HELD) {
    passed += fresh.length - HELD;
    fresh = fresh.slice(-HELD);
  }
  if (!holds()) show();
  heldButton.hidden = fresh.length === 0;
  heldButton.textContent = `${(fresh.length + passed).toLocaleString("en")} new, show`;
}

function plan() {
  if (due) return;
  due = true;
  const wait = changed + GAP_MS - performance.now();
  if (wait > 0) setTimeout(() => requestAnimationFrame(apply), wait);
  else requestAnimationFrame(apply);
}

function hear(message) {
  if (message.type === "at") {
    after = Math.max(after, Number(message.data));
    return;
  }
  for (const item of JSON.parse(message.data)) {
    if (item.seq <= after) continue;
    after = item.seq;
    fresh.push(item);
  }
  if (fresh.length) plan();
}

function pause() {
  paused = !paused;
  pauseButton.setAttribute("aria-pressed", String(paused));
  pauseButton.textContent = paused ? "Go on" : "Pause";
  apply();
  tell();
}
pauseButton.addEventListener("click", pause);
heldButton.addEventListener("click", () => {
  scrollTo(0, 0);
  show();
  heldButton.hidden = true;
});
function scrolled() {
  if (below.length) fill();
  if (scrollY <= 200 && fresh.length) plan();
}
addEventListener("scroll", scrolled, { passive: true });
/* Who comes back after a while sees what is new now, not all that was missed running by. */
document.addEventListener("visibilitychange", () => {
  if (document.hidden) left = Date.now();
  else if (left && Date.now() - left > AWAY_MS && !paused) location.reload();
});
window.tenurePause = pause;
$("#live-filter").addEventListener("change", (event) => event.currentTarget.requestSubmit());
listen(() => ({ together: "true", after: String(after), agent: feed.dataset.agent, status: feed.dataset.status }), hear, (state) => {
  connected = state;
  tell();
});
tell();
