"""The simulation of one approver and many agents, small: what batches and rules do to the work and to the wait."""

from __future__ import annotations

import pytest

from bench.oversight import NAMES, World, summary


@pytest.mark.req("R065", "R066")
def test_batches_and_rules_take_work_from_the_approver() -> None:
    alone, batched, ruled = (summary(World(name, 25, 12, 7, 12.0).run(), 12, 3) for name in NAMES)
    assert alone["decision points a run"] == pytest.approx(7.3, abs=0.5)
    assert alone["held a run, last days"] == pytest.approx(2.1, abs=0.5)
    assert batched["held a run, last days"] == alone["held a run, last days"]  # batching decides nothing by itself
    assert batched["answers a run"] < 0.95 * alone["answers a run"]
    assert ruled["held a run, last days"] < 0.75 * alone["held a run, last days"]
    assert ruled["rules"] > 10
