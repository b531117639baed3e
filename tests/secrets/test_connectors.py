"""People let agents in at an upstream: consent, tokens that stay here, refreshing, and whom they serve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
import sqlalchemy as sa

from tenure.base import durable, events
from tenure.base.db import metadata
from tenure.base.room import World
from tenure.base.sealing import Box
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.snapshot import SecretFact
from tenure.kernel.values import PEOPLE, Actor, LifecycleState
from tenure.registry import service as registry
from tenure.secrets import connectors, endings, service
from tenure.secrets.endings import Outcome
from tenure.secrets.flow import REVOKE
from tenure.secrets.model import Connector, Ending
from tests.sim.clock import FakeClock
from tests.sim.consent_upstream import CLIENT, SECRET, ConsentUpstream
from tests.sim.manifests import manifest

ANN, BOB = (Actor("default", f"person:{name}@example.com", PEOPLE) for name in ("ann", "bob"))
ANNS, BOBS = ("default/crm/ann@example.com", "default/crm/bob@example.com")

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ConsentUpstream]:
    with ConsentUpstream() as process:
        yield process


@pytest.fixture
def crm(vault: World, operator: Actor, upstream: ConsentUpstream) -> World:
    """A workspace with a connector to the upstream, and an agent that uses it."""
    upstream.behave(life=3600, down=False)
    host = urlsplit(upstream.url).netloc
    service.put(vault, operator, "crm-client", SECRET, hosts=[host])
    connectors.put(
        vault,
        operator,
        Connector(
            "", "crm", f"{upstream.url}/authorize", f"{upstream.url}/token", CLIENT, "crm-client", ("read",), (host,)
        ),
    )
    body = manifest("clerk", "https://api.example.com/v1")
    body["spec"]["servers"] = {"crm": {"url": f"{upstream.url}/mcp", "connector": "crm"}}
    registry.apply(vault, operator, body)
    return vault


def _facts(world: World) -> dict[str, SecretFact]:
    with world.read() as conn:
        agents = {
            key: replace(fact, state=LifecycleState.PRODUCTION) for key, fact in registry.agent_facts(conn).items()
        }
        return service.facts(conn, agents, world.clock())


def _tokens(world: World) -> dict[str, str]:
    """What gateways would have, by key."""
    box, facts = Box(), _facts(world)
    if not facts:
        return {}
    values = msgspec.json.decode(box.opened(service.sealed_for(world, facts, box.public)), type=dict[str, str])
    return {key: values[fact.mark] for key, fact in facts.items()}


def _connect(world: World, upstream: ConsentUpstream, actor: Actor) -> None:
    begun = connectors.begin(world, actor, "crm")
    user = actor.name.partition(":")[2].partition("@")[0]
    connectors.finish(world, actor, "crm", binding=begun.binding, **upstream.consent(begun.url, user))


@pytest.mark.req("R041", "R043")
def test_a_person_lets_agents_in_and_out_again(crm: World, upstream: ConsentUpstream) -> None:
    begun = connectors.begin(crm, ANN, "crm")
    query = dict(parse_qsl(urlsplit(begun.url).query))
    assert (query["code_challenge_method"], query["scope"], query["client_id"]) == ("S256", "read", CLIENT)
    connectors.finish(crm, ANN, "crm", binding=begun.binding, **upstream.consent(begun.url, "ann"))
    _connect(crm, upstream, BOB)
    tokens = _tokens(crm)
    assert {key: upstream.whoami(token) for key, token in tokens.items()} == {ANNS: "ann", BOBS: "bob"}
    (one, mine), *_ = connectors.find(crm, ANN)
    assert (one.name, mine and mine.email) == ("crm", "ann@example.com")
    assert connectors.disconnect(crm, ANN, "crm") == Outcome("revoked")
    assert upstream.whoami(tokens[ANNS]) is None, "revoked there, too"
    assert set(_tokens(crm)) == {BOBS}
    with pytest.raises(Refused, match="not let agents in"):
        connectors.disconnect(crm, ANN, "crm")
    connectors.remove(crm, ANN, "crm")
    assert _tokens(crm) == {}
    assert upstream.whoami(tokens[BOBS]) == "bob", "nobody waited for it"
    assert durable.run_due(crm, REVOKE, "a test") == 1
    assert upstream.whoami(tokens[BOBS]) is None
    with crm.read() as conn:
        names = [row.name for row in conn.execute(sa.select(metadata.tables["secret_version"].c.name))]
    assert names == ["crm-client"]


@pytest.mark.req("R041")
@pytest.mark.parametrize("returns", [True, False])
def test_an_upstream_that_does_not_answer_is_asked_again_to_revoke(
    crm: World, upstream: ConsentUpstream, clock: FakeClock, *, returns: bool
) -> None:
    _connect(crm, upstream, ANN)
    token = _tokens(crm)[ANNS]
    upstream.behave(down=True)
    outcome = connectors.disconnect(crm, ANN, "crm")
    assert outcome.upstream == "pending"
    assert "does not answer" in outcome.problem
    assert _tokens(crm) == {}, "agents are let in no longer all the same"
    assert durable.run_due(crm, REVOKE, "a test") == 0, "not at once"
    waited = 0.0
    upstream.behave(down=not returns)
    while not _ends(crm):
        clock.advance(600)
        waited += 600
        durable.run_due(crm, REVOKE, "a test")
    assert waited < 86_400
    kind, data = _ends(crm)[0]
    assert (kind, data["person"]) == ("connector.revoked" if returns else "connector.not_revoked", "ann@example.com")
    assert data["attempts"] == (2 if returns else 8)
    upstream.behave(down=False)
    assert (upstream.whoami(token) is None) == returns
    assert token not in str(_ends(crm))


def test_an_upstream_that_names_no_place_for_it_is_told_of_in_the_answer(crm: World, upstream: ConsentUpstream) -> None:
    upstream.behave(revokes=False)
    try:
        _connect(crm, upstream, ANN)
        outcome = connectors.disconnect(crm, ANN, "crm")
    finally:
        upstream.behave(revokes=True)
    assert outcome.upstream == "not_revoked"
    assert "names no place where tokens are revoked" in outcome.problem
    ((kind, data),) = _ends(crm)
    assert (kind, data["problem"]) == ("connector.not_revoked", outcome.problem)


def test_metadata_are_looked_for_under_every_beginning_of_the_endpoints() -> None:
    ending = Ending(
        "1", "w", "c", "e", "https://a.example/authorize", "https://t.example/oauth2/default/v1/token", "", "", 0, NOW
    )
    assert list(endings._places(ending)) == [
        "https://t.example/.well-known/oauth-authorization-server",
        "https://t.example/.well-known/openid-configuration",
        "https://t.example/.well-known/oauth-authorization-server/oauth2",
        "https://t.example/oauth2/.well-known/openid-configuration",
        "https://t.example/.well-known/oauth-authorization-server/oauth2/default",
        "https://t.example/oauth2/default/.well-known/openid-configuration",
        "https://t.example/.well-known/oauth-authorization-server/oauth2/default/v1",
        "https://t.example/oauth2/default/v1/.well-known/openid-configuration",
        "https://a.example/.well-known/oauth-authorization-server",
        "https://a.example/.well-known/openid-configuration",
    ]


def _ends(world: World) -> list[tuple[str, dict[str, Any]]]:
    """The Events of how revocations at an upstream ended."""
    with world.read() as conn:
        found = [one.event for one in events.read(conn, 0)]
    return [(one.type, dict(one.data)) for one in found if one.type.endswith("revoked")]


@pytest.mark.req("R041")
def test_no_token_is_kept_or_told_in_the_clear(crm: World, upstream: ConsentUpstream) -> None:
    _connect(crm, upstream, ANN)
    with crm.read() as conn:
        rows = "\n".join(repr(row) for table in metadata.sorted_tables for row in conn.execute(sa.select(table)))
    assert "canary" not in rows + repr(connectors.find(crm, ANN)) + repr(_facts(crm))
    assert all(token.startswith("access-canary-") for token in _tokens(crm).values()), "no gateway has a refresh token"


@pytest.mark.req("R037")
def test_tokens_are_refreshed_before_they_end(crm: World, upstream: ConsentUpstream, clock: FakeClock) -> None:
    upstream.behave(life=100)
    _connect(crm, upstream, ANN)
    first = _tokens(crm)[ANNS]
    for round_ in range(2):
        clock.advance(70)
        with crm.read() as conn:
            assert list(connectors.due(conn, clock())) == []
        clock.advance(6)
        with crm.read() as conn:
            assert list(connectors.due(conn, clock())) == [ANNS]
        assert connectors.refresh(crm, ANNS), round_
        assert not connectors.refresh(crm, ANNS), "once is enough"
    second = _tokens(crm)[ANNS]
    assert second != first
    assert upstream.whoami(second) == "ann"
    service.drop_outdated(crm)
    assert _tokens(crm) == {ANNS: second}


def test_an_upstream_that_is_down_is_asked_again_and_one_that_says_no_is_not(
    crm: World, upstream: ConsentUpstream, clock: FakeClock
) -> None:
    upstream.behave(life=100)
    _connect(crm, upstream, ANN)
    clock.advance(80)
    upstream.behave(down=True)
    assert not connectors.refresh(crm, ANNS)
    assert set(_tokens(crm)) == {ANNS}, "the token is good for a while"
    clock.advance(30)
    assert _tokens(crm) == {}, "and then it is not"
    upstream.behave(down=False)
    assert connectors.refresh(crm, ANNS)
    assert set(_tokens(crm)) == {ANNS}
    upstream.behave(forget=True)
    clock.advance(80)
    assert connectors.refresh(crm, ANNS)
    assert _tokens(crm) == {}
    assert "not take the refresh token" in str(connectors.find(crm, ANN)[0][1])
    with crm.read() as conn:
        assert list(connectors.due(conn, clock())) == []
    _connect(crm, upstream, ANN)
    assert set(_tokens(crm)) == {ANNS}


def test_a_consent_belongs_to_who_began_it(crm: World, upstream: ConsentUpstream, clock: FakeClock) -> None:
    for case in ("person", "browser", "twice", "late", "state", "code"):
        begun = connectors.begin(crm, ANN, "crm")
        back = upstream.consent(begun.url, "ann")
        actor, binding, error = ANN, begun.binding, "not_begun_here"
        if case == "person":
            actor = BOB
        elif case == "browser":
            binding = "another"
        elif case == "twice":
            connectors.finish(crm, ANN, "crm", binding=binding, **back)
        elif case == "late":
            clock.advance(601)
        elif case == "state":
            back["state"] = "another"
        else:
            back["code"], error = "another", "not_granted"
        with pytest.raises(Refused) as caught:
            connectors.finish(crm, actor, "crm", binding=binding, **back)
        assert caught.value.code == error, case
    assert set(_tokens(crm)) <= {ANNS}


def test_only_a_person_consents_and_only_an_operator_sets_up(crm: World, operator: Actor) -> None:
    for actor in (Actor("default", "service:ci", PEOPLE), Actor("default", "agent:clerk")):
        with pytest.raises(Refused) as caught:
            connectors.begin(crm, actor, "crm")
        assert caught.value.status == 403
    kept = connectors.find(crm, operator)[0][0]
    with pytest.raises(Refused):
        connectors.put(crm, replace(ANN, roles=frozenset()), kept)
    with pytest.raises(Refused, match="https"):
        connectors.put(crm, operator, replace(kept, token_url="http://crm.example/token"))
    with pytest.raises(Refused, match="no connector"):
        connectors.begin(crm, replace(ANN, workspace="other"), "crm")


@pytest.mark.req("R041", "R042")
def test_a_token_and_a_clients_secret_go_where_they_may(crm: World, operator: Actor, upstream: ConsentUpstream) -> None:
    body = manifest("eve", "https://api.example.com/v1")
    body["spec"]["servers"] = {"crm": {"url": "https://evil.example/mcp", "connector": "crm"}}
    with pytest.raises(Refused) as caught:
        registry.apply(crm, operator, body)
    assert "does not lead to" in str(caught.value.details)
    service.put(crm, operator, "crm-client", None, hosts=["api.example.com"])
    with pytest.raises(Failed, match="may not be sent"):
        _connect(crm, upstream, ANN)
