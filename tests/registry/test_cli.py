"""``tenure apply``, ``tenure agents`` and ``tenure lifecycle``, over HTTP as a person uses them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from demo.processes import until
from tenure.base.room import World
from tenure.client import Client
from tenure.client.cli import console
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor
from tenure.registry import flow
from tenure.registry.api import router
from tenure.registry.cli import register
from tests.sim.manifests import manifest
from tests.sim.serving import serving

URL = "http://127.0.0.1:1/v1"
app = typer.Typer()
register(app)


@pytest.fixture
def url(world: World, operator: Actor, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(world, operator, router) as address:
        monkeypatch.setenv("TENURE_URL", address)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        monkeypatch.setattr(console, "width", 200)
        yield address


@pytest.fixture
def run(url: str) -> Any:
    assert url

    def invoke(*words: str, expect: int = 0, given: str | None = None) -> str:
        done = CliRunner().invoke(app, words, input=given)
        assert done.exit_code == expect, done.output
        return done.output

    return invoke


def test_the_whole_life_by_commands(run: Any, world: World, tmp_path: Path) -> None:
    assert "tenure apply -f" in run("agents", "list")
    file = tmp_path / "clerk.yaml"
    file.write_text(yaml.safe_dump(manifest("clerk", URL)))
    assert "would be registered" in run("apply", "-f", str(file), "--dry-run")
    assert "No agents yet" in run("agents", "list")
    assert "clerk: registered, requested, risk tier 1" in run("apply", "-f", str(file))
    assert "clerk: unchanged, requested" in run("apply", "-f", str(tmp_path))
    with ThreadPoolExecutor() as pool:
        approving = pool.submit(run, "agents", "approve", "clerk", "--reason", "needed")
        for _ in ("created", "provisioned"):
            until(lambda: flow.step(world, "default/clerk"), "the approval")
        assert "clerk: provisioned" in approving.result()
    assert "clerk: staging" in run("agents", "promote", "clerk", "--reason", "try it")
    assert "clerk: production" in run("agents", "promote", "clerk", "--reason", "it works")
    run("agents", "suspend", "clerk", "--reason", "it strays")
    assert "clerk: production" in run("agents", "resume", "clerk", "--reason", "mended")
    file.write_text(yaml.safe_dump(manifest("clerk", URL, instructions="[bold]Other[/bold]")))
    assert "waits for an approver" in run("apply", "-f", str(file))
    assert "(release waits)" in run("agents", "list")
    assert "clerk: production" in run("agents", "approve", "clerk", "--reason", "fine")
    assert "Nobody is there" in run("agents", "retire", "clerk", "--reason", "replaced", expect=2)
    assert "clerk: draining until" in run("agents", "retire", "clerk", "--reason", "replaced", "--yes")
    assert json.loads(run("agents", "show", "clerk", "--json"))["state"] == "draining"
    assert "state       draining" in run("agents", "show", "clerk")
    past = json.loads(run("agents", "history", "clerk", "--json"))
    assert [one["to"] for one in past][-3:] == ["suspended", "production", "draining"]
    assert "it strays" in run("agents", "history", "clerk")
    assert "No agent is retired" in run("agents", "list", "--state", "retired")
    assert len(json.loads(run("lifecycle", "--json"))) == len(run("lifecycle").strip().splitlines()) - 2


def test_faults_are_told_with_file_and_line(run: Any, tmp_path: Path) -> None:
    good, bad = manifest("good", URL), manifest("bad", URL, tools=[{"name": "files/read", "autonomy": "aprove"}])
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump_all([good, bad], sort_keys=False))
    line = file.read_text().splitlines().index("    autonomy: aprove") + 1
    told = run("apply", "-f", str(file), expect=2)
    assert f"{file}:{line}: spec.tools[0].autonomy: is 'aprove' (did you mean approve?)" in told
    assert "error: 1 thing is wrong with the manifest; nothing was applied." in told
    assert "No agents yet" in run("agents", "list")
    file.write_text("a: 1\na: 2\n")
    (tmp_path / "other.yaml").write_text("b: *x\n")
    told = run("apply", "-f", str(file), "-f", str(tmp_path / "other.yaml"), expect=2)
    assert f"{file}:2: a: is given twice, first on line 1 (keep one of the two)" in told
    assert f"{tmp_path / 'other.yaml'}:1: uses the alias *x" in told
    assert "standard input:1: " in run("apply", "-f", "-", expect=2, given="kind: Agent\n")
    assert "No such file" in run("apply", "-f", str(tmp_path / "none.yaml"), expect=2)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    assert "not UTF-8" in run("apply", "-f", str(tmp_path / "latin.yaml"), expect=2)


def test_a_refusal_says_what_to_do(run: Any, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(manifest("clerk", URL)))
    run("apply", "-f", str(tmp_path / "a.yaml"))
    told = run("agents", "transition", "clerk", "production", "--reason", "now", expect=2)
    assert "error: clerk is requested; it cannot become production." in told
    assert "fix: From requested it can become: approved, rejected." in told
    assert "Did you mean clerk?" in run("agents", "show", "clark", expect=2)


def test_no_control_plane_is_a_failure_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENURE_URL", "http://127.0.0.1:1")
    done = CliRunner().invoke(app, ["agents", "list"])
    assert done.exit_code == 3
    assert "fix: Start it with `tenure up`" in done.output
    monkeypatch.setenv("TENURE_URL", "http://127.0.0.1:many")
    done = CliRunner().invoke(app, ["agents", "list"])
    assert done.exit_code == 2
    assert "'http://127.0.0.1:many' is not the address of a control plane." in done.output


def test_the_routes(url: str) -> None:
    with Client(url) as client:
        put = client.put("/v1/agents/clerk", dict[str, Any], manifest("clerk", URL))
        assert (put["changed"], put["agent"]["state"]) == (True, "requested")
        assert client.put("/v1/agents/clerk", dict[str, Any], manifest("clerk", URL))["changed"] is False
        with pytest.raises(Refused, match="the address says"):
            client.put("/v1/agents/other", dict[str, Any], manifest("clerk", URL))
        digest = put["agent"]["release"]
        assert client.get(f"/v1/releases/{digest}", dict[str, Any])["agent"] == "clerk"
        assert [one["digest"] for one in client.get("/v1/agents/clerk/releases", list[dict[str, Any]])] == [digest]
        assert client.get("/v1/schemas/agent.json", dict[str, Any])["title"] == "Tenure agent"
        first = client.get("/v1/lifecycle", list[dict[str, Any]])[0]
        assert (first["from"], first["to"], first["roles"]) == ("requested", "approved", ["approver"])
        for path in ("/v1/agents/none", "/v1/agents/none/transitions", "/v1/releases/none"):
            with pytest.raises(Refused) as refusal:
                client.get(path, dict[str, Any])
            assert refusal.value.status == 404
