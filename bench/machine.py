"""What a benchmark says of the machine it ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """The machine by cores and model and the Python that ran, nothing that names it."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"cores": len(os.sched_getaffinity(0)), "model": names[0] if names else "unknown", "python": python}


def load() -> float:
    """What else it did in the last minute: the load average."""
    return round(os.getloadavg()[0], 2)
