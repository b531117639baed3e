"""How long an action takes to reach an open page: ``python -m bench.feed [--rate 1000] [--seconds 20] [--gateways 1]``.

Real gateways, a real control plane, a model provider that answers at once, agents that call it at a steady rate, and a
real Chromium with the live page open behind a relay that can break its connections. For every Event: when the gateway
recorded it, when it was on the gateway's disk, sent, arrived at the control plane, scanned, committed, made into a line
of the feed, received by the page, painted. Each case prints the percentiles of each hop and of the whole way, how many
Events the page never got or got twice, and whether any agent's came out of order:

- ``quiet``: 20 calls a second; ``steady``: ``--rate``; ``slow store``: as steady, and every batch that the trace store
  takes is half a second slower; ``reconnects``: as steady, and every connection of the browser is broken every 2 s.

Everything runs on this machine, load and browser included. Writes bench/results/<date>-feed.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import psutil
from playwright.sync_api import Browser, Page

from bench.gateway.provider import MODEL
from bench.machine import machine
from demo.processes import Process, free_port, until
from tenure.app.server import COOKIE
from tests.sim.browser import launched
from tests.sim.installation import Installation
from tests.sim.manifests import manifest

ROOT = Path(__file__).resolve().parents[2]
HOPS = ("recorded", "durable", "sent", "arrived", "scanned", "committed", "told", "received", "painted")
AGENTS = 20
_GOAL_MS = 250.0
_QUIET_RATE = 20
_BREAK_S = 2.0
_SETTLED_S = 5.0


class Marked(Installation):
    """An installation whose control plane and gateways note when Events pass, in ``marks``."""

    def __init__(self, folder: Path, gateways: int, settings: dict[str, str]) -> None:
        super().__init__(
            folder, {"PROVIDER_KEY": "k", "TENURE_ENV_CREDENTIALS": "PROVIDER_KEY=127.0.0.1:*", **settings}
        )
        self.marks = folder / "marks"
        self.gateways = [self.gateway_port, *(free_port(0) for _ in range(gateways - 1))]
        self._started: list[Process] = []
        self.code = ""

    def start(self) -> Process:
        """Starts them and waits until they are ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.up = self._child("control", self.env)
        self.code = next(line.split()[-1] for line in self.up.lines if line.startswith("control ready"))
        for number, port in enumerate(self.gateways):
            home = self.folder if number == 0 else self.folder.with_name(f"gateway-{number}")
            if number:
                home.mkdir()
                shutil.copy(self.folder / "gateway.token", home / "gateway.token")
            self._child("gateway", {**self.env, "TENURE_DATA": str(home), "TENURE_GATEWAY_PORT": str(port)})
        return self.up

    def _child(self, kind: str, env: dict[str, str]) -> Process:
        child = Process((sys.executable, "-m", "bench.feed.marked", kind, str(self.marks)), env)
        self._started.append(child)
        until(lambda: any(f"{kind} ready" in line for line in child.lines) or child.status() is not None, kind, 60)
        assert child.status() is None, "\n".join(child.lines)
        return child

    def cpu_s(self) -> dict[str, float]:
        """Seconds of CPU that the control plane, the gateways, the browser, and what measures them have taken."""
        browser = [one for one in psutil.Process().children(recursive=True) if "chrom" in one.name()]
        started = [psutil.Process(child.pid) for child in self._started]
        provider = [one for one in psutil.Process().children() if "bench.gateway.provider" in one.cmdline()]
        parts = {"control plane": started[:1], "gateways": started[1:], "browser": browser}
        parts |= {"the provider": provider, "the relay": [psutil.Process()]}
        return {name: sum(sum(one.cpu_times()[:2]) for one in those) for name, those in parts.items()}

    def stop(self) -> None:
        """Ends them, gateways first."""
        for child in reversed(self._started):
            child.stop()


class Relay:
    """A TCP relay to ``port`` whose connections can all be broken off."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        opened = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self.port = int(opened.result().sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            self._writers |= {writer, back}
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
            self._writers -= {writer, back}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.close()

    def cut(self) -> None:
        """Breaks every connection off."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for one in self._writers:
            one.transport.abort()


@contextmanager
def installation(
    folder: Path, gateways: int, settings: dict[str, str]
) -> Iterator[tuple[Marked, list[dict[str, Any]]]]:
    """A running installation and the lines of its load."""
    with ExitStack() as stack:
        provider = Process((sys.executable, "-m", "bench.gateway.provider"), dict(os.environ))
        stack.callback(provider.stop)
        until(lambda: bool(provider.lines), "the provider")
        address = f"http://127.0.0.1:{provider.lines[0].split()[1]}/v1"
        tenure = stack.enter_context(Marked(folder, gateways, settings))
        model = {"provider": "openai", "name": MODEL, "base_url": address, "credential_env": "PROVIDER_KEY"}
        lines = []
        for number in range(AGENTS):
            tenure.employ(manifest(f"agent-{number:02}", address, model=model))
            token = tenure.instance(f"agent-{number:02}")["token"]
            lines.append({"port": tenure.gateways[number % gateways], "token": token})
        yield tenure, lines


def opened(tenure: Marked, browser: Browser, port: int) -> Page:
    """The live page, connected, for the first operator."""
    answer = httpx2.post(f"{tenure.control}/v1/login", json={"code": tenure.code}, trust_env=False)
    url = f"http://127.0.0.1:{port}"
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    context.add_cookies([{"name": COOKIE, "value": str(answer.cookies[COOKIE]), "url": url}])
    page = context.new_page()
    page.add_init_script(path=Path(__file__).with_name("page.js"))
    page.goto(f"{url}/live")
    page.locator("#pulse-word:text-is('live')").wait_for()
    return page


def measure(folder: Path, browser: Browser, case: str, given: argparse.Namespace) -> dict[str, Any]:
    """One case."""
    rate, gateways = min(_QUIET_RATE, given.rate) if case == "quiet" else given.rate, given.gateways
    settings = {"BENCH_SLOW_STORE": "0.5"} if case == "slow store" else {}
    with installation(folder / case.replace(" ", "-"), gateways, settings) as (tenure, lines):
        relay = Relay(tenure.control_port)
        page = opened(tenure, browser, relay.port)
        load = subprocess.Popen(
            [sys.executable, "-m", "bench.feed.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert load.stdin is not None
        assert load.stdout is not None
        load.stdin.write(json.dumps({"lines": lines, "rate": rate, "seconds": given.seconds}) + "\n")
        load.stdin.flush()
        before = tenure.cpu_s()
        while load.poll() is None:
            page.wait_for_timeout(1000 * _BREAK_S)
            if case == "reconnects":
                relay.cut()
        told = json.loads(load.stdout.read())
        after, own = tenure.cpu_s(), {"the load": told.pop("cpu_us")}
        told["cpu_us"] = {name: round(1e6 * (after[name] - before[name]) / told["calls"]) for name in before} | own
        page.wait_for_timeout(1000 * _SETTLED_S)
        _until_quiet(page)
        seen = page.evaluate("window.feedSeen")
        page.context.close()
    return {"case": case, "rate": rate, "load": told} | summary(tenure.marks, seen)


def _until_quiet(page: Page, within: float = 120.0) -> None:
    """Returns when the page has got nothing new for a while."""
    end, before = time.monotonic() + within, -1
    while time.monotonic() < end:
        count = page.evaluate("window.feedSeen.received.length + window.feedSeen.painted.length")
        if count == before:
            return
        before = count
        page.wait_for_timeout(2000)


def summary(marks: Path, seen: dict[str, Any]) -> dict[str, Any]:
    """Percentiles of each hop in ms, and what was lost, told twice or out of order."""
    passed: dict[str, dict[str, float]] = {hop: {} for hop in HOPS}
    order: list[str] = []
    for line in marks.read_text().splitlines():
        hop, at, ident = line.split()
        if hop == "recorded":
            order.append(ident)
        if hop in passed:
            passed[hop].setdefault(ident, float(at))
    by_seq = {}
    agents: dict[str, str] = {}
    for at, ident, seq, agent in seen["received"]:
        passed["received"].setdefault(ident, at)
        by_seq[seq] = ident
        agents[ident] = agent
    for seq, seen_at in shown(seen["painted"], sorted(by_seq)):
        passed["painted"].setdefault(by_seq[seq], seen_at)
    rows = {seq for _, seq in seen["painted"]}
    calls = [ident for ident in order if ident in agents]
    got = [ident for _, ident, _, _ in seen["received"] if ident in passed["recorded"]]
    hops = {}
    for before, hop in pairwise(HOPS):
        hops[hop] = spread([passed[hop][one] - passed[before][one] for one in calls if _both(passed, before, hop, one)])
    whole = [passed["painted"][one] - passed["recorded"][one] for one in calls if one in passed["painted"]]
    arrived = [passed["received"][one] - passed["recorded"][one] for one in calls]
    return {
        "events": len(order),
        "lost": len(set(order) - set(got)),
        "twice": len(got) - len(set(got)),
        "out_of_order": out_of_order(order, got, agents),
        "never_shown": len(calls) - len(whole),
        "never_painted": len(by_seq.keys() - rows),
        "ms": {"to the page": spread(arrived), "to the eye": spread(whole), **hops},
        "long_tasks": len(seen["long"]),
        "longest_task_ms": round(max(seen["long"], default=0)),
    }


def shown(painted: list[tuple[float, int]], numbers: list[int]) -> list[tuple[int, float]]:
    """When the picture was first of a time after each Event: a row of it, or of a newer one, was painted. (Rows that
    are below the screen as they come are made later, or never when still newer ones take their place.)"""
    out, told = [], 0
    for at, seq in sorted(painted):
        while told < len(numbers) and numbers[told] <= seq:
            out.append((numbers[told], at))
            told += 1
    return out


def _both(passed: dict[str, dict[str, float]], before: str, hop: str, one: str) -> bool:
    return one in passed[before] and one in passed[hop]


def out_of_order(told: list[str], got: list[str], agents: dict[str, str]) -> int:
    """How many Events of an agent came to the page before one that its gateway had recorded earlier."""
    place = {ident: at for at, ident in enumerate(told)}
    last: dict[str, int] = {}
    wrong = 0
    for ident in dict.fromkeys(got):
        agent = agents[ident]
        wrong += place[ident] < last.get(agent, -1)
        last[agent] = max(place[ident], last.get(agent, -1))
    return wrong


def spread(seconds: list[float]) -> dict[str, float]:
    """p50, p90, p99 and maximum in milliseconds."""
    ordered = sorted(seconds) or [float("nan")]
    at = {f"p{share}": ordered[min(len(ordered) * share // 100, len(ordered) - 1)] for share in (50, 90, 99)}
    return {name: round(1000 * value, 1) for name, value in {**at, "max": ordered[-1]}.items()}


def page_of(report: dict[str, Any]) -> str:
    """What people read."""
    parts = [
        f"# From the action to the eye, {report['date']}\n",
        (
            f"{report['machine']['model']}, {report['machine']['cores']} cores, load average "
            f"{report['load_average']:.1f} at the end; load, provider, {report['gateways']} gateway(s), control plane "
            f"and Chromium all on it. {AGENTS} agents. Goal: {_GOAL_MS:.0f} ms at p99.\n"
        ),
    ]
    for one in report["cases"]:
        whole, load = one["ms"]["to the eye"], one["load"]
        goal = "met" if whole["p99"] <= _GOAL_MS else "missed"
        parts.append(
            f"## {one['case']}, {one['rate']:g} calls a second: p99 {whole['p99']} ms, {goal}\n\n"
            f"{one['events']} Events; {one['lost']} lost, {one['twice']} twice, {one['out_of_order']} out of order; "
            f"{one['never_shown']} never came into the picture; {one['never_painted']} got no row because newer ones "
            f"filled the screen. {load['missed']} "
            f"calls were not made in time, {load['failed']} failed; a call took {load['call_ms']['p50']} ms "
            f"(p99 {load['call_ms']['p99']}). CPU for each call, in microseconds: "
            f"{', '.join(f'{name} {value}' for name, value in load['cpu_us'].items())}. "
            f"{one['long_tasks']} long tasks in the page, the longest {one['longest_task_ms']} ms.\n"
        )
        rows = "\n".join(
            f"| {name} | {row['p50']} | {row['p90']} | {row['p99']} | {row['max']} |" for name, row in one["ms"].items()
        )
        parts.append(f"| Milliseconds | p50 | p90 | p99 | max |\n|---|---|---|---|---|\n{rows}\n")
    return "\n".join(parts) + f"\n`{report['command']}`\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.feed", description="From the action to the eye.")
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--only", default="quiet,steady,slow store,reconnects")
    parser.add_argument("--dry", action="store_true", help="print and write nothing")
    given = parser.parse_args()
    cases = []
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        for case in given.only.split(","):
            cases.append(measure(Path(folder), browser, case, given))
            print(json.dumps(cases[-1]), file=sys.stderr, flush=True)
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load_average": os.getloadavg()[0],
        "gateways": given.gateways,
        "command": f"python -m bench.feed --rate {given.rate:g} --seconds {given.seconds:g} "
        f"--gateways {given.gateways}",
        "cases": cases,
    }
    print(page_of(report))
    if not given.dry:
        name = ROOT / "bench" / "results" / f"{report['date']}-feed"
        name.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
        name.with_suffix(".md").write_text(page_of(report))


if __name__ == "__main__":
    main()
