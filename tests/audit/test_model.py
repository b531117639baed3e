"""What an Event leaves in the chain: identifiers, digests and decisions, never content; and the canonical form."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from tenure.audit.model import (
    GENESIS,
    KEPT,
    Checkpoint,
    Entry,
    body_digest,
    entry_hash,
    facts,
    read_checkpoint,
    seal,
    sign_checkpoint,
)
from tenure.kernel.json import canonical
from tenure.kernel.values import Event, Status

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "IBAN DE89 3704 0044 0532 0130 00"


def event(kind: str, /, **data: Any) -> Event:
    return Event("e1", kind, WHEN, "default", "agent:clerk", agent="clerk", release="sha256:ab", data=data)


@pytest.mark.req("R169")
def test_a_call_leaves_its_decision_and_no_content() -> None:
    told = event(
        "call.completed",
        **{
            "tenure.call.id": "c1",
            "tenure.kind": "tool",
            "tenure.resource": "bank/pay",
            "tenure.decision": {
                "effect": "deny",
                "reason": SECRET,
                "policies": ["limits/large"],
                "obligations": [],
                "policy_version": "v1",
            },
            "tenure.violation": True,
            "gen_ai.tool.call.arguments": {"to": SECRET},
            "gen_ai.tool.call.result": SECRET,
            "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": SECRET}]}],
        },
    )
    kept = facts(replace(told, status=Status.VIOLATION, session="s1"))
    assert kept == {
        "release": "sha256:ab",
        "session": "s1",
        "status": "violation",
        "tenure.call.id": "c1",
        "tenure.kind": "tool",
        "tenure.resource": "bank/pay",
        "tenure.violation": True,
        "decision": {"effect": "deny", "policies": ["limits/large"], "obligations": [], "policy_version": "v1"},
    }
    (entry,) = seal([told], 0, GENESIS)
    assert SECRET not in repr(entry)
    assert entry.digest == body_digest(told)
    assert entry.digest != body_digest(replace(told, data={**told.data, "gen_ai.tool.call.result": "other"}))


def test_the_loss_of_events_leaves_an_entry() -> None:
    assert "gateway.dropped" in KEPT
    assert facts(event("gateway.dropped", count=3))["count"] == 3


@pytest.mark.parametrize("kind", sorted(KEPT))
def test_free_text_in_any_place_stays_out(kind: str) -> None:
    long = SECRET * 10
    data: dict[str, Any] = {name: {"nested": SECRET} for name in KEPT[kind]} | {
        "reason": SECRET,
        "arguments": {"x": SECRET},
    }
    assert SECRET not in repr(facts(event(kind, **data)))
    data = dict.fromkeys(KEPT[kind], long) | {"reason": long}
    assert SECRET not in repr(facts(event(kind, **data)))
    data = {name: [long, {"x": SECRET}] for name in KEPT[kind]}
    assert SECRET not in repr(facts(event(kind, **data)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(
    kind=st.sampled_from(sorted(KEPT)),
    actor=st.text(max_size=300),
    data=st.data(),
)
def test_any_event_can_be_sealed_and_its_form_is_canonical(kind: str, actor: str, data: st.DataObject) -> None:
    attributes = {name: data.draw(json_values) for name in KEPT[kind]}
    decision = {part: data.draw(json_values) for part in ("effect", "policies", "reason")}
    told = replace(event(kind, **(attributes | {"tenure.decision": decision})), actor=actor)
    told = msgspec.json.decode(msgspec.json.encode(told), type=Event) if _json_safe(told) else told
    (entry,) = seal([told], 7, GENESIS)
    assert "\x00" not in repr(asdict(entry).values())
    kept = msgspec.json.decode(entry.facts)
    assert canonical(kept).decode() == entry.facts
    body = {name: value for name, value in asdict(entry).items() if name != "hash"}
    assert msgspec.json.encode(body, order="deterministic") == canonical(body)
    assert entry_hash(entry) == entry.hash


def _json_safe(told: Event) -> bool:
    try:
        msgspec.json.decode(msgspec.json.encode(told), type=Event)
    except (msgspec.MsgspecError, OverflowError):
        return False
    return True


def test_the_hash_of_an_entry_never_changes_between_versions() -> None:
    entry = Entry(1, "w", 5, "e", "t", "person:é\n", None, "sha256:d", '{"a":1}', GENESIS, "")
    written = (
        "tenure audit entry v1\n"
        '{"actor":"person:é\\n","agent":null,"digest":"sha256:d","event":"e","facts":"{\\"a\\":1}",'
        f'"prev":"{GENESIS}","seq":1,"time_us":5,"type":"t","workspace":"w"}}'
    )
    assert entry_hash(entry) == hashlib.sha256(written.encode()).hexdigest()


KEY = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True).as_dict(private=True)


def test_a_checkpoint_is_believed_only_as_it_was_signed() -> None:
    checkpoint = Checkpoint(5, "ab" * 32, WHEN)
    data = sign_checkpoint(checkpoint, KEY)
    public = ECKey.import_key(KEY).as_dict(private=False)
    assert read_checkpoint(data, public) == checkpoint
    body = msgspec.json.decode(data)
    other = ECKey.generate_key("P-256", {}, auto_kid=True).as_dict(private=True)
    for wrong in (
        b"",
        b"[]",
        b"{",
        data[:-5],
        msgspec.json.encode(body | {"size": 4}),
        msgspec.json.encode(body | {"size": 5.0}),
        msgspec.json.encode(body | {"size": True}),
        msgspec.json.encode(body | {"head": "cd" * 32}),
        msgspec.json.encode(body | {"time": "2026-01-02T00:00:00+00:00"}),
        msgspec.json.encode(body | {"time": "2026-01-01T00:00:00"}),
        msgspec.json.encode(body | {"signature": "a..b"}),
        msgspec.json.encode(body | {"signature": None}),
        sign_checkpoint(checkpoint, other),
    ):
        assert read_checkpoint(wrong, public) is None, wrong
