"""What of an Event is kept: redacted, its findings noted, flagged where they are a reason to look.

Whoever writes Events to a disk passes them through here first. It is done to whole Events and not to bodies on their
way, so that nothing which is ever added to an Event can be forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tenure.base.scan.rules import FLAGGING
from tenure.base.scan.texts import Counts, clean, kinds, look, nothing_in, suspects
from tenure.kernel.json import Json
from tenure.kernel.values import Event, Status

ALWAYS = frozenset({"secret"})
"""Classes that no setting can leave unredacted."""
FINDINGS = "tenure.findings"
"""The attribute that notes findings: a list of {rule, place, count}."""
PLACES: Mapping[str, str] = {
    "gen_ai.system_instructions": "prompt",
    "gen_ai.input.messages": "prompt",
    "tenure.request.body": "prompt",
    "gen_ai.output.messages": "answer",
    "tenure.response.body": "answer",
    "error.message": "answer",
    "gen_ai.tool.call.arguments": "arguments",
    "tenure.call.arguments": "arguments",
    "arguments": "arguments",
    "tenure.justification": "arguments",
    "justification": "arguments",
    "gen_ai.tool.call.result": "result",
}
"""Where each attribute's findings are said to be; those of all others are in the ``record`` itself."""


_encode = msgspec.json.Encoder().encode


def encoded(event: Event, what: Collection[str]) -> bytes:
    """``event`` as it may be kept, in JSON. Raises what msgspec raises for values that are none."""
    record = _encode(event)
    return record if nothing_in(record) else _encode(_looked(event, what))


def kept_of_json(event: Event, what: Collection[str]) -> Event:
    """As ``kept``, of an Event that was read from JSON: a quarter of the cost where there is surely nothing to find."""
    return event if nothing_in(_encode([event.session, event.data])) else kept(event, what)


def kept(event: Event, what: Collection[str]) -> Event:
    """``event`` as it may be kept: findings of the classes ``what``, and of ``ALWAYS``, are taken out of its data and
    its session. All findings are noted, once: what was noted before is not counted again. Raises what msgspec raises
    for values that are no JSON."""
    return event if nothing_in(_encode([event.session, event.data])) else _looked(event, what)


def _looked(event: Event, what: Collection[str]) -> Event:
    in_session: Counts = {} if nothing_in(_encode(event.session)) else look(event.session)
    parts = [{name: value} for name, value in event.data.items()]
    looked = {
        name: look({name: value}) for at in suspects(list(map(_encode, parts))) for name, value in parts[at].items()
    }
    found = {name: counts for name, counts in looked.items() if counts}
    if not found and not in_session:
        return event
    wanted = ALWAYS.union(what)
    data: dict[str, Any] = dict(event.data)
    noted: dict[str, Counter[str]] = {}
    for name, counts in found.items():
        noted.setdefault(PLACES.get(name, "record"), Counter()).update(counts)
        if wanted.intersection(kinds(counts)):
            data |= clean({name: data.pop(name)}, wanted)
    status = event.status
    if FINDINGS not in event.data:
        data[FINDINGS] = _rows(noted)
        if status is Status.ALLOWED and FLAGGING.intersection(kinds(in_session).union(*map(kinds, found.values()))):
            status = Status.FLAGGED
    return replace(event, data=data, session=clean(event.session, wanted), status=status)


def _rows(noted: Mapping[str, Counts]) -> list[dict[str, Json]]:
    return [
        {"rule": rule, "place": place, "count": count}
        for place, counts in noted.items()
        for rule, count in sorted(counts.items())
    ]
