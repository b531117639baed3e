"""The whole way of an Event in the control plane: ``python -m bench.telemetry.whole``. Prints JSON.

What gateways send is priced, redacted and made durable in the event log (SQLite, synced), which is when a gateway is
answered; then the pump moves it on to the trace store. Both in turn, in one thread, without HTTP.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from bench.telemetry.place import GATEWAY, opened
from bench.telemetry.spans import batches
from tenure.telemetry import service

SPANS = 100_000
OF = 10_000_000
"""They are the first of so many over 30 days: of a few hours, as what comes in fast is."""


def main() -> None:
    """The command line."""
    taken = pumped = 0.0
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as world:
        for batch in batches(SPANS, service.PUMP_BATCH, of=OF):
            events = [logged.event for logged in batch]
            began = time.perf_counter()
            service.ingest(world, GATEWAY, events)
            taken += (between := time.perf_counter()) - began
            while service.pump(world):
                pass
            pumped += time.perf_counter() - between
    rates = {"taken_per_s": SPANS / taken, "pumped_per_s": SPANS / pumped, "both_per_s": SPANS / (taken + pumped)}
    json.dump({"spans": SPANS} | {name: round(rate) for name, rate in rates.items()}, sys.stdout)


if __name__ == "__main__":
    main()
