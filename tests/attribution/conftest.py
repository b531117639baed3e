"""The labelled sessions, read once for all tests of attribution."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.attribution.__main__ import labelled
from bench.attribution.fit import Labelled


@pytest.fixture(scope="session")
def examples(shared_data: Path) -> list[Labelled]:
    """The labelled sessions as attribution reads them."""
    return labelled(shared_data / "who-and-when" / "algorithm-generated.jsonl.xz")
