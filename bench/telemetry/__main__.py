"""What the trace store does with a fleet's spans: ``python -m bench.telemetry --spans N``.

1,000 agents over 30 days (``spans.py``), written by the store's own way of writing: facts apart from content, content
compressed and sealed under its subject's key, one transaction for each batch of the pump's size, the file synced when
it ends. A span is durable when ``add`` returns; ``durable_per_s`` is spans over the time spent there, while another
thread reads without pause: traces, an agent's newest Events, the tools of all agents. ``slowest_tenth_per_s`` is the
same of the slowest tenth of the run. What makes the spans is not counted.

With ``--written M`` so many are written like that, the first ones, and the rest is made of them in SQL
(``multiply.py``): for figures of asking, in minutes instead of an hour. The report says so.

Then the store is closed and opened by another process, which alone counts for ``open`` figures, and asked in turn:
traces by id (another each time), the fleet's figures over 30 days, the tools of all agents, the text of content.
``peak_mib`` is the most resident memory (VmHWM) of each process, the benchmark's own parts with it.

Last, a control plane and a gateway that nobody uses. Prints all, writes bench/results/<date>-telemetry.*.

``--beside`` does something else: the same spans to Tenure, Phoenix and MLflow, as ``beside.py`` says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import machine
from bench.telemetry import beside, beside_report
from bench.telemetry.doors import DOORS, is_here
from bench.telemetry.report import goals, markdown

ROOT = Path(__file__).resolve().parents[2]


def part(name: str, *arguments: str) -> dict[str, Any]:
    """The figures of one part, which runs in a process of its own: its memory is nobody else's."""
    command = [sys.executable, "-m", f"bench.telemetry.{name}", *arguments]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    found: dict[str, Any] = json.loads(told.stdout)
    print(json.dumps({name: found}, indent=2), flush=True)
    return found


def _beside(given: argparse.Namespace) -> None:
    names = given.only.split(",")
    missing = [name for name in names if name != "tenure" and not is_here(name)]
    if missing:
        sys.exit(f"Not here as their locks have them: {', '.join(missing)}. Run: scripts/peers {' '.join(missing)}")
    report = beside.run(given.beside, names)
    print(beside_report.markdown(report))
    if not given.dry:
        beside_report.write(report, ROOT / "bench" / "results")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.telemetry", description=__doc__)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--written", type=int, default=0, help="so many are written, the rest is copied (all)")
    parser.add_argument("--folder", type=Path, help="where the store is made, and left; one that is there is asked")
    parser.add_argument("--memory", type=int, default=0, help="MB for the store (its setting's own value)")
    parser.add_argument("--no-idle", action="store_true", help="leave out what nobody uses (80 s)")
    parser.add_argument("--dry", action="store_true", help="print and write nothing")
    parser.add_argument("--beside", type=int, nargs="?", const=20_000, help="so many spans to others too (20,000)")
    parser.add_argument("--only", default=",".join(DOORS), help="with --beside: some of them")
    given = parser.parse_args()
    if given.beside:
        _beside(given)
        return
    date = datetime.now(UTC).date().isoformat()
    report: dict[str, Any] = {"date": date, "machine": machine(), "spans": given.spans}
    report["load_average"] = round(os.getloadavg()[0], 2)  # what else the machine did
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        numbers = {"--spans": given.spans, "--written": given.written, "--memory": given.memory}
        common = (str(folder), *(str(word) for pair in numbers.items() for word in pair))
        if not (folder / "filled.json").exists():
            filled = part("fill", *common)
            if 0 < given.written < given.spans:
                filled["copied"] = part("multiply", *common)
            (folder / "filled.json").write_text(json.dumps(filled))
        report["fill"] = json.loads((folder / "filled.json").read_text())
        report["ask"] = part("ask", *common)
        report["whole"] = part("whole")
    if not given.no_idle:
        report["idle"] = part("idle")
    report["goals"] = goals(report)
    print(markdown(report))
    if not given.dry:
        results = ROOT / "bench" / "results"
        (results / f"{date}-telemetry.json").write_text(json.dumps(report, indent=2) + "\n")
        (results / f"{date}-telemetry.md").write_text(markdown(report))


if __name__ == "__main__":
    main()
