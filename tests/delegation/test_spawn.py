"""Agents that start others: a child has its parent's limits, person and end, and no way out of them."""

from __future__ import annotations

from typing import Any

import pytest

from tenure.base import events
from tenure.client import Client
from tenure.identity.model import LEEWAY_S
from tenure.kernel.errors import Refused
from tenure.kernel.ids import moment_span, session_trace
from tests.delegation.conftest import OPERATOR, Offices


def _start(offices: Offices, parent: str, agent: str, **how: Any) -> dict[str, Any]:
    with Client(offices.console.url, parent) as client:
        return dict(client.post(f"/v1/agents/{agent}/instances", dict, how))


@pytest.mark.req("R035")
def test_a_child_has_its_parents_limits_person_and_end(offices: Offices) -> None:
    parent = offices.started("asker", on_behalf_of=OPERATOR, ttl_s=120, task="T-1")
    children = [_start(offices, parent, "helper", scopes=["tool:files/read_file"]) for _ in range(3)]
    for child in children:
        found = offices.read(child["token"])
        assert (found.agent, found.chain, found.on_behalf_of) == ("helper", ("asker",), OPERATOR)
        assert found.bounds == (("tool:files/*", "agent:*", "model:*", "data:*"), ("tool:files/read_file",))
        assert found.task == "T-1"
        assert found.expires_at <= offices.read(parent).expires_at + LEEWAY_S
    assert {offices.read(child["token"]).root for child in children} == {f"person:{OPERATOR}"}
    with offices.console.app.state.world.read() as conn:
        [*_, told] = [one.event for one in events.read(conn, 0, 100_000) if one.event.type == "instance.started"]
    assert (told.actor, told.agent) == ("agent:asker", "helper")
    assert (told.data["parent"], told.data["chain"]) == (offices.read(parent).instance, ["asker"])


@pytest.mark.req("R035")
def test_a_child_of_a_child_is_as_deep_as_any_chain(offices: Offices) -> None:
    first = _start(offices, offices.started("boss"), "asker")
    second = _start(offices, first["token"], "helper")
    assert offices.read(second["token"]).chain == ("boss", "asker")
    with pytest.raises(Refused) as refused:
        _start(offices, second["token"], "third")
    assert refused.value.code == "delegation_too_deep"


def place(offices: Offices, token: str) -> tuple[str, str, str | None]:
    """The trace of a token's work, the moment below which it is, and what that one is below."""
    given = offices.read(token).handed_by
    assert given is not None
    _, trace, span, _ = given.split("-")
    told = next(event for event in offices.told("token.issued") if moment_span(event.id) == span)
    assert told.trace_id == trace
    return trace, span, told.parent_span_id


@pytest.mark.req("R085")
def test_work_that_is_handed_on_with_a_token_goes_on_in_the_trace_of_whoever_handed_it_on(offices: Offices) -> None:
    boss = offices.started("boss")
    of_boss = session_trace("default", offices.read(boss).session)
    assert offices.read(boss).handed_by is None
    child = _start(offices, boss, "asker")["token"]
    assert place(offices, child) == (of_boss[0], place(offices, child)[1], of_boss[1])
    begun = [one for one in offices.told("instance.started") if one.instance == offices.read(child).instance]
    assert [(one.trace_id, one.parent_span_id) for one in begun] == [of_boss]
    exchanged = offices.exchanged("helper", offices.started("helper"), child)
    trace, _, above = place(offices, exchanged)
    assert (trace, above) == (of_boss[0], place(offices, child)[1])


@pytest.mark.req("R035")
@pytest.mark.parametrize(
    ("parent", "child", "how", "code"),
    [
        ("helper", "asker", {}, "not_granted"),
        ("asker", "third", {}, "delegation_needs_approval"),
        ("asker", "helper", {"scopes": ["tool:payments/refund"]}, "scope_too_wide"),
        ("asker", "helper", {"on_behalf_of": "ann@example.com"}, "other_person"),
        ("asker", "helper", {"scopes": ["payments"]}, "bad_scope"),
        ("asker", "helper", {"task": "x" * 201}, "bad_task"),
    ],
)
def test_no_agent_starts_what_reaches_further(
    offices: Offices, parent: str, child: str, how: dict[str, Any], code: str
) -> None:
    with pytest.raises(Refused) as refused:
        _start(offices, offices.started(parent), child, **how)
    assert refused.value.code == code


def test_who_may_not_act_starts_nobody(offices: Offices) -> None:
    client, parent = offices.console.client, offices.started("asker")
    client.post("/v1/agents/asker/transitions", dict, {"to": "suspended", "reason": "a test asks"})
    try:
        with pytest.raises(Refused):
            _start(offices, parent, "helper")
    finally:
        client.post("/v1/agents/asker/transitions", dict, {"to": "staging", "reason": "a test asks"})


@pytest.mark.req("R043")
def test_a_narrow_token_is_not_renewed_into_a_wide_one(offices: Offices) -> None:
    own = offices.console.client.post("/v1/agents/asker/instances", dict)
    where = f"/v1/instances/{own['instance']}/token"
    narrow = offices.exchanged("asker", own["token"], own["token"], scope="tool:files/read_file")
    child = _start(offices, own["token"], "helper")
    for token, address in ((narrow, where), (child["token"], f"/v1/instances/{child['instance']}/token")):
        with Client(offices.console.url, token) as client, pytest.raises(Refused) as refused:
            client.post(address, dict)
        assert refused.value.code == "no_renewal"
    with Client(offices.console.url, own["token"]) as client:
        assert offices.read(client.post(where, dict)["token"]).bounds == ()


@pytest.mark.req("R043")
def test_who_started_it_renews_it_within_what_it_was_started_with(offices: Offices) -> None:
    client, wish = offices.console.client, {"scopes": ["tool:files/read_file"], "task": "T-2", "renewed": True}
    own = client.post("/v1/agents/asker/instances", dict, wish)
    newer = client.post(f"/v1/instances/{own['instance']}/token", dict)["token"]
    for token in (own["token"], newer):
        found = offices.read(token)
        assert (found.bounds, found.task) == ((("tool:files/read_file",),), "T-2")
