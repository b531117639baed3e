"""Policies live in a folder; what is good runs, what is broken is refused, what ran is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tenure.base import durable, events
from tenure.base.room import Flow, World
from tenure.identity import people
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event, Role
from tenure.policy import service
from tenure.policy.api import router
from tenure.policy.flow import Watch
from tenure.policy.model import compile_bundle
from tests.sim.api import Api

ONE = '@id("one") permit(principal, action, resource);\n'
BROKEN = "// a comment\npermit(principal, action);\n"


def _write(world: World, **files: str) -> None:
    world.config.policies.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (world.config.policies / f"{name}.cedar").write_text(text)


def _told(world: World) -> list[Event]:
    with world.read() as connection:
        return [logged.event for logged in events.read(connection, 0)]


@pytest.mark.req("R074", "R075")
def test_a_folder_is_loaded_and_every_version_kept(world: World, operator: Actor) -> None:
    _write(world, b="// empty\n", a=ONE)
    first = service.reload(world, operator)
    assert (first.files, first.changed) == (("a.cedar", "b.cedar"), True)
    assert service.reload(world, operator).changed is False
    fact = service.workspace_facts(world)["default"]
    assert fact.policies == (("a.cedar", ONE), ("b.cedar", "// empty\n"))
    assert fact.policy_version == first.version == compile_bundle(fact.policies).version
    _write(world, a="")
    second = service.reload(world, operator)
    assert service.version_files(world, "default", first.version)[0] == ("a.cedar", ONE)
    assert [event.type for event in _told(world)] == ["policy.loaded", "policy.loaded"]
    assert _told(world)[1].data == {
        "version": second.version,
        "files": ["a.cedar", "b.cedar"],
        "before": first.version,
        "how": "folder",
        "tests": 0,
        "untested": [],
    }
    assert _told(world)[0].actor == operator.name
    _write(world, a=ONE)
    assert service.reload(world, operator).version == first.version


def test_a_broken_file_is_refused_with_its_line_and_what_ran_stays(world: World, operator: Actor) -> None:
    _write(world, a=ONE)
    good = service.reload(world, operator)
    _write(world, b=BROKEN)
    for _ in range(2):
        with pytest.raises(Refused, match=r"b\.cedar line 2"):
            service.reload(world, operator)
    assert service.workspace_facts(world)["default"].policy_version == good.version
    problem = service.show(world, "default").last_problem
    assert problem is not None
    assert problem["faults"][0]["line"] == 2
    assert [event.type for event in _told(world)] == ["policy.loaded", "policy.rejected"]  # told once
    (world.config.policies / "b.cedar").unlink()
    assert service.reload(world, operator).changed is False
    assert service.show(world, "default").last_problem is None


def test_a_folder_that_is_gone_or_unreadable_is_a_fault_not_an_empty_set(world: World, operator: Actor) -> None:
    with pytest.raises(Refused, match="does not exist"):
        service.reload(world, operator)
    assert service.workspace_facts(world) == {}
    _write(world, a=ONE)
    good = service.reload(world, operator)
    (world.config.policies / "b.cedar").write_bytes(b"// fine\n\xff\n")
    with pytest.raises(Refused) as refused:
        service.reload(world, operator)
    assert refused.value.details["faults"] == [{"file": "b.cedar", "line": 2, "problem": "is not UTF-8 text"}]
    assert service.workspace_facts(world)["default"].policy_version == good.version


def test_the_shipped_policies_come_with_the_first_start_only(world: World) -> None:
    _write(world, mine=ONE)
    watch = Watch()
    watch.start(world)
    names = sorted(path.name for path in world.config.policies.glob("*"))
    assert names == ["00-grants.cedar", "10-oversight.cedar", "20-findings.cedar", "mine.cedar"]
    running = service.show(world, "default")
    assert running.last_problem is None
    assert [name for name, _ in running.files] == names
    (world.config.policies / "00-grants.cedar").unlink()
    Watch().start(world)
    assert not (world.config.policies / "00-grants.cedar").exists()


def test_a_folder_of_the_persons_own_is_left_alone(world: World, tmp_path: Path) -> None:
    own = tmp_path / "repository"
    own.mkdir()
    (own / "only.cedar").write_text(ONE)
    elsewhere = replace(world, config=replace(world.config, policy_dir=str(own)))
    assert service.install_defaults(elsewhere, "default") == []
    (own / "only.cedar").unlink()
    assert service.install_defaults(elsewhere, "default") == [
        "00-grants.cedar",
        "10-oversight.cedar",
        "20-findings.cedar",
    ]


def test_the_watcher_loads_what_changed_and_survives_what_is_broken(world: World) -> None:
    watch = Watch()
    watch.start(world)
    flow = Flow("policy.watch", watch.find, watch.step)
    durable.run_due(world, flow, "h")
    with world.read() as connection:
        assert watch.find(connection, world.clock()) == []  # idle: nothing to do, no transaction
    before = service.show(world, "default").version
    _write(world, mine=ONE)
    assert durable.run_due(world, flow, "h") == 1
    mine = service.show(world, "default").version
    assert mine != before
    _write(world, mine=BROKEN)
    assert durable.run_due(world, flow, "h") == 1
    assert durable.run_due(world, flow, "h") == 0
    shown = service.show(world, "default")
    assert (shown.version, shown.last_problem is not None) == (mine, True)
    restarted = Watch()
    restarted.start(world)
    assert service.show(world, "default").version == mine
    assert [event.type for event in _told(world)] == ["policy.loaded", "policy.loaded", "policy.rejected"]


def test_the_watcher_waits_until_a_checkout_has_settled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    watch.start(world)
    before = service.show(world, "default").version
    _write(world, mine=ONE)
    monkeypatch.setattr("tenure.policy.flow.time.sleep", lambda _s: _write(world, other="// comes a moment later\n"))
    assert watch.step(world, "default") is False
    assert service.show(world, "default").version == before
    monkeypatch.undo()
    assert watch.step(world, "default") is True


def test_over_http(world: World, operator: Actor) -> None:
    api = Api(world, router)
    assert api("GET", "/v1/policies")[0] == 401
    api.actor = Actor("default", "person:v@example.com", frozenset({Role.VIEWER}))
    assert api("GET", "/v1/policies") == (
        200,
        {"version": None, "files": [], "loaded_at": None, "loaded_by": "", "last_problem": None},
    )
    assert api("POST", "/v1/policies/reload")[0] == 403
    api.actor = operator
    _write(world, a=ONE)
    status, loaded = api("POST", "/v1/policies/reload")
    assert (status, loaded["changed"]) == (200, True)
    _write(world, a=BROKEN)
    status, answer = api("POST", "/v1/policies/reload")
    assert (status, answer["code"]) == (422, "policy_invalid")
    assert answer["details"]["faults"][0]["line"] == 2
    shown = api("GET", "/v1/policies")[1]
    assert shown["version"] == loaded["version"]
    assert shown["last_problem"]["faults"][0]["file"] == "a.cedar"
    assert shown["loaded_by"] == operator.name
    assert api("GET", f"/v1/policies/versions/{loaded['version']}")[1] == [{"name": "a.cedar", "text": ONE}]
    assert api("GET", "/v1/policies/versions/none")[0] == 404
    assert "entity Tool in [Server]" in api("GET", "/v1/policies/schema")[1]["cedar"]
    verdict = api("POST", "/v1/policies/validate", {"files": [{"name": "x.cedar", "text": BROKEN}]})[1]
    assert (verdict["valid"], verdict["faults"][0]["line"]) == (False, 2)
    verdict = api("POST", "/v1/policies/validate", {"files": [{"name": "x.cedar", "text": ONE}]})[1]
    assert (verdict["valid"], verdict["policies"][0]["id"]) == (True, "one")


def test_every_workspace_has_policies_of_its_own(world: World) -> None:
    with world.begin() as connection:
        people.ensure_workspace(connection, "beta", "system:test", world.clock())
    watch = Watch()
    watch.start(world)
    assert set(service.workspace_facts(world)) == {"default", "beta"}
    mine = service.show(world, "default").version
    (world.config.policies / "beta" / "own.cedar").write_text(ONE)
    durable.run_due(world, Flow("policy.watch", watch.find, watch.step), "h")
    facts = service.workspace_facts(world)
    assert facts["default"].policy_version == mine
    assert ("own.cedar", ONE) in facts["beta"].policies
    with pytest.raises(Refused):
        service.version_files(world, "default", str(facts["beta"].policy_version))
    with world.begin() as connection:
        people.ensure_workspace(connection, "gamma", "system:test", world.clock())
    durable.run_due(world, Flow("policy.watch", watch.find, watch.step), "h")
    assert len(service.show(world, "gamma").files) == 3, "a new workspace begins with the shipped policies"
