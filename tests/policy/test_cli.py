"""``tenure policy``, over HTTP as a person uses it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tenure.base.room import World
from tenure.kernel.values import Actor
from tenure.policy.cli import register
from tenure.policy.room import ROOM
from tenure.registry import service as registry
from tests.sim.manifests import manifest
from tests.sim.serving import serving

GOOD = '@id("one") permit(principal, action, resource);\n'
BROKEN = "\npermit(principal, action);\n"

assert ROOM.router is not None
_router = ROOM.router

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
    with serving(world, operator, _router) as url:
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


LIMITED = GOOD + '@id("two") forbid(principal, action, resource == Tool::"shop/refund");\n'


def _git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True).stdout


@pytest.mark.req("R073", "R074")
def test_publish_from_git_diff_and_rollback(
    world: World, operator: Actor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "repository" / "policies"
    folder.mkdir(parents=True)
    _git(folder.parent, "init")
    (folder / "a.cedar").write_text(GOOD)
    _git(folder, "add", ".")
    _git(folder, "commit", "-m", "begin")
    _git(folder, "tag", "v1")
    commit = _git(folder, "rev-parse", "HEAD").strip()
    (folder / "a.cedar").write_text(LIMITED)
    tools = [{"name": name} for name in ("shop/refund", "shop/list")]
    granted = manifest("clerk", "http://127.0.0.1:1", servers={"shop": {"command": ["shop"]}}, tools=tools)
    registry.apply(world, operator, granted)
    with serving(world, operator, _router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        run = CliRunner().invoke
        done = run(app, ["policy", "publish", f"{folder}@v1", "--reason", "begin", "--yes"])
        assert (done.exit_code, done.stdout.splitlines()[1]) == (0, "no test decides by one")
        shown = json.loads(run(app, ["policy", "history", "--json"]).stdout)
        assert shown[0]["reason"] == f"begin (git policies/@{commit})"
        first = shown[0]["version"]
        said = run(app, ["policy", "diff", str(folder)]).stdout
        assert "+ forbid two (a.cedar:2)" in said
        assert "LOST   clerk: call_tool shop/refund: allow by one -> deny by two" in said
        assert "1 agents, 3 grants" in said
        assert run(app, ["policy", "publish", str(folder), "--reason", "more", "--yes"]).exit_code == 0
        back = json.loads(run(app, ["policy", "diff", "running", first[:20], "--json"]).stdout)
        assert [(row["change"], row["agents"]) for row in back["changes"]] == [("gained", ["clerk"])]
        assert (back["after"], back["gaps"]) == (first, [])
        assert "Nothing is decided otherwise" in run(app, ["policy", "diff", "running"]).stdout
        assert run(app, ["policy", "diff", "sha256:00"]).exit_code == 2
        assert run(app, ["policy", "rollback", "--reason", "too strict", "--yes"]).exit_code == 0
        for place in (f"{folder}@v2", f"{tmp_path}/nowhere@v1", f"{folder}@--all"):
            assert run(app, ["policy", "validate", place]).exit_code == 2, place
        world.config.policies.mkdir(exist_ok=True)
        lost = run(app, ["policy", "diff", first, str(folder)]).stdout
        assert lost.count("LOST") == 1
