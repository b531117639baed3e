"""What Tenure takes while nobody uses it: ``python -m bench.telemetry.idle``. Prints JSON.

``tenure up``: a control plane and a gateway, all their processes. CPU over a minute, as percent of a core, and memory
as PSS, which counts what processes share once.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.sim.installation import Installation

_SETTLE_S, _OVER_S = 20, 60


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (one.cpu_times() for one in processes))


def _pss_mib(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    """The command line."""
    with tempfile.TemporaryDirectory() as folder, Installation(Path(folder)) as tenure:
        assert tenure.up is not None
        time.sleep(_SETTLE_S)
        top = psutil.Process(tenure.up.pid)
        processes = [top, *top.children(recursive=True)]
        before = _cpu_s(processes)
        time.sleep(_OVER_S)
        cpu = 100 * (_cpu_s(processes) - before) / _OVER_S
        memory = {" ".join(one.cmdline()[1:4])[-40:]: round(_pss_mib(one.pid), 1) for one in processes}
    json.dump({"cpu_percent": round(cpu, 2), "pss_mib": round(sum(memory.values()), 1), "of": memory}, sys.stdout)


if __name__ == "__main__":
    main()
