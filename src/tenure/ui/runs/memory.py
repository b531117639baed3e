"""What a call did with a memory, in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.kernel.json import JsonObject

_DID = {"read": "Read", "write": "Written", "update": "Changed", "delete": "Deleted"}
_BY = {
    "conventions": "the agent's own telemetry, in the words of the GenAI conventions",
    "name": "the tool's name: that it keeps a memory is a guess",
}


@dataclass(frozen=True, slots=True)
class Remembered:
    """``words``: all of it in a line; both empty for what is no memory operation."""

    words: str = ""
    facts: tuple[tuple[str, str], ...] = ()


def remembered(raw: JsonObject) -> Remembered:
    """What the API tells of a span."""
    told = raw.get("memory")
    if not told:
        return Remembered()
    did, count = str(told["did"]), told.get("count")
    word = _DID.get(did, did.capitalize())
    many = f"{count:,} record{'' if count == 1 else 's'}" if isinstance(count, int) else ""
    much = _bytes(told["size"]) if told.get("size") else ""
    facts = (
        (word, ", ".join(filter(None, (many, much))) or "how much is not told"),
        ("Store", str(told.get("store") or "")),
        ("Records", ", ".join(map(str, told.get("keys") or ()))),
        ("Searched for", str(told.get("query") or "")),
        ("Kept for", str(told.get("whose") or "")),
        ("Known by", _BY[str(told.get("told_by"))]),
    )
    return Remembered(str(told.get("words") or ""), tuple((word, text) for word, text in facts if text))


def _bytes(count: int) -> str:
    return f"{count:,} bytes" if count < 10_000 else f"{count / 1024:,.0f} KiB"
