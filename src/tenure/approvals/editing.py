"""Other arguments for a held call. Pure.

An approval never covers another call than the one that was shown. A person who changes the arguments approves the
changed call: whoever approved it as it was has not seen it, so their answer is gone, and whoever else is needed is
shown what it is now and answers with its digest. The gateway that holds the agent's call makes it with these arguments
or not at all.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from tenure.approvals.model import Approval
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject, digest

MAX_ARGUMENTS = 64 << 10
"""Bytes of arguments, as JSON, that a gateway is told to make a call with."""


def changed(before: Approval, arguments: JsonObject, grant: bool, reason: str) -> Approval:
    """The held call with other arguments and nobody's answer yet; as it was, where they are the same. Raises Refused
    (422)."""
    if not grant:
        raise Refused("bad_choice", "Arguments are given to approve a call with.", fix="Leave them out.", status=422)
    if not before.editable:
        raise Refused(
            "not_editable",
            f"No gateway can make {before.resource} with other arguments: it is not a tool behind a gateway, or what "
            "the agent gave was not kept in full.",
            fix="Reject it, and say in the reason what would be right: the agent is told.",
            status=422,
        )
    try:
        exact = digest(arguments)
    except ValueError as error:
        raise Refused("bad_arguments", f"These arguments cannot be bound to a call: {error}", status=422) from None
    if exact == digest(before.now):
        return before
    if not reason.strip():
        raise Refused(
            "reason_required", "Other arguments need a reason: the agent is told it.", fix="Say why, in a sentence."
        )
    if len(msgspec.json.encode(arguments)) > MAX_ARGUMENTS:
        raise Refused("bad_arguments", f"Arguments are at most {MAX_ARGUMENTS >> 10} KiB.", status=422)
    return replace(before, edited=None if exact == digest(before.arguments) else arguments, given=())


def check_shown(before: Approval, shown: str, grant: bool) -> None:
    """Raises Refused (409) when a person approves something else than what they were shown: by its digest, which they
    must name where somebody has changed the call and they do not say themselves what it is to be."""
    unseen = grant and not shown and before.edited is not None
    if unseen or (shown and shown != before.covers):
        raise Refused(
            "another_call",
            f"Approval {before.id} is of another call than the one that was shown: {before.covers} now.",
            fix="Look at it again, and answer with its digest.",
            status=409,
        )
