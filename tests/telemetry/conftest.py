from __future__ import annotations

import pytest

from tenure.base.room import World
from tenure.base.subjects import Keyring


@pytest.fixture
def keyring(world: World) -> Keyring:
    """The keys of subjects, of an empty installation."""
    return Keyring(world.db, world.config)
