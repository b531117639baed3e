"""What agents may do on somebody's behalf: on both databases, over HTTP, and on the person's page."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from tenure.app.main import whole
from tenure.app.server import COOKIE
from tenure.base import events
from tenure.base.room import World
from tenure.identity import people, service
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import PersonFact
from tenure.kernel.values import PEOPLE, Actor, Role
from tests.sim.console import running

ANN = "ann@example.com"


@pytest.fixture
def op(world: World) -> Actor:
    actor = Actor("default", f"person:{service.bootstrap(world).email}", PEOPLE)
    people.add_person(world, actor, ANN, ["viewer"])
    return actor


def _facts(world: World) -> dict[str, PersonFact]:
    with world.read() as conn:
        return people.facts(conn)


@pytest.mark.req("R043")
def test_a_limit_is_a_fact_is_told_and_is_lifted(world: World, op: Actor) -> None:
    assert _facts(world) == {}
    assert people.limit_person(world, op, ANN, ["tool:mail/*", "tool:crm/*", "tool:crm/*"]) == (
        "tool:crm/*",
        "tool:mail/*",
    )
    assert _facts(world) == {f"default/{ANN}": PersonFact("default", ANN, ("tool:crm/*", "tool:mail/*"))}
    people.limit_person(world, op, ANN, ["tool:crm/*"])
    assert _facts(world)[f"default/{ANN}"].scopes == ("tool:crm/*",)
    people.limit_person(world, op, ANN, [])
    assert _facts(world)[f"default/{ANN}"] == PersonFact("default", ANN, ())
    people.limit_person(world, op, ANN, None)
    people.limit_person(world, op, ANN, None)
    assert _facts(world) == {}
    with world.read() as conn:
        told = [one.event for one in events.read(conn, 0) if one.event.type == "person.limited"]
    assert [one.data["scopes"] for one in told] == [["tool:crm/*", "tool:mail/*"], ["tool:crm/*"], [], None]
    assert {one.actor for one in told} == {op.name}


def test_who_is_limited_and_who_may_say_so(world: World, op: Actor) -> None:
    for who in (Actor("default", f"person:{ANN}", PEOPLE - {Role.OPERATOR}), Actor("elsewhere", "person:x", PEOPLE)):
        with pytest.raises(Refused) as refused:
            people.limit_person(world, who, ANN, None)
        assert refused.value.status in (403, 404)
    with pytest.raises(Refused, match="is no scope"):
        people.limit_person(world, op, ANN, ["crm"])
    with pytest.raises(Refused, match="There is no"):
        people.limit_person(world, op, "nobody@example.com", [])


@pytest.mark.req("R043")
def test_for_whoever_is_gone_nothing_is_done_until_they_are_back_as_they_were(world: World, op: Actor) -> None:
    key = f"default/{ANN}"
    people.remove_person(world, op, ANN)
    assert _facts(world) == {key: PersonFact("default", ANN, (), gone=True)}
    people.add_person(world, op, ANN, ["viewer"])
    assert _facts(world) == {}
    people.limit_person(world, op, ANN, ["tool:crm/*"])
    people.remove_person(world, op, ANN)
    assert _facts(world)[key] == PersonFact("default", ANN, (), gone=True)
    people.add_person(world, op, ANN, ["owner"])
    assert _facts(world)[key] == PersonFact("default", ANN, ("tool:crm/*",))


def test_who_is_gone_at_home_is_gone_everywhere(world: World, op: Actor) -> None:
    home = Actor("default", op.name, PEOPLE)
    people.create_workspace(world, home, "elsewhere")
    other = Actor("elsewhere", op.name, PEOPLE)
    people.add_person(world, other, ANN, ["operator"])
    people.add_person(world, home, "boss@example.com", ["operator"])
    people.remove_person(world, Actor("default", "person:boss@example.com", PEOPLE), service.FIRST_OPERATOR)
    gone = {key for key, fact in _facts(world).items() if fact.gone}
    assert gone == {f"default/{service.FIRST_OPERATOR}", f"elsewhere/{service.FIRST_OPERATOR}"}


@pytest.mark.req("R043")
def test_the_command_the_api_and_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as console:
        console.client.post("/v1/people", dict, {"email": ANN, "roles": ["viewer"]})
        monkeypatch.setenv("TENURE_URL", console.url)
        monkeypatch.setenv("TENURE_TOKEN", (tmp_path / "operator.token").read_text().strip())
        runner = CliRunner()
        done = runner.invoke(whole(), ["people", "limit", ANN, "--scope", "tool:crm/*", "--scope", "model:*"])
        assert (done.exit_code, done.output) == (0, f"agents may do for {ANN}: model:* tool:crm/*\n")
        assert runner.invoke(whole(), ["people", "limit", ANN]).exit_code == 2
        assert "model:* tool:crm/*" in runner.invoke(whole(), ["people", "list"], env={"COLUMNS": "200"}).output
        headers = {"Cookie": f"{COOKIE}={console.cookie()}", "Sec-Fetch-Site": "same-origin"}
        with httpx2.Client(base_url=console.url, headers=headers, trust_env=False) as person:
            assert "2 scopes" in person.get("/people").text
            assert "tool:crm/*" in person.get(f"/people/{ANN}").text
            sent = person.post(f"/people/{ANN}/scopes", data={"limited": "yes", "scopes": "tool:crm/read\nmodel:*"})
            assert sent.status_code == 303
            assert "It holds from the next call on." in person.get(sent.headers["location"]).text
            wrong = person.post(f"/people/{ANN}/scopes", data={"limited": "yes", "scopes": "crm"})
            assert (wrong.status_code, "is no scope" in wrong.text) == (422, True)
            assert person.get("/people/nobody@example.com").status_code == 404
        found = console.client.get("/v1/people", dict)["people"]
        assert {one["email"]: one["scopes"] for one in found}[ANN] == ["model:*", "tool:crm/read"]
        assert runner.invoke(whole(), ["people", "limit", ANN, "--lift"]).exit_code == 0
        assert console.client.get("/v1/people", dict)["people"][-1]["scopes"] is None
