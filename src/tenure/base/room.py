"""What a slice hands to the wiring, and what its verbs are handed."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

from tenure.base.clock import Clock
from tenure.base.config import Config
from tenure.base.db import Database
from tenure.base.events import Bell, Consumer
from tenure.base.faults import Fault
from tenure.base.replicas import Replicas
from tenure.kernel.json import JsonObject
from tenure.kernel.revoked import RevokedFact
from tenure.kernel.snapshot import BreakerFact
from tenure.kernel.values import Actor

if TYPE_CHECKING:
    from fastapi import APIRouter


@dataclass(frozen=True, slots=True)
class Ahead:
    """What holds though it is not written yet. ``breakers``: by the key that Snapshots have for them; ``revoked``: what
    was revoked, keys that sign for the whole installation in the workspace at home; ``epochs``: credentials of these
    agents (``<workspace>/<name>``) are of this epoch at least."""

    breakers: Mapping[str, BreakerFact] = field(default_factory=dict)
    revoked: tuple[RevokedFact, ...] = ()
    epochs: Mapping[str, int] = field(default_factory=dict)


class Alarm:
    """What must reach the gateways before anything else, the database included: those who hear it act in the caller's
    thread and wait for no loop's turn. The bell still rings for everybody else."""

    def __init__(self) -> None:
        self._hear: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._ahead: list[Ahead] = []

    def attach(self, hear: Callable[[], None]) -> None:
        """Has ``hear`` called at every alarm."""
        self._hear.append(hear)

    def ring(self) -> None:
        """Call after a commit."""
        for hear in self._hear:
            hear()

    @property
    def ahead(self) -> Ahead:
        """All that holds though it is not written yet."""
        with self._lock:
            now = tuple(self._ahead)
        breakers: dict[str, BreakerFact] = {}
        epochs: dict[str, int] = {}
        for one in now:
            breakers |= one.breakers
            epochs |= {key: max(epoch, epochs.get(key, 0)) for key, epoch in one.epochs.items()}
        return Ahead(breakers, tuple(fact for one in now for fact in one.revoked), epochs)

    @contextmanager
    def ahead_of_time(self, what: Ahead) -> Iterator[None]:
        """``what`` holds at once; on leaving, what is written holds, which is the same if all went well."""
        with self._lock:
            self._ahead.append(what)
        try:
            self.ring()
            yield
        finally:
            with self._lock:
                self._ahead = [one for one in self._ahead if one is not what]
            self.ring()


Authenticate = Callable[[str | None], Actor | None]
"""Who a value of ``Authorization`` is of; None for nobody. Raises Refused for a credential that is dead. Asks the
database: not for an event loop's thread."""
Serve = Callable[["World", Authenticate], Awaitable[Callable[[], Awaitable[None]] | None]]
"""Opens a further port; returns what closes it, None where none is wanted."""
Vet = Callable[["World", Connection, str, Sequence[JsonObject]], Sequence[Fault]]
"""What a room on a higher floor has to say against manifests of a workspace: the faults, each with the place of its
manifest in the sequence as ``document``."""


Owners = Callable[[Connection, str], Mapping[str, tuple[str, ...]]]
"""Who answers for each agent of a workspace."""


def _nobody(_connection: Connection, _workspace: str) -> Mapping[str, tuple[str, ...]]:
    return {}


@dataclass(frozen=True, slots=True)
class World:
    """What every verb may use: the database, the clock, the settings, the bell that says there is news, the alarm that
    says something must stop, and the gateways that hear of it.

    ``consumers`` names every Consumer of the event log that the wiring runs: nothing is pruned that one of them has not
    read, and nothing at all while none is named. ``vets`` are asked before manifests are taken; ``owners`` says who
    answers for each agent of a workspace, by address."""

    db: Database
    clock: Clock
    config: Config
    bell: Bell
    consumers: frozenset[str] = frozenset()
    alarm: Alarm = field(default_factory=Alarm)
    replicas: Replicas = field(default_factory=Replicas)
    vets: tuple[Vet, ...] = ()
    owners: Owners = _nobody

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One verb's transaction. The bell rings after the commit, never before."""
        with self.db.begin() as connection:
            yield connection
        self.bell.ring()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent read."""
        with self.db.read() as connection:
            yield connection


def _nothing_else() -> Hashable:
    return None


def _always(_world: World, _key: str) -> bool:
    return True


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """A durable process that reconciles. ``find`` names the things that may need a step now; ``step`` takes one
    idempotent step for one of them and says whether it did anything. Both look at state and facts only, so a Flow that
    was killed anywhere goes on. ``every`` is how often ``find`` runs, in seconds.

    What ``find`` names follows from the database and the time it is handed, and what is due stays due until somebody
    writes: so it is not asked again while nobody has written and it named nothing for a later time either. One that
    looks at anything else (files, say) has a ``glance`` at that, asked every time: while it says the same, so would
    ``find``.

    ``calls_for`` is asked before the lease is taken, which is a write for which all others look: whether a step would
    find anything to do, where that hangs on more than ``find`` is handed. It writes nothing."""

    name: str
    find: Callable[[Connection, datetime], Sequence[str]]
    step: Callable[[World, str], bool]
    every: float = 1.0
    glance: Callable[[], Hashable] = _nothing_else
    calls_for: Callable[[World, str], bool] = _always


@dataclass(frozen=True, slots=True)
class Room:
    """A slice as the wiring sees it.

    ``events`` maps each event type the slice appends to one line that says what it means (``docs/events.md`` is made of
    them). ``pump`` is for a consumer whose cursor is not in the control database: it takes the next batch and returns
    its size. ``vet`` looks at manifests before they are taken. ``start`` runs once before serving, ``stop`` once after.
    ``serve`` is for another protocol than HTTP.
    """

    name: str
    events: Mapping[str, str] = field(default_factory=dict)
    router: APIRouter | None = None
    consumers: tuple[Consumer, ...] = ()
    pump: Callable[[World], int] | None = None
    flows: tuple[Flow, ...] = ()
    vet: Vet | None = None
    serve: Serve | None = None
    start: Callable[[World], None] | None = None
    stop: Callable[[World], None] | None = None
