"""A server that several files share: a process costs a second of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim import mcp_servers as sim
from tests.sim.ports import free_port


@pytest.fixture(scope="session")
def till(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The database server over HTTP, and its file; each test refunds orders of its own."""
    path = tmp_path_factory.mktemp("till") / "orders.db"
    with sim.database_server(path, free_port()) as url:
        yield url, path
