"""What engines write differently in SQL. Values stand as ``?`` in the order in which they are given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """Pieces of SQL with ``{}`` for a column, or for a name in the JSON of ``data``.

    ``among``: it is one of a list of texts; ``among_numbers``: of numbers. ``earliest`` and ``latest``: its value in
    the Event of the smallest or greatest number that has one. ``text`` and ``number``: what the JSON says, NULL for
    nothing; ``inner`` and ``inner_number``: what an object in it says, of two names. ``matches``: whether it holds what
    a regular expression (the second ``{}``) describes. ``day``: days since 1970, of microseconds. ``mark``: a number
    made of a text, the same in every version of the engine.
    """

    among: str
    among_numbers: str
    earliest: str
    latest: str
    text: str
    number: str
    inner: str
    inner_number: str
    matches: str
    day: str
    mark: str
