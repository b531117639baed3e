"""How long a switched-off tool is still called: ``python bench/tool_switch.py [--runs 5]``.

Three gateway processes are kept busy with one tool while it is switched off for all agents; what counts is when the
server behind them saw its last call, from the moment at which the command was acknowledged. Prints each run and writes
bench/results/<date>-tool-switch.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.machine import machine  # noqa: E402 (after the path that finds it)
from tests.sim.drill import drill  # noqa: E402 (as above)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How long a switched-off tool is still called.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--before", type=float, default=3.0, help="seconds of load before the command")
    given = parser.parse_args()
    runs = []
    for _ in range(given.runs):
        with tempfile.TemporaryDirectory(prefix="tenure-switch-") as folder:
            runs.append(asdict(drill(Path(folder), before_s=given.before, after_s=2.0)))
        print(json.dumps(runs[-1]))
    today = datetime.now(UTC).date().isoformat()
    report = {"date": today, "machine": machine(), "gateways": 3, "runs": runs}
    (ROOT / "bench" / "results" / f"{today}-tool-switch.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
