"""Watches the policies folder: what a person saves runs about a second later."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import Connection

from tenure.base import log
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Role
from tenure.policy import service

logger = log.get("policy")

SETTLE_S = 0.2
_Signature = tuple[tuple[str, int, int], ...]


def watcher(workspace: str) -> Actor:
    """Who loads policies when nobody asked for it."""
    return Actor(workspace, "system:policy", frozenset({Role.SYSTEM}))


class Watch:
    """Compares names, times and sizes first, so that an idle second costs no transaction. That memory is a short cut
    only: whether there is anything to load is decided against the database."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._known: _Signature | None = None

    def start(self, world: World) -> None:
        """At the start of the control plane: the shipped policies at the very first one, then a load. A broken
        folder does not stop the start; the last good version runs."""
        self._folder = world.config.policies
        self._known = None
        service.install_defaults(world)
        self._load(world)

    def find(self, _connection: Connection, _now: datetime) -> Sequence[str]:
        """The folder, when it may have changed."""
        if self._folder is not None and self._signature() == self._known:
            return ()
        return ("folder",)

    def step(self, world: World, _key: str) -> bool:
        """Loads the folder if its content is new and has settled: half a checkout must not run for a second."""
        self._folder = world.config.policies
        signature = self._signature()
        before = service.folder_digest(self._folder)
        if before == service.seen(world):
            self._known = signature
            return False
        time.sleep(SETTLE_S)
        if service.folder_digest(self._folder) != before:
            return False
        self._load(world)
        self._known = signature
        return True

    def _load(self, world: World) -> None:
        try:
            loaded = service.reload(world, watcher(world.config.workspace))
        except Refused as error:
            logger.warning("policies refused, the last good version stays", problem=error.message)
        else:
            if loaded.changed:
                logger.info("policies loaded", version=loaded.version, files=len(loaded.files))

    def _signature(self) -> _Signature:
        assert self._folder is not None  # noqa: S101 (both callers look first)
        found = []
        for path in sorted(self._folder.glob("*.cedar")):
            try:
                stat = path.stat()
            except OSError:
                continue  # gone or unreadable since: the signature differs, and the load will say why
            found.append((path.name, stat.st_mtime_ns, stat.st_size))
        return tuple(found)
