"""A world whose secrets have a key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenure.base import keys
from tenure.base.config import Config
from tenure.base.room import World
from tenure.secrets import service


@pytest.fixture
def vault(world: World) -> World:
    """The world with a key in its data folder, and manifests looked at."""
    keys.ensure(world.config)
    return replace(world, vets=(service.vet,))


def configured(world: World, **settings: str) -> World:
    """The same world under other settings."""
    config = Config(data_dir=world.config.data_dir, **settings)  # type: ignore[arg-type]  # all of these are texts
    return replace(world, config=config)
