// The live feed: items come over one stream and become rows once a frame; the page holds a bounded number of them.
"use strict";

const feed = $("#feed");
const ROWS = 200; // in the page
const HELD = 2000; // while somebody reads or has paused
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

/* The server's own row of the same status, with this item's words in it. */
function rowOf(item) {
  const row = $(`template[data-row="${item.status}"]`).content.firstElementChild.cloneNode(true);
  row.dataset.seq = item.seq;
  const then = new Date(item.time);
  const time = $("time", row);
  time.dateTime = item.time;
  time.title = stampFormat.format(then);
  time.textContent = clockFormat.format(then);
  const who = $(".row-who", row);
  const [kind] = item.actor.split(":", 1);
  who.textContent = item.agent || ACTORS[kind] || item.actor.replace(/^person:/, "");
  if (item.agent) who.href = `/agents/${encodeURIComponent(item.agent)}`;
  else who.removeAttribute("href");
  $(".row-verb", row).textContent = item.title;
  $(".row-note", row).textContent = item.detail;
  $(".row-took", row).textContent = lengthOf(item.duration_us);
  const link = $(".row-link a", row);
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

function show() {
  const rows = document.createDocumentFragment();
  const newest = fresh.slice(-ROWS).reverse();
  for (const item of newest) rows.append(rowOf(item));
  if (newest.length < 6) for (const row of rows.children) row.classList.add("fresh");
  feed.prepend(rows);
  while (feed.children.length > ROWS) feed.lastElementChild.remove();
  $("#feed-empty").hidden = Boolean(feed.children.length);
  fresh = [];
  passed = 0;
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
  const item = JSON.parse(message.data);
  if (item.seq <= after) return;
  after = item.seq;
  fresh.push(item);
  plan();
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
addEventListener("scroll", () => scrollY <= 200 && fresh.length && plan(), { passive: true });
/* Who comes back after a while sees what is new now, not all that was missed running by. */
document.addEventListener("visibilitychange", () => {
  if (document.hidden) left = Date.now();
  else if (left && Date.now() - left > AWAY_MS && !paused) location.reload();
});
window.tenurePause = pause;
$("#live-filter").addEventListener("change", (event) => event.currentTarget.requestSubmit());
listen(() => ({ after: String(after), agent: feed.dataset.agent, status: feed.dataset.status }), hear, (state) => {
  connected = state;
  tell();
});
tell();
