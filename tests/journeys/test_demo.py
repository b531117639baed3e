"""The story of ``make demo``, told headless."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.story import Story
from tests.sim.installation import clean_environment


@pytest.mark.req("R001", "R009", "R014", "R023", "R055", "R078", "R186")
@pytest.mark.timeout(300)
def test_the_story_holds_from_request_to_retirement(tmp_path: Path) -> None:
    told: list[str] = []
    environ = {name: value for name, value in clean_environment().items() if not name.startswith("OPENAI_")}
    story = Story(tmp_path / "demo", told.append, environ)
    try:
        story.tell()
    finally:
        story.close()
        print("\n".join(told))
    assert sum(line.startswith("  ok: ") for line in told) >= 10
