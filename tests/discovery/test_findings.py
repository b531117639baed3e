"""Findings: evidence that shares a mark is of one agent; each is claimed, registered, blocked or ignored in a step."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tenure.base import events
from tenure.base.db import metadata
from tenure.base.room import World
from tenure.discovery import configs, heard, machine, service, signs, source, store
from tenure.discovery.model import Channel, Finding, Sighting, State
from tenure.gateway.clients import Introductions, let_in
from tenure.kernel.clients import key_mark, own_name, products
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import Snapshot
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.registry import service as registry
from tenure.telemetry.model import Spoken, Stranger
from tests.discovery.fleet import KEY, write
from tests.discovery.measure import Kept, principal
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest

ANN = Actor("default", "person:ann@example.com", frozenset({Role.OWNER}))


def stranger(clock: FakeClock, agent: str = "billing-bot/1.2 OpenAI/Python 1.9", **more: Any) -> Stranger:
    """Somebody without a credential."""
    facts: dict[str, Any] = {"address": "10.1.2.3", "key": key_mark(KEY), "client": "", "title": "", "count": 3}
    facts |= {"error": "token_malformed", "method": "POST", "path": "/v1/chat/completions", "lately": 3}
    return Stranger(**{"workspace": "default", "user_agent": agent, "last": clock.now, **facts, **more})


def seen(clock: FakeClock, name: str = "billing-bot", **more: Any) -> Sighting:
    """What a gateway sees of a shadow agent."""
    found = heard.stranger(stranger(clock, f"{name}/1.2 OpenAI/Python 1.9", **more))
    assert found is not None
    return found


@pytest.fixture
def finding(world: World, clock: FakeClock, operator: Actor) -> Finding:
    return service.report(world, operator, [seen(clock)]).found[0]


def told(world: World) -> list[str]:
    """The types of all Events of discovery."""
    with world.read() as conn:
        return [one.event.type for one in events.read(conn, 0) if one.event.type.startswith("discovery.")]


@pytest.mark.req("R026", "R031")
def test_one_agent_that_is_found_in_three_ways_is_one_finding(
    world: World, clock: FakeClock, operator: Actor, tmp_path: Path
) -> None:
    tree = write(
        tmp_path / "billing-bot",
        {
            "pyproject.toml": '[project]\nname = "billing-bot"\n',
            "go.py": f"from crewai import Agent, Crew\nKEY = '{KEY}'\nCrew(agents=[Agent(role='x')])\n",
        },
    )
    by_source = source.look(tree, "desk-7", clock.now)
    command = ("python", str(tree / "go.py"))
    process = machine.sighting(machine.Running("python", command, frozenset({"OPENAI_API_KEY"})), "desk-7", clock.now)
    assert process is not None
    for report in (by_source, [process], [seen(clock, "other-name")], [seen(clock)]):
        service.report(world, operator, report)
    with world.read() as conn:
        (found,) = store.find(conn, "default")
        evidence = store.evidence(conn, found.id)
    assert {one.channel for one in evidence} == {Channel.SOURCE, Channel.PROCESS, Channel.GATEWAY}
    assert found.name == "billing-bot"
    assert found.confidence > max(signs.confidence(one.signs) for one in evidence)
    assert told(world) == ["discovery.found"], "it was news once"


def test_two_findings_that_turn_out_to_be_one_agent_become_one(world: World, clock: FakeClock, operator: Actor) -> None:
    one = seen(clock, key="")
    other = replace(seen(clock, "ledger-bot", key="aaaabbbbcccc"), marks=("name:ledger-bot", "key:aaaabbbbcccc"))
    service.report(world, operator, [one])
    clock.advance(seconds=9)
    service.report(world, operator, [other])
    done = service.report(world, operator, [replace(one, marks=("name:billing-bot", "key:aaaabbbbcccc"))])
    with world.read() as conn:
        (left,) = store.find(conn, "default")
        assert len(store.evidence(conn, left.id)) == 2
    assert [one.id for one in done.seen] == [left.id]
    assert left.count == 9


def test_what_is_seen_again_is_counted_and_not_kept_twice(world: World, clock: FakeClock, operator: Actor) -> None:
    first = service.report(world, operator, [seen(clock)]).found[0]
    clock.advance(seconds=60)
    (again,) = service.report(world, operator, [seen(clock)]).seen
    assert (again.id, again.count, again.last_seen) == (first.id, 6, clock.now)
    assert again.first_seen == first.first_seen


@pytest.mark.req("R031")
def test_secrets_do_not_reach_the_store(world: World, clock: FakeClock, operator: Actor, tmp_path: Path) -> None:
    tree = write(tmp_path / "leaky", {"a.py": f"from crewai import Agent\nAgent(role='x')\nopenai_key = '{KEY}'\n"})
    config = '{"mcpServers": {"x": {"command": "npx", "args": ["-y", "%s"], "env": {"OPENAI_API_KEY": "%s"}}}}'
    home = write(tmp_path / "home", {".cursor/mcp.json": config % (KEY, KEY)})
    running = machine.Running("claude", ("claude", "--api-key", KEY), frozenset({"ANTHROPIC_API_KEY"}), f"/srv/{KEY}")
    shown = machine.sighting(running, "desk-7", clock.now)
    assert shown is not None
    talkative = replace(seen(clock), what=f"it said {KEY}")
    found = [*source.look(tree, "d", clock.now), *configs.look([home], "d", "ann", clock.now), shown, talkative]
    assert len(service.report(world, operator, found).found) == 3, "the stranger showed the key that is in the source"
    with world.read() as conn:
        for table in metadata.sorted_tables:
            if table.name.startswith(("discovery_", "event_log")):
                for row in conn.execute(sa.select(table)):
                    assert KEY not in str(row), table.name
                    assert KEY.encode() not in bytes(row._mapping.get("body", b"")), table.name


@pytest.mark.req("R026")
def test_an_owner_claims_what_was_found_and_registers_it(
    world: World, clock: FakeClock, operator: Actor, finding: Finding
) -> None:
    config = Sighting(
        Channel.CONFIG, "x", "desk", "y", ("name:billing-bot",), ("assistant-with-tools",), clock.now,
        hints={"servers": {"crm": {"url": "https://crm.example/mcp"}}, "framework": "crewai"},
    )  # fmt: skip
    service.report(world, operator, [config])
    assert service.claim(world, ANN, finding.id, "mine").owner == "ann@example.com"
    done = service.register(world, ANN, finding.id, {"instructions": "Bill them."})
    assert (done.state, done.agent) == (State.REGISTERED, "billing-bot")
    with world.read() as conn:
        agent = registry.the_agent(conn, "default", "billing-bot")
    assert (str(agent.state), agent.owner, agent.framework) == ("requested", "ann@example.com", "crewai")
    assert agent.risk_tier == 4, "the highest, until somebody has looked"
    assert agent.manifest["spec"]["servers"] == {"crm": {"url": "https://crm.example/mcp"}}
    assert agent.manifest["spec"]["instructions"] == "Bill them."
    assert service.report(world, operator, [seen(clock)]).registered == 1, "and is no finding any more"
    assert told(world) == ["discovery.found", "discovery.claimed", "discovery.registered"]
    with pytest.raises(Refused, match="is registered by person:ann"):
        service.block(world, operator, finding.id, "late")


def test_a_name_that_an_agent_has_is_not_taken_by_a_finding(world: World, operator: Actor, finding: Finding) -> None:
    registry.apply(world, operator, manifest("other-bot", "http://127.0.0.1:9/v1"))
    with pytest.raises(Refused, match="other-bot already"):
        service.register(world, operator, finding.id, {"name": "other-bot"})


@pytest.mark.req("R031")
def test_what_is_blocked_is_refused_by_its_own_name_and_by_no_librarys(
    world: World, operator: Actor, finding: Finding
) -> None:
    done = service.block(world, operator, finding.id, "not vetted")
    assert done.blocked == ("billing-bot",)
    with world.read() as conn:
        blocked = service.facts(conn)["default"]
    with pytest.raises(Refused, match="billing-bot was blocked here: not vetted") as caught:
        let_in(blocked, products("Billing-Bot/2.0 OpenAI/Python 1.9"))
    assert caught.value.status == 403
    let_in(blocked, products("OpenAI/Python 1.9"))
    snapshot = Snapshot(1, world.clock(), blocked={"default": blocked})
    with pytest.raises(Refused, match="was blocked"):
        Introductions(Kept().spool).meet({"name": "billing_bot"}, principal("clerk"), snapshot, "")
    service.reopen(world, operator, finding.id, "it was vetted")
    with world.read() as conn:
        assert service.facts(conn) == {}


def test_what_has_only_the_name_of_its_library_cannot_be_refused_by_it(
    world: World, clock: FakeClock, operator: Actor
) -> None:
    nameless = heard.stranger(stranger(clock, "OpenAI/Python 1.99"))
    assert nameless is not None
    (found,) = service.report(world, operator, [nameless]).found
    assert service.block(world, operator, found.id, "stop").blocked == ()
    with world.read() as conn:
        assert service.facts(conn) == {}


def test_what_is_ignored_stays_so_when_it_is_seen_again(
    world: World, clock: FakeClock, operator: Actor, finding: Finding
) -> None:
    with pytest.raises(Refused, match="needs a reason"):
        service.ignore(world, operator, finding.id, " ")
    service.ignore(world, operator, finding.id, "a drill")
    (again,) = service.report(world, operator, [seen(clock)]).seen
    assert (again.state, again.note) == (State.IGNORED, "a drill")


@pytest.mark.parametrize(
    ("who", "may"),
    [(Role.OWNER, {"report", "claim"}), (Role.APPROVER, {"block"}), (Role.OPERATOR, {"report", "claim", "block"}),
     (Role.VIEWER, set()), (Role.AUDITOR, set())],
)  # fmt: skip
def test_who_may_do_what(world: World, clock: FakeClock, finding: Finding, who: Role, may: set[str]) -> None:
    actor = Actor("default", "person:x@example.com", frozenset({who}))
    verbs: dict[str, Callable[[], object]] = {
        "report": lambda: service.report(world, actor, [seen(clock)]),
        "claim": lambda: service.claim(world, actor, finding.id),
        "block": lambda: service.block(world, actor, finding.id, "why"),
    }
    for name, verb in verbs.items():
        if name in may:
            verb()
        else:
            with pytest.raises(Refused, match="may not do this"):
                verb()


def test_an_agent_that_was_retired_and_is_at_work_is_more_of_one(
    world: World, clock: FakeClock, operator: Actor
) -> None:
    registry.apply(world, operator, manifest("billing-bot", "http://127.0.0.1:9/v1"))
    weak = replace(seen(clock), signs=("own-name", "own-key"))
    assert service.report(world, operator, [weak]).registered == 1
    registry.transition(world, operator, "billing-bot", LifecycleState.REJECTED, "not needed")
    (found,) = service.report(world, operator, [weak]).found
    assert found.confidence == signs.confidence([*weak.signs, "was-retired"])


def test_a_flood_of_made_up_names_ends_where_the_room_does(
    world: World, clock: FakeClock, operator: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenure.discovery.merging.MAX_FINDINGS", 3)
    flood = [seen(clock, f"made-up-{n}", key=f"{n:012x}") for n in range(5)]
    done = service.report(world, operator, flood)
    assert (len(done.found), done.full) == (3, 2)


@pytest.mark.parametrize(
    "bad",
    [
        {"marks": ()},
        {"marks": ("nonsense",)},
        {"signs": ("no-sign",)},
        {"name": " "},
        {"what": "x" * 501},
        {"count": 0},
    ],
)
def test_what_is_no_sighting_is_refused_whole(
    world: World, clock: FakeClock, operator: Actor, bad: dict[str, Any]
) -> None:
    with pytest.raises(Refused, match="no sighting"):
        service.report(world, operator, [seen(clock), replace(seen(clock, "other-bot"), **bad)])
    with world.read() as conn:
        assert store.find(conn, "default") == []


def test_an_inner_agent_alone_is_none_and_a_strange_service_is(clock: FakeClock) -> None:
    known = heard.Known(frozenset({"clerk"}))
    inner = heard.spoken(Spoken("default", "clerk", "clerk", "planner", 1, clock.now), known)
    strange = heard.spoken(Spoken("default", "clerk", "refund-robot", "", 1, clock.now), known)
    assert inner is not None
    assert strange is not None
    assert inner.confidence < signs.SURE_ENOUGH <= strange.confidence
    assert heard.spoken(Spoken("default", "clerk", "clerk", "", 1, clock.now), known) is None


def test_a_refusal_of_a_registered_agent_is_no_sighting(clock: FakeClock) -> None:
    for error in ("token_expired", "token_wrong_audience", "token_bound", "bad_json"):
        assert heard.stranger(stranger(clock, error=error)) is None
    assert heard.stranger(stranger(clock, error="token_wrong_audience", lately=99)) is None
    goes_on = heard.stranger(stranger(clock, error="token_expired", lately=20))
    assert goes_on is not None
    assert "expired-credential" in goes_on.signs


def test_what_a_client_calls_itself() -> None:
    assert products("Billing_Bot/1.2 (Linux; x86) OpenAI/Python 1.99.1") == ("billing-bot", "openai")
    assert own_name("Billing_Bot/1.2 OpenAI/Python 1.99.1") == "billing-bot"
    assert own_name("OpenAI/Python 1.99.1") == own_name("curl/8") == own_name("") == ""
    assert key_mark("short") == ""
    assert len(key_mark(KEY)) == 12
    assert key_mark(KEY) != key_mark(f"{KEY}x")


def test_a_real_process_is_seen_without_the_values_of_its_environment(clock: FakeClock, tmp_path: Path) -> None:
    script = write(tmp_path, {"mail_agent.py": "import sys\nprint('ready', flush=True)\nsys.stdin.read()\n"})
    env = {**os.environ, "OPENAI_API_KEY": KEY}
    command = [sys.executable, str(script / "mail_agent.py")]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        mine = [one for one in machine.processes() if one.ident == f"pid {process.pid}"]
        process.communicate()
    found = machine.sighting(mine[0], "desk-7", clock.now + timedelta(seconds=1))
    assert found is not None
    assert found.name == "mail_agent"
    assert found.confidence >= signs.SURE_ENOUGH
    assert KEY not in repr(mine) + repr(found)
