"""What of an Event is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tenure.base.scan.kept import kept, kept_of_json
from tenure.base.scan.rules import kinds_of
from tenure.kernel.values import Event, Status

KEY = "AKIAIOSFODNN7EXAMPLE"
MARK = "[redacted:secret/aws-access-key]"


def event(**data: Any) -> Event:
    return Event("e1", "call.completed", datetime(2026, 1, 1, tzinfo=UTC), "default", "agent:clerk", data=data)


def test_an_event_without_findings_is_the_same_object() -> None:
    plain = event(**{"gen_ai.input.messages": [{"role": "user", "parts": [{"content": "good morning"}]}]})
    assert kept(plain, {"personal"}) is plain


@pytest.mark.req("R094")
@pytest.mark.parametrize(
    "said",
    ["good morning", KEY, f'{{"key": "{KEY}"}}', "AKIA\\u0049OSFODNN7EXAMPLE", "4111 1111 1111 1111", "\u00e9\\n"],
)
def test_of_json_the_same_is_kept_whichever_way_it_is_looked_at(said: str) -> None:
    for one in (event(text=said), event(**{said: 1}), replace(event(), session=said)):
        assert kept_of_json(one, {"personal"}) == kept(one, {"personal"})


@pytest.mark.req("R094", "R092")
def test_findings_are_noted_with_their_place_and_secrets_taken_out() -> None:
    found = kept(
        event(
            **{
                "gen_ai.input.messages": [{"parts": [{"content": f"{KEY} and {KEY}, ada@analytical.example"}]}],
                "gen_ai.tool.call.result": {"card": "4111 1111 1111 1111"},
                KEY: 1,
            }
        ),
        {"personal"},
    )
    assert found.data["gen_ai.input.messages"] == [
        {"parts": [{"content": f"{MARK} and {MARK}, ada@analytical.example"}]}
    ]
    assert found.data["gen_ai.tool.call.result"] == {"card": "[redacted:personal/card]"}
    assert found.data[MARK] == 1
    assert found.data["tenure.findings"] == [
        {"rule": "contact/email", "place": "prompt", "count": 1},
        {"rule": "secret/aws-access-key", "place": "prompt", "count": 2},
        {"rule": "personal/card", "place": "result", "count": 1},
        {"rule": "secret/aws-access-key", "place": "record", "count": 1},
    ]
    assert found.status is Status.FLAGGED
    assert kinds_of(row["rule"] for row in found.data["tenure.findings"]) == ["contact", "personal", "secret"]
    assert kept(found, {"personal"}) == found, "what passes here a second time is neither counted nor changed again"


@pytest.mark.req("R094")
def test_secrets_go_whatever_is_asked_for_and_the_rest_as_asked() -> None:
    sent = event(text=f"{KEY} 4111 1111 1111 1111")
    assert kept(sent, ()).data["text"] == f"{MARK} 4111 1111 1111 1111"
    assert kept(sent, {"personal"}).data["text"] == f"{MARK} [redacted:personal/card]"


def test_personal_data_is_noted_and_is_no_reason_to_flag() -> None:
    noted = kept(event(text="ada@analytical.example, 4111 1111 1111 1111"), {"personal"})
    assert (noted.status, len(noted.data["tenure.findings"])) == (Status.ALLOWED, 2)


def test_a_graver_status_stays() -> None:
    assert kept(replace(event(text=KEY), status=Status.VIOLATION), ()).status is Status.VIOLATION


def test_a_session_that_was_named_by_a_secret_keeps_another_name() -> None:
    assert kept(replace(event(), session=f"s {KEY}"), ()).session == f"s {MARK}"
