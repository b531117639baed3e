"""Rules about what comes back, by who stands behind the call, and what they come to: the same for every wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = "4111 1111 1111 1111"
PERSON = "ann@example.com"
TIERS: Mapping[str, dict[str, Any]] = {
    "interactive": {"on_behalf_of": PERSON},
    "subagent": {"on_behalf_of": PERSON, "chain": ("boss",), "chain_epochs": (1,)},
    "background": {"started": True},
    "api": {},
}
"""What a token says, by the tier that it makes of a call; ``boss`` is an agent in production."""
COMES_TO = {"interactive": "redacted", "subagent": "withheld", "background": "withheld", "api": "whole"}
"""What becomes of an answer that holds a card's number."""


def rules(action: str) -> str:
    """A person is shown what came back without the number; nobody sees it where no person looks; a program gets all."""
    scope = f'principal, action == Action::"{action}", resource'
    return f"""
@id("cut-for-people") @obligation("redact:personal") permit ({scope})
when {{ context.returned.contains("personal") && context.tier == "interactive" }};
@id("not-unseen") @reason("Nobody is there to see it.") forbid ({scope})
when {{ context.returned.contains("personal") && ["subagent", "background"].contains(context.tier) }};
"""
