"""A tool is switched off while three gateways are busy with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.drill import drill


@pytest.mark.req("R175")
def test_no_call_passes_any_gateway_later_than_a_second_after_the_command(tmp_path: Path) -> None:
    outcome = drill(tmp_path, before_s=0.5, after_s=1.5)
    assert outcome.later_than_1s == 0
    assert outcome.last_admitted_ms < 1000
    assert len(outcome.first_refused_ms) == 3
    assert outcome.calls_per_s > 20, "there was no load to speak of"
    assert outcome.refused > 20
