"""What attaching a secret costs a call: ``python bench/keychain.py [--rounds 9]``.

In turn, so that the machine's noise meets all: looking up the secret of a model among a thousand of them, reading a
variable out of a dict as gateways did before, and making the request's head, beside which both are nothing. Prints the
medians in nanoseconds and writes bench/results/<date>-keychain.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.machine import machine  # noqa: E402 (after the path that finds it)
from tenure.gateway.keychain import Keychain  # noqa: E402 (as above)
from tenure.kernel.snapshot import SecretFact  # noqa: E402 (as above)

_CALLS = 100_000
_URL = "https://api.example.com/v1"


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter_ns()
    for _ in range(_CALLS):
        work()
    return (time.perf_counter_ns() - begun) / _CALLS


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What attaching a secret costs a call.")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    purse = Keychain({}, {})
    purse.take(
        {f"default/s{n}": SecretFact(1, f"m{n}", ("api.example.com",)) for n in range(1000)},
        {f"m{n}": f"value {n}" for n in range(1000)},
    )
    environ = {f"KEY{n}": f"value {n}" for n in range(1000)}
    headers = [("accept", "application/json"), ("content-type", "application/json"), ("accept-encoding", "identity")]
    ways: dict[str, Callable[[], object]] = {
        "secret": lambda: purse.to_send("default", "s500", None, _URL),
        "variable_of_a_dict": lambda: environ.get("KEY500", "").strip(),
        "head_of_a_request": lambda: "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1"),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, work in ways.items():
            found[name].append(_timed(work))
    medians = {name: round(statistics.median(times), 1) for name, times in found.items()}
    print(json.dumps(medians))
    today = datetime.now(UTC).date().isoformat()
    report = {"date": today, "machine": machine(), "secrets": 1000, "rounds": given.rounds, "nanoseconds": medians}
    (ROOT / "bench" / "results" / f"{today}-keychain.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
