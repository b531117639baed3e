"""How a trace of 10,000 spans opens and scrolls in Chromium: ``python -m bench.trace_page``.

A control plane in this process, 10,000 calls in one trace (a fifth of models), one Chromium. For a trace of 100 spans
and for the long one: milliseconds from asking to the first byte and to the first paint, and bytes of the page. Then the
long one is scrolled from its first row to its last in steps of 1,200 pixels, one each frame, and back with one jump:
tasks of the page that took 50 ms or more (the Performance API's long tasks), the longest of them, and the most rows in
the page at once. Prints them and writes bench/results/<date>-trace-page.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page

from bench.machine import machine
from tenure.app.server import COOKIE
from tenure.base.clock import system_clock
from tenure.kernel.ids import session_trace
from tests.sim.browser import launched
from tests.sim.console import Console, running
from tests.sim.telemetry import chat, tool_call

ROOT = Path(__file__).resolve().parents[1]
SPANS = 10_000
_WATCH = """() => { window.long = []; new PerformanceObserver((list) => { for (const entry of list.getEntries())
 window.long.push(entry.duration); }).observe({ type: "longtask", buffered: true }); }"""
_SCROLL = """async () => { window.long = []; let most = 0; let frames = 0; const began = performance.now();
 while (scrollY + innerHeight < document.documentElement.scrollHeight - 4) { scrollBy(0, 1200); frames += 1;
  await new Promise(requestAnimationFrame); most = Math.max(most, document.querySelectorAll(".wf").length); }
 return { frames, most, ms: performance.now() - began, long: window.long }; }"""
_JUMP = """async () => { window.long = []; const began = performance.now(); scrollTo(0, 0);
 while (!document.querySelector(".wf-piece:first-child > *")) await new Promise(requestAnimationFrame);
 return { ms: performance.now() - began, long: window.long }; }"""
_OPENED = """() => { const it = performance.getEntriesByType("navigation")[0];
 const paint = performance.getEntriesByName("first-contentful-paint")[0];
 return { first_byte_ms: it.responseStart, first_paint_ms: paint ? paint.startTime : null,
          loaded_ms: it.loadEventEnd, bytes: it.decodedBodySize, rows: document.querySelectorAll(".wf").length }; }"""


def fill(console: Console, session: str, count: int) -> str:
    """A trace of so many calls; returns its id."""
    began = system_clock() - timedelta(seconds=3000)
    events = []
    for number in range(count):
        at = began + timedelta(milliseconds=200 * number)
        said = [{"role": "assistant", "parts": [{"type": "text", "content": f"I read file {number}."}]}]
        told = {"gen_ai.tool.call.arguments": {"path": f"{number}.txt"}, "gen_ai.tool.call.result": "x" * 200}
        model = chat(at, session=session, data={"gen_ai.output.messages": said})
        events.append(tool_call(at, "files/read_file", session=session, data=told) if number % 5 else model)
    for start in range(0, count, 500):
        console.send(*events[start : start + 500])
    return session_trace("default", session)[0]


def opened(page: Page, address: str) -> dict[str, Any]:
    """What it took to open a page."""
    page.goto(address)
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    found: dict[str, Any] = page.evaluate(_OPENED)
    return found


def measure(console: Console, context: BrowserContext) -> dict[str, Any]:
    """Opens both traces and scrolls through the long one."""
    short, long = fill(console, "short", 100), fill(console, "long", SPANS)
    page = context.new_page()
    page.goto(f"{console.url}/traces")  # styles and scripts are kept from here on
    report: dict[str, Any] = {"short": opened(page, f"{console.url}/traces/{short}")}
    report["long"] = opened(page, f"{console.url}/traces/{long}")
    page.evaluate(_WATCH)
    page.locator("[data-window]").scroll_into_view_if_needed()
    report["scroll"], report["jump"] = page.evaluate(_SCROLL), page.evaluate(_JUMP)
    for part in (report["scroll"], report["jump"]):
        tasks = part.pop("long")
        part |= {"long_tasks": len(tasks), "longest_ms": max(tasks, default=0)}
    return report


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.trace_page", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="print and write nothing")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as console, launched() as browser:
        context = browser.new_context(viewport={"width": 1360, "height": 900})
        context.add_cookies([{"name": COOKIE, "value": console.cookie(), "url": console.url}])
        found = measure(console, context)
    report = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "spans": SPANS}
    report |= {"load_average": os.getloadavg()[0]} | found  # what else the machine did: the figures are its as well
    print(json.dumps(report, indent=2))
    if not given.dry:
        path = ROOT / "bench" / "results" / f"{report['date']}-trace-page.json"
        path.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
