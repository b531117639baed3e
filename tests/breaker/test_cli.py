"""``tenure breaker``, over HTTP as a person uses it."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from tenure.base.room import World
from tenure.breaker.api import router
from tenure.breaker.cli import register
from tenure.breaker.counting import trip
from tenure.kernel.values import Actor, Event
from tenure.registry import cli as registry
from tests.sim.serving import serving

app = typer.Typer()
registry.register(app)  # whose commands of agents the breaker adds to
register(app)


@app.callback()
def _main() -> None:
    """Makes the group of commands a group."""


def test_list_and_reset(world: World, operator: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"scope": "agent", "name": "clerk", "epoch": 0, "reason": "5 violations within 300 s"}
    with world.begin() as tx:
        trip(tx, Event("e1", "breaker.tripped", world.clock(), "default", "gateway:local", "clerk", data=data))
    with serving(world, operator, router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        run = CliRunner().invoke
        assert "TRIPPED" in run(app, ["breaker", "list"]).stdout
        assert json.loads(run(app, ["breaker", "list", "--json"]).stdout)[0]["tripped"] is True
        reset = ["start", "clerk", "--reason", "understood"]
        assert run(app, reset).exit_code == 2  # nobody is there to confirm it
        assert json.loads(run(app, [*reset, "--yes", "--json"]).stdout)["epoch"] == 1
        assert run(app, [*reset, "--yes"]).exit_code == 2
        assert run(app, ["start", "clerk", "--yes"]).exit_code == 2
        assert "closed" in run(app, ["breaker", "list"]).stdout
