"""``tenure stop`` while three gateways are busy: what is stopped passes nowhere, and goes on when a person says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.processes import until
from tests.sim.drill import fleet


@pytest.mark.req("R055")
@pytest.mark.timeout(240)
def test_what_is_stopped_passes_no_gateway_and_goes_on_after(tmp_path: Path) -> None:
    with fleet(tmp_path, 0.005) as busy, busy.tenure.client() as client:
        for scope, name in (("agent", "clerk"), ("tool", "shop/refund"), ("chain", "clerk"), ("workspace", "")):
            stop = busy.stop(client, scope, name)
            assert stop.last_admitted_ms < 1000, (scope, stop)
        said = busy.tenure.run("stop", "clerk", "--reason", "a drill", expect=2)
        assert "1 agent at work: clerk." in said
        assert "1 running instance, which stay up" in said
        assert "stopped: agent clerk" in busy.tenure.run("stop", "clerk", "--reason", "a drill", "--yes")
        assert "stopped already" in busy.tenure.run("stop", "clerk", "--reason", "a drill", "--yes")
        assert "TRIPPED" in busy.tenure.run("breaker", "list")
        trial = busy.tenure.run("start", "clerk", "--reason", "over", "--trials", "2", "--yes")
        assert "2 calls must go well first" in trial
        until(lambda: "HALF OPEN" not in busy.tenure.run("breaker", "list"), "two calls of three gateways' to go well")
        assert "TRIPPED" not in busy.tenure.run("breaker", "list")
