"""What is told of agents that nobody answers for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tenure.kernel.values import Event
from tenure.notify import words


@pytest.mark.req("R030")
def test_who_is_told_of_an_orphan_is_told_by_when_it_is_suspended() -> None:
    data: dict[str, Any] = {"kind": "left", "owner": "zoe@example.com", "due": "2026-01-04T12:00:00+00:00", "told": []}
    event = Event("e", "owner.concern_raised", datetime.now(UTC), "default", "system:owners", "clerk", data=data)
    message = words.message_of(event, str(words.topic_of(event)))
    assert message.title == "clerk: its owner has left, and nobody answers for it"
    assert message.path == "/owners"
    assert {"Owner: zoe@example.com", "Suspended: 2026-01-04 12:00 UTC"} <= set(message.lines)
