"""Token exchange (RFC 8693) over HTTP: for people and for agents, never wider, and refused with an Event."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tenure.identity.model import LEEWAY_S
from tests.delegation.conftest import ACCESS_TOKEN, EXCHANGE, OPERATOR, Offices, spiffe
from tests.sim.agents_keys import key_pair, session


@pytest.mark.req("R024")
def test_an_agent_acts_for_a_person(offices: Offices) -> None:
    own = offices.started("asker")
    answer = offices.exchange("asker", own, offices.operator, scope="tool:files/* model:*", task="T-7")
    assert answer.json()["scope"] == "model:* tool:files/*"
    found = offices.read(answer.json()["access_token"])
    assert (found.agent, found.on_behalf_of, found.chain) == ("asker", OPERATOR, ())
    assert found.instance == offices.read(own).instance
    assert (found.task, found.scopes, found.bounds) == (
        "T-7",
        ("model:*", "tool:files/*"),
        (("model:*", "tool:files/*"),),
    )
    event = offices.told("token.issued")[-1]
    assert (event.agent, event.data["subject"], event.data["grant_type"]) == ("asker", f"person:{OPERATOR}", EXCHANGE)
    assert (event.data["task"], event.data["scopes"]) == ("T-7", ["model:*", "tool:files/*"])


@pytest.mark.req("R035")
def test_a_chain_carries_the_person_and_only_narrows(offices: Offices) -> None:
    first = offices.exchanged("asker", offices.started("asker"), offices.operator, task="T-8")
    second = offices.exchanged("helper", offices.started("helper"), first)
    third = offices.exchanged("third", offices.started("third"), second, scope="tool:files/read_file")
    found = offices.read(third)
    assert (found.agent, found.on_behalf_of, found.chain) == ("third", OPERATOR, ("asker", "helper"))
    assert (found.task, found.root) == ("T-8", f"person:{OPERATOR}")
    # The bound of asker's grant, and what was asked for last: one after the other, none is lost.
    assert found.bounds == (("tool:files/*", "agent:*", "model:*", "data:*"), ("tool:files/read_file",))
    claims = json.loads(base64.urlsafe_b64decode(third.split(".")[1] + "=="))
    nested = {"sub": spiffe("third"), "act": {"sub": spiffe("helper"), "act": {"sub": spiffe("asker")}}}
    assert (claims["sub"], claims["act"]) == (f"person:{OPERATOR}", nested)
    assert offices.told("token.issued")[-1].data["chain"] == ["asker", "helper", "third"]
    again = offices.exchanged("third", third, third)
    assert offices.read(again).chain == found.chain, "the agent itself is no further step"


def test_an_agent_with_a_key_needs_no_actor_token(offices: Offices) -> None:
    key = key_pair()
    made = offices.console.client.post("/v1/agents/helper/keys", dict, {"jwk": key.as_dict(private=False)})
    client = session(made["client_id"], key)
    token = client.fetch_token(
        f"{offices.console.url}/oauth/token",
        grant_type=EXCHANGE,
        subject_token=offices.started("asker"),
        subject_token_type=ACCESS_TOKEN,
    )
    found = offices.read(token["access_token"])
    assert (found.agent, found.instance, found.chain) == ("helper", made["instance"], ("asker",))
    assert found.root == "agent:asker"


@pytest.mark.req("R035")
def test_siblings_share_one_root(offices: Offices) -> None:
    parent = offices.started("asker", on_behalf_of=OPERATOR)
    roots = {offices.read(offices.exchanged("helper", offices.started("helper"), parent)).root for _ in range(3)}
    assert roots == {f"person:{OPERATOR}"}


@pytest.mark.req("R043")
def test_a_token_for_a_task_is_traded_for_narrower_ones_only(offices: Offices) -> None:
    own = offices.started("asker")
    narrow = offices.exchanged("asker", own, own, scope="tool:files/*", task="T-9")
    assert (offices.read(narrow).chain, offices.read(narrow).task) == ((), "T-9")
    narrower = offices.read(offices.exchanged("asker", narrow, narrow, scope="tool:files/read_file", task="T-10"))
    assert narrower.task == "T-9", "what it is for is not changed by handing it on"
    assert narrower.bounds == (("tool:files/*",), ("tool:files/read_file",))
    for wider in ("tool:*", "model:*", "tool:files/* agent:third"):
        offices.refused(
            offices.exchange("asker", narrow, narrow, scope=wider), "invalid_scope", "scope_too_wide", "asker"
        )
    # Nor is a narrow token a way to a wide one by way of a wide subject.
    assert offices.read(offices.exchanged("asker", narrow, own)).bounds == (("tool:files/*",),)


def test_a_token_lives_no_longer_than_what_it_came_of(offices: Offices) -> None:
    own = offices.started("asker", ttl_s=60)
    ends = offices.read(own).expires_at
    token = own
    for _ in range(3):
        token = offices.exchanged("asker", token, token)
        assert ends - 2 * LEEWAY_S < offices.read(token).expires_at <= ends


@pytest.mark.req("R043")
def test_what_a_person_does_not_reach_is_not_asked_for_on_their_behalf(offices: Offices) -> None:
    client, own = offices.console.client, offices.started("asker")
    client.put(f"/v1/people/{OPERATOR}/scopes", dict, {"scopes": ["tool:files/*"]})
    try:
        offices.exchanged("asker", own, offices.operator, scope="tool:files/read_file")
        beyond = offices.exchange("asker", own, offices.operator, scope="tool:payments/refund")
        offices.refused(beyond, "invalid_scope", "scope_too_wide", "asker")
    finally:
        client.put(f"/v1/people/{OPERATOR}/scopes", dict, {"scopes": None})


def _changed(token: str, **claims: Any) -> str:
    """A token whose claims were changed under its signature."""
    head, payload, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(payload + "==")) | claims
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b'=').decode()}.{signature}"


@pytest.mark.req("R024")
def test_attacks_are_refused_and_told(offices: Offices) -> None:
    asker, helper, third = (offices.started(name) for name in ("asker", "helper", "third"))
    chain = offices.exchanged("helper", helper, asker)
    deep = offices.exchanged("third", third, chain)
    ann = offices.started("helper", on_behalf_of="ann@example.com")
    forged = {"act": {"sub": spiffe("helper"), "act": {"sub": spiffe("asker")}}, "sub": f"person:{OPERATOR}"}
    attacks: list[tuple[str, str, Any]] = [
        ("invalid_target", "not_granted", ("asker", asker, helper)),
        ("invalid_target", "delegation_needs_approval", ("third", third, asker)),
        ("invalid_request", "subject_token_bad_signature", ("helper", helper, _changed(asker, **forged))),
        ("invalid_request", "subject_token_bad_signature", ("third", third, _changed(deep, sub=spiffe("helper")))),
        ("invalid_request", "actor_token_bad_signature", ("helper", _changed(helper, agent="third"), asker)),
        ("invalid_request", "bad_actor", ("helper", third, asker)),
        ("invalid_request", "actor_for_another", ("helper", ann, offices.operator)),
        ("invalid_request", "actor_busy", ("helper", chain, offices.operator)),
        ("invalid_request", "subject_unknown", ("helper", helper, "nonsense")),
        ("invalid_request", "actor_unknown", ("helper", "nonsense", asker)),
    ]
    for error, why, (agent, actor, subject) in attacks:
        offices.refused(offices.exchange(agent, actor, subject), error, why, agent)
    for more, why in (
        ({"subject_token_type": "urn:nonsense"}, "bad_subject_type"),
        ({"requested_token_type": "urn:nonsense"}, "bad_requested_type"),
        ({"actor_token": None, "actor_token_type": None}, "no_actor"),
        ({"actor_token_type": None}, "no_actor"),
        ({"task": "x" * 201}, "bad_task"),
    ):
        offices.refused(offices.exchange("helper", helper, asker, **more), "invalid_request", why, "helper")
    offices.refused(offices.exchange("helper", helper, asker, scope="crm"), "invalid_scope", "bad_scope", "helper")


@pytest.mark.req("R035")
def test_a_chain_that_is_too_deep_is_refused(offices: Offices) -> None:
    """Here two agents may stand before the one that acts."""
    first = offices.exchanged("asker", offices.started("asker"), offices.started("boss"))
    second = offices.exchanged("helper", offices.started("helper"), first)
    assert offices.read(second).chain == ("boss", "asker")
    third = offices.exchange("third", offices.started("third"), second)
    offices.refused(third, "invalid_target", "delegation_too_deep", "third")


@pytest.mark.req("R024")
def test_who_was_revoked_is_no_subject_and_no_actor(offices: Offices) -> None:
    client = offices.console.client
    asker, helper = offices.started("asker"), offices.started("helper")
    chain = offices.exchanged("helper", helper, asker)
    client.post("/v1/agents/asker/transitions", dict, {"to": "suspended", "reason": "a test asks"})
    try:
        offices.refused(offices.exchange("helper", helper, asker), "invalid_request", "subject_revoked", "helper")
        third = offices.started("third")
        offices.refused(offices.exchange("third", third, chain), "invalid_request", "subject_revoked", "third")
        offices.refused(offices.exchange("asker", asker, offices.operator), "invalid_request", "actor_revoked", "asker")
    finally:
        client.post("/v1/agents/asker/transitions", dict, {"to": "staging", "reason": "a test asks"})


def test_a_service_account_is_nobody_to_act_for(offices: Offices) -> None:
    client = offices.console.client
    client.post("/v1/services", dict, {"name": "ci", "roles": ["operator"]})
    key = client.post("/v1/services/ci/keys", dict, {"name": "ci", "scopes": ["tokens:delegate"]})["token"]
    offices.refused(offices.exchange("asker", offices.started("asker"), key), "invalid_request", "bad_subject", "asker")


def test_a_persons_token_delegates_only_as_far_as_its_own_scopes(offices: Offices) -> None:
    client, own = offices.console.client, offices.started("asker")
    reads = client.post("/v1/tokens", dict, {"name": "reads", "scopes": ["agents:read"]})["token"]
    offices.refused(offices.exchange("asker", own, reads), "invalid_request", "subject_not_permitted", "asker")
    gives = client.post("/v1/tokens", dict, {"name": "gives", "scopes": ["tokens:delegate"]})["token"]
    assert offices.read(offices.exchanged("asker", own, gives)).on_behalf_of == OPERATOR
