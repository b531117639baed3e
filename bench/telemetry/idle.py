"""What Tenure takes while nobody uses it: ``python -m bench.telemetry.idle``. Prints JSON.

``tenure up``: a control plane and a gateway, all their processes. CPU over a minute, as percent of a core, and memory
as PSS, which counts what processes share once. With all ports that there are by default; ``--no-grpc``: without that
for OTLP over gRPC.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from bench.telemetry.processes import cpu_s, pss_mib, tree
from demo.processes import free_port
from tests.sim.installation import Installation

_SETTLE_S, _OVER_S = 20, 60


def main() -> None:
    """The command line."""
    settings = {} if "--no-grpc" in sys.argv else {"TENURE_OTLP_PORT": str(free_port(0))}
    with tempfile.TemporaryDirectory() as folder, Installation(Path(folder), settings) as tenure:
        assert tenure.up is not None
        time.sleep(_SETTLE_S)
        processes = tree(tenure.up.pid)
        before = cpu_s(processes)
        time.sleep(_OVER_S)
        cpu = 100 * (cpu_s(processes) - before) / _OVER_S
        memory = {" ".join(one.cmdline()[-2:]): round(pss_mib(one.pid), 1) for one in processes}
    json.dump({"cpu_percent": round(cpu, 2), "pss_mib": round(sum(memory.values()), 1), "of": memory}, sys.stdout)


if __name__ == "__main__":
    main()
