"""Cedar text as statements, and the line of whatever is wrong with one. Pure.

cedarpy names policies by position and tells no line, so the text is cut into statements here, and a syntax error is
placed by asking the parser for ever longer beginnings of the statement.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import cedarpy

_TOKEN = re.compile(r'//[^\n]*|"(?:[^"\\]|\\.)*"|\??[A-Za-z_]\w*|\d+|==|!=|<=|>=|&&|\|\||::|\S', re.DOTALL)
_QUOTED = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy as it is written. ``line`` counts from 1."""

    text: str
    line: int
    tokens: tuple[tuple[int, int], ...]  # (end offset in text, line) of each token that is not a comment


def statements(text: str) -> list[Statement]:
    """The policies of a text, in their order; the last may have no end."""
    found: list[Statement] = []
    tokens: list[tuple[int, int, int]] = []
    line, scanned = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", scanned, match.start())
        scanned = match.start()
        if match[0].startswith("//"):
            continue
        tokens.append((match.start(), match.end(), line))
        if match[0] == ";":
            found.append(_statement(text, tokens))
            tokens = []
    if tokens:
        found.append(_statement(text, tokens))
    return found


def _statement(text: str, tokens: Sequence[tuple[int, int, int]]) -> Statement:
    start = tokens[0][0]
    return Statement(text[start : tokens[-1][1]], tokens[0][2], tuple((end - start, line) for _, end, line in tokens))


def _parse_problem(text: str) -> str | None:
    try:
        cedarpy.policies_to_pst(text)
    except ValueError as error:
        return str(error)
    return None


def syntax_line(statement: Statement, problem: str) -> int:
    """The line of the first token after which no continuation could make the statement valid. The parser reads from
    the left, so once a beginning is wrong every longer one is: bisect."""

    def wrong(count: int) -> bool:
        found = _parse_problem(statement.text[: statement.tokens[count - 1][0]])
        return found is not None and "unexpected end of input" not in found

    total = len(statement.tokens)
    first = bisect_left(range(1, total + 1), True, key=wrong) + 1
    if first >= total and not problem.startswith(("unexpected token", "invalid token")):
        return named_line(statement, problem)  # the whole statement reads well; what it says is wrong
    return statement.tokens[min(first, total) - 1][1]


def named_line(statement: Statement, problem: str) -> int:
    """The line that holds the first thing the problem quotes, else the statement's first."""
    for quoted in _QUOTED.findall(problem):
        at = statement.text.find(quoted)
        if at >= 0:
            return statement.line + statement.text.count("\n", 0, at)
    return statement.line


def clean(problem: str) -> str:
    """What the validator says, without the name by position that it gives the policy."""
    return re.sub(r"^for policy `policy\d+`, ", "", problem).strip()
