"""What is asked of a trace store about what agents did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tenure.telemetry.traces.interface import TraceStore


def done(store: TraceStore, since: datetime, until: datetime) -> dict[str, Any]:
    """All that can be asked of it, with what it answered, of the agent ``clerk`` and of all."""
    return {
        "measured": store.measured("default", since, until),
        "acts": store.acts("default", "clerk", since, until, 10, None),
        "newest act": store.acts("default", "clerk", since, until, 1, "sha256:r1"),
        "toolbox": store.toolbox("default", since, until),
        "reasoned": store.reasoned("default", since, until),
        "signals": store.signals("default", "clerk", since, ["files/read"]),
    }
