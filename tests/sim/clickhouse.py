"""ClickHouse's engine in this process, where its environment was made (`scripts/peers chdb`)."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def engine_folder() -> Path:
    """Where chDB is installed; skips the test where it is not."""
    found = sorted((ROOT / ".peers" / "chdb").glob("lib/python3.*/site-packages"))
    if not found:
        pytest.skip("chDB, the engine of ClickHouse in a process, is not installed: run `scripts/peers chdb`")
    return found[0]


def load_engine() -> None:
    """Makes it known to this process, after all that is there already. It brings pandas along, which warns."""
    folder = str(engine_folder())
    if folder not in sys.path:
        sys.path.append(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in ("chdb", "pandas"):
                importlib.import_module(name)
