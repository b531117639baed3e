"""How long a revoked credential is still good for: ``python bench/revocation.py [--trials 1000]``, some minutes.

Three gateway processes of one installation on this machine. In each trial a new instance of an agent asks all of them,
over and over; then its credential is revoked. What counts is the time from the moment at which the request to revoke is
sent until each gateway has refused a call for the first time (the last of them is the trial's figure), and how many
calls that began after the answer to it were admitted (none may be). The third gateway is stopped and started again all
the while; it counts in the trials in which it serves. ``--against CHECKOUT`` measures another checkout of Tenure in
turn with this one, a trial each. Writes bench/results/<date>-revocation.md and .json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.machine import machine  # noqa: E402 (after the path that finds it)
from tenure.client import Client  # noqa: E402 (as above)
from tests.sim.revocations import House, house  # noqa: E402 (as above)

_PAUSE_S = 0.002
_GIVE_UP_S = 30.0
_UP_S = 2.0


@dataclass
class Asker:
    """Asks one gateway with one token until it is refused. Times are monotonic seconds."""

    url: str
    token: str
    admitted: list[tuple[float, float]] = field(default_factory=list)
    refused: float | None = None
    down: bool = False

    async def run(self, ready: asyncio.Event) -> None:
        """Ends with the first refusal, or when the gateway is not there."""
        parts = urlsplit(self.url)
        head = f"GET /v1/models HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {self.token}\r\n\r\n".encode()
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            while True:
                begun = time.monotonic()
                writer.write(head)
                answer = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.partition(b":")[2]))
                if answer.startswith(b"HTTP/1.1 401"):
                    self.refused = time.monotonic()
                    break
                if not answer.startswith(b"HTTP/1.1 200"):
                    self.down = True  # it has no facts yet
                    break
                self.admitted.append((begun, time.monotonic()))
                ready.set()
                await asyncio.sleep(_PAUSE_S)
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            self.down = True
        ready.set()


async def _trial(house: House, client: Client, kind: str) -> dict[str, Any]:
    started = await asyncio.to_thread(client.post, "/v1/agents/clerk/instances", dict[str, Any], {})
    askers = [Asker(url, started["token"]) for url in house.urls]
    ready = [asyncio.Event() for _ in askers]
    tasks = [asyncio.create_task(asker.run(event)) for asker, event in zip(askers, ready, strict=True)]
    await asyncio.gather(*(event.wait() for event in ready))
    wish = {"kind": kind, "subject": started["instance" if kind == "instance" else "agent"], "reason": "a measurement"}
    sent = time.monotonic()
    told = await asyncio.to_thread(client.post, "/v1/revocations", dict[str, Any], wish)
    answered = time.monotonic()
    async with asyncio.timeout(_GIVE_UP_S):
        await asyncio.gather(*tasks)
    up = [asker for asker in askers if asker.refused is not None]
    return {
        "refused_ms": [round(((asker.refused or 0.0) - sent) * 1000, 2) for asker in up],
        "answered_ms": round((answered - sent) * 1000, 2),
        "complete": told["settled"]["complete"],
        "gateways": len(up),
        "late": sum(begun > answered for asker in askers for begun, _ in asker.admitted),
    }


def _restarts(houses: list[House], stop: threading.Event, count: list[int]) -> None:
    """Stops the third gateway of each and starts it again, over and over."""
    while True:
        for one in houses:
            if stop.wait(_UP_S):
                return
            name = list(one.further)[-1]
            one.further[name].stop()
            one.gateway(name)
            count[0] += 1


async def _run(houses: list[House], trials: int) -> list[list[dict[str, Any]]]:
    """The trials of each, in turn."""
    out: list[list[dict[str, Any]]] = [[] for _ in houses]
    with ExitStack() as stack:
        clients = [stack.enter_context(one.tenure.client()) for one in houses]
        for number in range(trials):
            for one, client, results in zip(houses, clients, out, strict=True):
                results.append(await _trial(one, client, "agent" if number % 2 else "instance"))
            if number % 100 == 99:
                print(f"{number + 1} trials", flush=True)
    return out


@contextmanager
def _houses(folder: Path, against: Path | None) -> Iterator[list[House]]:
    """This checkout's, and the other one's."""
    with ExitStack() as stack:
        found = [stack.enter_context(house(folder / "this"))]
        if against is not None:
            path = {"PYTHONPATH": f"{against / 'src'}:{against}"}
            found.append(stack.enter_context(house(folder / "other", variables=path, env=path)))
        for one in found:
            one.employ("clerk")
        yield found


def _share(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report(results: list[dict[str, Any]], restarts: int) -> dict[str, Any]:
    """The figures, in milliseconds."""
    last = [max(one["refused_ms"]) for one in results if one["refused_ms"]]
    each = [value for one in results for value in one["refused_ms"]]
    answers = [one["answered_ms"] for one in results]
    figures = {
        name: {"p50": _share(values, 0.5), "p99": _share(values, 0.99), "max": max(values)}
        for name, values in (("last gateway refuses", last), ("each gateway refuses", each), ("answer", answers))
    }
    return {
        "trials": len(results),
        "restarts": restarts,
        "with_three_gateways": sum(one["gateways"] == 3 for one in results),
        "incomplete_answers": sum(not one["complete"] for one in results),
        "admitted_after_the_answer": sum(one["late"] for one in results),
        "ms": figures,
    }


def _rows(found: dict[str, Any]) -> str:
    return "\n".join(
        f"| {name} | {value['p50']:.1f} | {value['p99']:.1f} | {value['max']:.1f} |"
        for name, value in found["ms"].items()
    )


def _page(found: dict[str, Any], today: str) -> str:
    about = found["machine"]
    other = found.get("against")
    before = (
        ""
        if other is None
        else f"""
The checkout before, a trial in turn with each of these:

| until | p50 | p99 | max |
|---|---|---|---|
{_rows(other)}
"""
    )
    return f"""# Revocation, {today}

{found["trials"]} trials over three gateways on one machine ({about["cores"]} cores, {about["model"]}), the third of
which was restarted {found["restarts"]} times meanwhile ({found["with_three_gateways"]} trials had all three).
The load of the machine over five minutes was {found["load"]:.1f}, of this and of whatever else ran.
Milliseconds from the moment at which the request to revoke was sent. Made by `python bench/revocation.py`.

| until | p50 | p99 | max |
|---|---|---|---|
{_rows(found)}

Calls that began after the answer and were admitted: {found["admitted_after_the_answer"]}. Answers that could
not wait for every gateway: {found["incomplete_answers"]}.
{before}"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How long a revoked credential is still good for.")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--against", type=Path, help="another checkout of Tenure, measured in turn with this one")
    parser.add_argument("--dry", action="store_true", help="print the figures and write no file")
    given = parser.parse_args()
    stop, count = threading.Event(), [0]
    with (
        tempfile.TemporaryDirectory(prefix="tenure-revocation-") as folder,
        _houses(Path(folder), given.against and given.against.resolve()) as found,
    ):
        restarting = threading.Thread(target=_restarts, args=(found, stop, count), daemon=True)
        restarting.start()
        try:
            results = asyncio.run(_run(found, given.trials))
        finally:
            stop.set()
            restarting.join(30)
    today = datetime.now(UTC).date().isoformat()
    restarts = count[0] // len(found)
    figures = {"date": today, "machine": machine(), "load": os.getloadavg()[1], **report(results[0], restarts)}
    if given.against is not None:
        figures["against"] = report(results[1], restarts)
    print(json.dumps(figures, indent=2))
    if not given.dry:
        base = ROOT / "bench" / "results" / f"{today}-revocation"
        base.with_suffix(".json").write_text(json.dumps({**figures, "results": results[0]}) + "\n")
        base.with_suffix(".md").write_text(_page(figures, today))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
