"""Watches the policies folder of every workspace: what a person saves runs about a second later."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import Connection

from tenure.base import log
from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import service as identity
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
    """Compares names, times and sizes first, so that an idle second costs no write. That memory is a short cut
    only: whether there is anything to load is decided against the database."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._known: dict[str, _Signature] = {}

    def start(self, world: World) -> None:
        """At the start of the control plane: the shipped policies to whom they are new, then what is new in folders.
        A broken one does not stop the start; the last good version runs. So does one that was published or taken back,
        until its folder changes."""
        self._config = world.config
        self._known = {}
        with world.read() as connection:
            workspaces = _workspaces(connection, world.config)
        for workspace in workspaces:
            service.install_defaults(world, workspace)
            service.refresh(world, watcher(workspace))
            if service.folder_digest(service.folder_of(world.config, workspace)) != service.seen(world, workspace):
                self._load(world, workspace)

    def glance(self) -> tuple[_Signature, ...]:
        """The folders of the workspaces that are known, as they are now."""
        config = self._started
        return tuple(_signature(service.folder_of(config, workspace)) for workspace in sorted(self._known))

    def find(self, connection: Connection, _now: datetime) -> Sequence[str]:
        """The workspaces that are new, or whose folder may have changed."""
        config = self._started
        return [
            workspace
            for workspace in _workspaces(connection, config)
            if self._known.get(workspace) != _signature(service.folder_of(config, workspace))
        ]

    def step(self, world: World, workspace: str) -> bool:
        """Loads a folder if its content is new and has settled: half a checkout must not run for a second."""
        folder = service.folder_of(world.config, workspace)
        if service.seen(world, workspace) is None:
            service.install_defaults(world, workspace)
        signature = _signature(folder)
        before = service.folder_digest(folder)
        if before == service.seen(world, workspace):
            self._known[workspace] = signature
            return False
        time.sleep(SETTLE_S)
        if service.folder_digest(folder) != before:
            return False
        self._load(world, workspace)
        self._known[workspace] = signature
        return True

    @property
    def _started(self) -> Config:
        assert self._config is not None  # noqa: S101 (a Room is started before its Flows run)
        return self._config

    def _load(self, world: World, workspace: str) -> None:
        try:
            loaded = service.reload(world, watcher(workspace))
        except Refused as error:
            logger.warning("policies refused, the last good version stays", workspace=workspace, problem=error.message)
        else:
            if loaded.changed:
                logger.info("policies loaded", workspace=workspace, version=loaded.version, files=len(loaded.files))


def _workspaces(connection: Connection, config: Config) -> list[str]:
    return list(dict.fromkeys((config.workspace, *identity.workspaces(connection))))


def _signature(folder: Path) -> _Signature:
    found = []
    for path in service.policy_files(folder):
        try:
            stat = path.stat()
        except OSError:
            continue  # gone or unreadable since: the signature differs, and the load will say why
        found.append((path.name, stat.st_mtime_ns, stat.st_size))
    return tuple(found)
