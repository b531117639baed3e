"""The fuzzers' kept inputs, run as ordinary tests: what was once found stays found."""

from __future__ import annotations

import pytest

from tests.fuzz.run import CORPUS, KEPT_BYTES
from tests.fuzz.targets import TARGETS


@pytest.mark.req("R079")
@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_holds(name: str) -> None:
    target = TARGETS[name]
    kept = sorted((CORPUS / name).iterdir())
    assert kept, f"`make fuzz TARGETS={name}` and `--keep` make a corpus"
    assert sum(path.stat().st_size for path in kept) <= 2 * KEPT_BYTES
    for path in kept:
        target(path.read_bytes())
