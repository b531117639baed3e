"""Two JSON values side by side, line by line, with what differs marked in each line. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from tenure.kernel.json import Json
from tenure.ui.model import pretty

MOST = 400  # lines of a side: beyond it a picture helps nobody, and comparing takes time
NEAR = 3  # lines without a difference that are shown around one
_WORDS = re.compile(r"\w+|\s+|.")

Side = tuple[tuple[str, bool], ...]
"""A line in pieces, each with whether it differs from the other side."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of both sides; None where one has none. ``left_out``: so many lines without a difference, in its place."""

    left: Side | None
    right: Side | None
    left_out: int = 0

    @property
    def differs(self) -> bool:
        """Whether the sides differ in it."""
        return self.left != self.right


def sides(before: Json, now: Json) -> tuple[Line, ...]:
    """Both values as people read JSON; none when they are the same, or too long."""
    left, right = pretty(before).splitlines(), pretty(now).splitlines()
    if left == right or max(len(left), len(right)) > MOST:
        return ()
    return tuple(_folded(list(_lines(left, right))))


def _lines(left: Sequence[str], right: Sequence[str]) -> Iterator[Line]:
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for one, other in zip_longest(left[a:b], right[c:d]):
            if kind == "equal":
                yield Line(((one, False),), ((one, False),))
            elif one is not None and other is not None:
                yield Line(*_pieces(one, other))
            else:
                yield Line(None if one is None else ((one, True),), None if other is None else ((other, True),))


def _pieces(left: str, right: str) -> tuple[Side, Side]:
    one, other = _WORDS.findall(left), _WORDS.findall(right)
    opcodes = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return (
        tuple(("".join(one[a:b]), kind != "equal") for kind, a, b, _, _ in opcodes if b > a),
        tuple(("".join(other[c:d]), kind != "equal") for kind, _, _, c, d in opcodes if d > c),
    )


def _folded(lines: Sequence[Line]) -> Iterator[Line]:
    near = {at + by for at, line in enumerate(lines) if line.differs for by in range(-NEAR, NEAR + 1)}
    out = 0
    for at, line in enumerate(lines):
        if at in near:
            if out:
                yield Line(None, None, out)
            out = 0
            yield line
        else:
            out += 1
    if out:
        yield Line(None, None, out)
