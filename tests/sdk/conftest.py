"""What tests of the SDK share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.control import ControlSim
from tests.sim.gateway import GatewayProcess, default_policies
from tests.sim.in_process import RULES, Site


@pytest.fixture
def loop() -> Iterator[None]:
    """The event loop that a framework's synchronous way in would otherwise make, and leave open."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield
    asyncio.set_event_loop(None)
    made.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ControlSim(tmp_path / "g", (*default_policies(), ("tests.cedar", RULES))) as control:
        gateway = GatewayProcess(tmp_path / "g", control.port)
        found = Site(tmp_path, control, gateway)
        found.fact()
        yield found
        found.gateway.stop()
