"""Which engine holds the traces of an installation: what ``TENURE_TRACES`` says."""

from __future__ import annotations

import os
from functools import partial

from tenure.base.config import Config
from tenure.base.subjects import Keyring
from tenure.kernel.errors import Refused
from tenure.telemetry.traces import clickhouse
from tenure.telemetry.traces.clickhouse import ClickHouseStore
from tenure.telemetry.traces.duck import DuckStore
from tenure.telemetry.traces.interface import TraceStore


def open_engine(config: Config, keyring: Keyring) -> TraceStore:
    """The trace store that the settings name, made where there is none. A server may be away: it is asked again later.
    Raises Failed or Refused, one line each, for a file that is damaged or in use, for a store of a newer version, and
    when what is needed to reach a server is missing."""
    file = config.traces_file
    if file is not None:
        return DuckStore(file, keyring, memory_mb=config.traces_memory_mb)
    return ClickHouseStore(partial(clickhouse.connect, config.traces, password(config)), keyring, config.traces)


def password(config: Config) -> str:
    """What the variable holds that ``TENURE_TRACES_KEY`` names; empty when it names none. Raises Refused when that
    variable is not set."""
    if not config.traces_key:
        return ""
    found = os.environ.get(config.traces_key)
    if found is None:
        raise Refused(
            "no_traces_password",
            f"TENURE_TRACES_KEY names the variable {config.traces_key}, which is not set.",
            fix=f"Set {config.traces_key} for the control plane, or unset TENURE_TRACES_KEY.",
            status=409,
        )
    return found
