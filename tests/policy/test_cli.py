"""``tenure policy``, over HTTP as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tenure.base.room import World
from tenure.kernel.values import Actor
from tenure.policy.api import router
from tenure.policy.cli import register
from tests.sim.serving import serving

GOOD = '@id("one") permit(principal, action, resource);\n'
BROKEN = "\npermit(principal, action);\n"

app = typer.Typer()
register(app)


@app.callback()
def _main() -> None:
    """Makes the group of commands a group."""


def test_show_validate_and_reload(
    world: World, operator: Actor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = world.config.policies
    folder.mkdir()
    (folder / "a.cedar").write_text(GOOD)
    candidate = tmp_path / "candidate.cedar"
    with serving(world, operator, router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        run = CliRunner().invoke
        assert "every call is refused" in run(app, ["policy", "show"]).stdout
        assert run(app, ["policy", "reload"]).stdout.startswith("running: version sha256:")
        assert json.loads(run(app, ["policy", "reload", "--json"]).stdout)["changed"] is False
        assert run(app, ["policy", "show", "a.cedar"]).stdout == GOOD
        assert run(app, ["policy", "show", "b.cedar"]).exit_code == 2
        assert "entity Agent" in run(app, ["policy", "show", "schema"]).stdout
        candidate.write_text(BROKEN)
        verdict = run(app, ["policy", "validate", str(candidate)])
        assert (verdict.exit_code, verdict.stdout.startswith("candidate.cedar:2: ")) == (1, True)
        assert json.loads(run(app, ["policy", "validate", str(candidate), "--json"]).stdout)["valid"] is False
        assert run(app, ["policy", "validate", str(folder)]).exit_code == 0
        assert run(app, ["policy", "validate", str(tmp_path / "none.cedar")]).exit_code == 2
        (folder / "a.cedar").write_text(BROKEN)
        refused = run(app, ["policy", "reload"])
        assert (refused.exit_code, "a.cedar:2" in refused.stderr) == (2, True)
        shown = run(app, ["policy", "show"]).stdout
        assert "a.cedar:2" in shown
        assert "version sha256:" in shown
