"""The trace stores that are open in this process, by data folder."""

from __future__ import annotations

from pathlib import Path

from tenure.base.room import World
from tenure.kernel.errors import Failed
from tenure.telemetry.traces.interface import TraceStore

_stores: dict[Path, TraceStore] = {}


def put(world: World, store: TraceStore) -> None:
    """``store`` is that of this world from now on."""
    _stores[world.config.data_dir.resolve()] = store


def take(world: World) -> TraceStore | None:
    """The store of this world, which is its no more; None when there is none."""
    return _stores.pop(world.config.data_dir.resolve(), None)


def store_of(world: World) -> TraceStore:
    """The store of this world. Raises Failed when it is not open."""
    try:
        return _stores[world.config.data_dir.resolve()]
    except KeyError:
        raise Failed("trace_store_closed", "The trace store is not open.", retry=True) from None
