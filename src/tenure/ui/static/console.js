// What pages gain from scripts: dialogs, keys, local times, and news without a reload. Every page works without it.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/* Theme */
$("#theme")?.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("tenure-theme", root.dataset.theme);
  } catch (error) {
    // Kept for this page only.
  }
});

/* On a phone the rail lies below and is wider than the screen: where one is has to be in sight. */
$(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

/* Times: the server writes UTC; a person reads their own. The width stays, since digits have one width. */
const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const stampFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });

function ago(then) {
  const seconds = (Date.now() - then) / 1000;
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  const days = Math.floor(seconds / 86400);
  return days === 1 ? "yesterday" : `${days} days ago`;
}

function tellTimes(root) {
  for (const node of $$("time[datetime]", root)) {
    const then = Date.parse(node.getAttribute("datetime"));
    if (Number.isNaN(then)) continue;
    const text = "ago" in node.dataset ? ago(then) : "clock" in node.dataset ? clockFormat.format(then) : stampFormat.format(then);
    if (node.textContent !== text) node.textContent = text;
  }
}
tellTimes(document);
setInterval(() => tellTimes(document), 15000);

/* The address bar never keeps a notice that was already read. */
if (new URLSearchParams(location.search).has("done")) history.replaceState(null, "", location.pathname);

/* Dialogs */
const dialog = $("#dialog");
document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id === "dialog-body") {
    if (!dialog.open) dialog.showModal();
    $("[autofocus]", dialog)?.focus();
  }
  tellTimes(event.detail.target);
});
document.body.addEventListener("htmx:beforeSwap", (event) => {
  // A refusal is a page of its own: show it whole instead of inside a piece.
  if (event.detail.xhr.status === 401) location.reload();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("[data-close]")) {
    event.preventDefault();
    dialog.close();
  }
});
$("#help")?.addEventListener("click", (event) => {
  event.preventDefault();
  help();
});
function help() {
  htmx.ajax("GET", "/keys", { target: "#dialog-body", swap: "innerHTML" });
}

/* The feed: one connection, only while the page is seen (a browser allows six per site, over all tabs). The browser
   itself goes on after the last number when a connection breaks; ``query`` says where to begin one that it gave up. */
function listen(query, hear, onState = () => {}) {
  let source = null;
  let pause = 250;
  const open = () => {
    if (source || document.hidden) return;
    const asked = new URLSearchParams(Object.entries(query()).filter(([, value]) => value));
    source = new EventSource(`/v1/feed?${asked}`);
    source.onopen = () => {
      pause = 250;
      onState("on");
    };
    for (const name of ["message", "at"]) source.addEventListener(name, hear);
    source.onerror = () => {
      onState("off");
      if (source?.readyState === EventSource.CLOSED) {
        close();
        setTimeout(open, pause);
        pause = Math.min(2 * pause, 5000);
      }
    };
  };
  const close = () => {
    source?.close();
    source = null;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}

const isBusy = () => dialog.open || Boolean($("[data-approval] details[open] form") || document.activeElement?.closest("[data-approval] form, .filters select"));

if ("news" in document.body.dataset) {
  const news = () => isBusy() || htmx.trigger(document.body, "tenure:news");
  let lost = false; // what came meanwhile was not heard
  listen(() => ({ news: "true" }), news, (state) => {
    if (lost && state === "on") news();
    lost = state === "off";
  });
}

/* What waits for a person: asked for anew every few seconds on every page, while the page is seen. */
async function renew(box) {
  if (document.hidden || box.contains(document.activeElement)) return;
  try {
    const answer = await fetch(box.dataset.renew, { headers: { "HX-Request": "true" } });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) return;
    const fresh = document.createElement("div");
    fresh.innerHTML = await answer.text();
    if (fresh.innerHTML.trim() !== box.innerHTML.trim()) box.innerHTML = fresh.innerHTML;
  } catch (error) {
    // Asked again in a moment.
  }
}
const renewAll = () => $$("[data-renew]").forEach(renew);
const RENEW_MS = 4000;
setInterval(renewAll, RENEW_MS);
document.addEventListener("visibilitychange", renewAll);
document.body.addEventListener("tenure:news", renewAll);

for (const select of $$("[data-submit]")) select.addEventListener("change", () => select.form.requestSubmit());

/* Approvals: a and r choose what Enter will do; nothing is decided by one key. */
let chosen = null;
const cards = () => $$("[data-approval]");
function choose(card) {
  if (!card) return;
  for (const other of cards()) other.classList.toggle("chosen", other === card);
  chosen = card.id;
  card.scrollIntoView({ block: "nearest" });
  card.focus({ preventScroll: true });
}
function arm(decision) {
  const list = cards();
  const card = list.find((one) => one.id === chosen) || list[0];
  if (!card) return false;
  choose(card);
  const form = $("form", card);
  form.dataset.armed = decision;
  $("[name=reason]", form).focus();
  const note = $(".armed", card);
  note.hidden = false;
  const count = $$("[type=checkbox]:checked", form).length;
  const what = form.matches(".batch") ? `the ${count} ticked` : "this call";
  note.textContent = decision === "approve" ? `Enter approves ${what}. Esc goes back.` : `Enter rejects ${what}. Esc goes back.`;
  return true;
}
function disarm(form) {
  delete form.dataset.armed;
  $(".armed", form.parentElement).hidden = true;
}
document.addEventListener("keydown", (event) => {
  const form = event.target.closest?.("[data-approval] form");
  if (!form || event.target.name !== "reason") return;
  if (event.key === "Enter") {
    event.preventDefault(); // Enter alone would press the first button, whatever the person meant
    if (form.dataset.armed) form.requestSubmit($(`[value=${form.dataset.armed}]`, form));
  } else if (event.key === "Escape") {
    disarm(form);
    form.parentElement.focus();
  }
});
/* What is ticked stays as it was; a call that appears by itself is not ticked, so that nobody approves it unseen. */
const ticks = new Map();
document.body.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id !== "approvals") return;
  for (const box of $$("[type=checkbox]", event.detail.target)) ticks.set(box.name, box.checked);
});
document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id !== "approvals") return;
  for (const box of $$("[type=checkbox]", event.detail.target)) box.checked = ticks.get(box.name) ?? false;
  if (chosen) document.getElementById(chosen)?.classList.add("chosen");
});

/* Keys */
const PLACES = { f: "/", l: "/live", a: "/approvals", o: "/tools", t: "/traces", u: "/audit", p: "/policies" };
let going = 0;
function move(by) {
  const list = cards().length ? cards() : $$(".table tbody tr").concat($$(".wf > summary"));
  if (!list.length) return;
  if (cards().length) {
    const at = list.findIndex((card) => card.id === chosen);
    choose(list[Math.min(Math.max(at + by, 0), list.length - 1)]);
    return;
  }
  const at = list.findIndex((one) => one.contains(document.activeElement));
  const next = list[Math.min(Math.max(at + by, 0), list.length - 1)];
  (next.matches("summary") ? next : $("a", next))?.focus();
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, dialog")) return;
  const key = event.key;
  if (Date.now() - going < 1200 && PLACES[key]) {
    going = 0;
    location.href = PLACES[key];
  } else if (key === "g") going = Date.now();
  else if (key === "?") help();
  else if (key === "/") {
    const search = $("[data-search]");
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  } else if (key === "j" || key === "k") move(key === "j" ? 1 : -1);
  else if ((key === "a" || key === "r") && cards().length) {
    event.preventDefault();
    arm(key === "a" ? "approve" : "reject");
  } else if (key === "p" && window.tenurePause) window.tenurePause();
});

/* A long trace: only the rows near what is seen are in the page. A piece out of sight keeps its height and nothing else,
   unless something in it is open. */
const fall = $("[data-window]");
if (fall) {
  const { window: address, q } = fall.dataset;
  const [total, start, piece] = ["total", "start", "piece"].map((name) => Number(fall.dataset[name]));
  const shown = [...fall.children];
  const height = fall.offsetHeight / shown.length;
  const wanted = new Set();
  const close = new Set(); // pieces that are in sight or near it
  let loading = false;
  const pieces = Array.from({ length: Math.ceil(total / piece) }, (_, number) => {
    const box = document.createElement("div");
    const here = shown.slice(Math.max(0, number * piece - start), Math.max(0, (number + 1) * piece - start));
    box.className = "wf-piece";
    box.append(...here);
    if (!here.length) box.style.height = `${height * Math.min(piece, total - number * piece)}px`;
    return box;
  });
  const fill = async () => {
    if (loading) return;
    loading = true;
    while (wanted.size) {
      const number = [...wanted].at(-1); // the newest: what was passed in flight is not asked for
      wanted.delete(number);
      try {
        const query = new URLSearchParams({ start: number * piece, q });
        const answer = await fetch(`${address}?${query}`, { headers: { "HX-Request": "true" } });
        if (answer.status === 401) return location.reload();
        if (!answer.ok) break;
        const text = await answer.text();
        await new Promise(requestAnimationFrame); // one piece a frame
        if (!close.has(number)) continue; // it was passed meanwhile
        pieces[number].innerHTML = text;
        pieces[number].style.height = "";
        tellTimes(pieces[number]);
      } catch (error) {
        break; // asked for again when it comes into sight again
      }
    }
    loading = false;
  };
  const near = new IntersectionObserver((entries) => {
    const gone = [];
    for (const { target, isIntersecting, boundingClientRect } of entries) {
      const number = pieces.indexOf(target);
      if (isIntersecting) {
        close.add(number);
        if (!target.children.length) wanted.add(number);
      } else {
        close.delete(number);
        wanted.delete(number);
        const kept = !target.children.length || $("[open]", target) || target.contains(document.activeElement);
        if (!kept) gone.push([target, boundingClientRect.height]);
      }
    }
    // The heights are those that the observer measured: to ask for one after a change would lay the page out each time.
    for (const [target, tall] of gone) {
      target.style.height = `${tall}px`;
      target.replaceChildren();
    }
    fill();
  }, { rootMargin: "1600px 0px" });
  fall.replaceChildren(...pieces);
  if (start) pieces[start / piece].scrollIntoView();
  pieces.forEach((box) => near.observe(box));
}

/* A link to a span opens it. */
const target = location.hash.startsWith("#s-") && document.getElementById(location.hash.slice(1));
if (target) {
  target.open = true;
  target.scrollIntoView({ block: "center" });
}
