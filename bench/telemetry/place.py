"""An installation's folder with a trace store in it, as the parts of this benchmark open it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

import tenure.app.server  # noqa: F401 (loads every room, so that the metadata knows every table)
from bench.telemetry.spans import END, WORKSPACE
from tenure.base import events as log
from tenure.base.config import Config
from tenure.base.db import Database, metadata
from tenure.base.events import Bell
from tenure.base.room import World
from tenure.kernel.values import Actor, Role
from tenure.telemetry import service

READER = Actor(WORKSPACE, "person:reader@example.com", frozenset({Role.OPERATOR, Role.APPROVER}))
GATEWAY = Actor(WORKSPACE, "gateway:local", frozenset({Role.GATEWAY}))


@contextmanager
def opened(folder: Path, memory: int = 0) -> Iterator[World]:
    """The world of a folder, at the time of the last span, its trace store open. ``memory``: MB, 0 for the setting's
    own value."""
    usual = Config(data_dir=folder)
    config = replace(usual, traces_memory_mb=memory) if memory else usual
    database = Database(f"sqlite:///{folder / 'control.db'}")
    metadata.create_all(database.engine)
    world = World(database, lambda: END, config, Bell())
    service.open_store(world)
    try:
        yield world
    finally:
        service.close_store(world)
        database.close()


def ends_at(world: World, seq: int) -> None:
    """The event log of this world ends at an Event of this number, as when all before it were pruned."""
    row = {"seq": seq, "id": "last", "workspace": WORKSPACE, "type": "call.completed", "time": END, "body": b"{}"}
    with world.begin() as tx:
        tx.execute(sa.insert(log.event_log).values(row))


def arguments(about: str | None) -> argparse.Namespace:
    """What the parts that work on a store are told."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spans", type=int, required=True)
    parser.add_argument("--written", type=int, default=0, help="so many of them by the store's own way (all)")
    parser.add_argument("--memory", type=int, default=0)
    given = parser.parse_args()
    given.written = min(given.written or given.spans, given.spans)
    return given


def peak_mib() -> float:
    """The most memory that this process ever had resident."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return round(int(found[1]) / 1024, 1)
