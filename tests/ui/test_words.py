"""What an operator reads: every Event that a room tells has a sentence, and none shows its type."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tenure.app.wiring import ROOMS
from tenure.gateway.events import EVENTS
from tenure.kernel.values import Event
from tenure.telemetry.words import feed_item
from tenure.ui.words import feed_row, say

TYPES = sorted({*EVENTS, *(kind for room in ROOMS for kind in room.events)})
NOW = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind not in ("import.call", "import.message", "otlp.span")])
def test_every_event_is_a_sentence(kind: str) -> None:
    spelled = kind.replace(".", " ").replace("_", " ")
    assert say(kind, {}).verb != spelled, "the console shows the type instead of a sentence"
    assert feed_item(1, Event("1", kind, NOW, "default", "person:a", data={})).title != spelled


@pytest.mark.parametrize(
    ("kind", "data", "sentence"),
    [
        ("token.issued", {}, "was given a credential"),
        ("content.opened", {"what": "a" * 32}, "looked at what was said: of trace aaaaaaaaaaaa"),
        ("content.opened", {"what": "search of clerk"}, "looked at what was said: search of clerk"),
        ("instance.ended", {"end": "lost"}, "was lost: its run stopped answering"),
        ("instance.ended", {"end": "exited", "exit_code": 0}, "ended a run"),
        ("approval.granted", {"resource": "p/refund", "reason": "agreed"}, "was approved for p/refund: by ada: agreed"),
        ("agent.transitioned", {"from": "staging", "to": "production"}, "went from staging to production: by ada"),
        ("breaker.reset", {"reason": "fixed"}, "may go on: a breaker was reset: by ada: fixed"),
        ("person.created", {"email": "b@c.d", "roles": ["owner", "viewer"]}, "added b@c.d: roles: owner, viewer"),
        (
            "call.completed",
            {"tenure.kind": "llm", "tenure.resource": "m", "gen_ai.usage.input_tokens": 1200},
            "asked m: 1,200 tokens in, 0 out",
        ),
        (
            "call.completed",
            {
                "tenure.kind": "llm",
                "tenure.resource": "m",
                "gen_ai.usage.input_tokens": 9,
                "tenure.cost_usd": "0.00123",
            },
            "asked m: 9 tokens in, 0 out, $0.0012",
        ),
    ],
)
def test_a_sentence_names_who_and_why(kind: str, data: dict[str, Any], sentence: str) -> None:
    said = say(kind, data, "ada")
    assert ": ".join(filter(None, (" ".join(filter(None, (said.verb, said.thing))), said.note))) == sentence


@pytest.mark.parametrize(
    ("actor", "shown"), [("system:policy", "Tenure"), ("gateway:local", "The gateway"), ("person:ada@b.c", "ada@b.c")]
)
def test_the_machinery_has_a_name(actor: str, shown: str) -> None:
    assert feed_row({"type": "policy.loaded", "actor": actor}).actor == shown
