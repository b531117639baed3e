"""Spans as a fleet of agents makes them: the same ones each time. 1,000 agents over 30 days, sessions of about twenty
calls, a dozen of them at once, content of words as frequent as words are (Zipf), numbers of orders that are rare."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

from tenure.base.events import Logged
from tenure.kernel.ids import session_trace
from tenure.kernel.values import Event, Status

AGENTS = 1_000
PEOPLE = 5_000
"""For whom a third of the sessions is."""
TOOLS = 200
WORDS = 20_000
END = datetime(2026, 11, 1, tzinfo=UTC)
"""When the last span is; it stands still, so that a figure can be found again."""
DAYS = 30
AT_ONCE = 12
"""Sessions that go on at the same time."""
WORKSPACE = "default"
COMMON, SELDOM = "w3", "w4021"
"""A word of one in three texts, and one of about a thousandth of them."""
_SYLLABLES = ("ka", "ro", "mi", "ten", "su", "la", "vor", "ne", "dir", "pol", "ex", "un", "gra", "tho", "bel")
_MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-flash")


@dataclass(slots=True)
class _Session:
    name: str
    agent: int
    person: str | None
    trace: str
    root: str
    order: str
    left: int
    asks: bool = True


def vocabulary(draw: random.Random) -> list[str]:
    """Words, the most frequent first; the n-th ends in its number, so that a search can name it."""
    return [f"w{n}" if n % 7 == 3 else "".join(draw.choices(_SYLLABLES, k=1 + n % 4)) + str(n) for n in range(WORDS)]


class Fleet:
    """What the spans are drawn from. ``count`` is how many there will be: they are spread over the days."""

    def __init__(self, count: int, seed: int = 7) -> None:
        self._draw = random.Random(seed)  # noqa: S311 (no secret: the same spans each time)
        draw, words = self._draw, vocabulary(self._draw)
        weights = list(accumulate(1 / (rank + 3) for rank in range(WORDS)))
        self._sentences = [" ".join(draw.choices(words, cum_weights=weights, k=12)) + "." for _ in range(20_000)]
        self._tools = [[f"server{t % 20}/tool{t}" for t in draw.sample(range(TOOLS), 8)] for _ in range(AGENTS)]
        self._step = timedelta(days=DAYS) / max(count, 1)
        self._now = END - timedelta(days=DAYS)
        self._sessions = 0
        self._live = [self._session() for _ in range(AT_ONCE)]

    def _session(self) -> _Session:
        draw = self._draw
        number, agent = self._sessions, int(AGENTS * draw.random() ** 1.5)
        self._sessions += 1
        name = f"s{number}"
        trace, root = session_trace(WORKSPACE, name)
        person = f"u{draw.randrange(PEOPLE)}@example.com" if draw.random() < 1 / 3 else None
        return _Session(name, agent, person, trace, root, f"order{number:07d}", draw.randint(8, 32))

    def _text(self, sentences: int) -> str:
        drawn, pool = self._draw.random, self._sentences
        return " ".join([pool[int(20_000 * drawn())] for _ in range(sentences)])

    def event(self) -> Event:
        """The next span."""
        draw = self._draw
        self._now += self._step
        place = int(AT_ONCE * draw.random())
        session = self._live[place]
        chance = draw.random()
        data = self._asked(session) if session.asks else self._used(session)
        session.asks = not session.asks
        kind, status = "call.completed", Status.ALLOWED
        if chance < 0.01:
            kind, status = "call.refused", Status.VIOLATION
            data["tenure.decision"] = {"effect": "deny", "reason": "over the limit", "policies": ["refunds/limit"]}
        elif chance < 0.03:
            data["error.type"] = "timeout"
        if session.person:
            data["enduser.id"] = session.person
        ident = f"{draw.getrandbits(128):032x}"
        agent = f"agent{session.agent}"
        event = Event(
            ident, kind, self._now, WORKSPACE, f"agent:{agent}", agent, "sha256:r1", f"i{session.agent}", session.name,
            session.trace, ident[:16], session.root, status, "v1", "m1", int(1e3 + 2e6 * chance * draw.random()), data,
        )  # fmt: skip
        session.left -= 1
        if not session.left:
            self._live[place] = self._session()
        return event

    def _asked(self, session: _Session) -> dict[str, Any]:
        draw = self._draw
        tokens = 200 + int(4000 * draw.random())
        said = f"{self._text(4)} {session.order}"
        return {
            "tenure.kind": "llm",
            "tenure.decide_us": 90,
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": _MODELS[session.agent % 4],
            "gen_ai.usage.input_tokens": tokens,
            "gen_ai.usage.output_tokens": tokens // 8,
            "tenure.cost_usd": f"0.00{tokens}",
            "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": said}]}],
            "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": self._text(2)}]}],
        }

    def _used(self, session: _Session) -> dict[str, Any]:
        tools = self._tools[session.agent]
        resource = tools[int(8 * self._draw.random() ** 2)]
        return {
            "tenure.kind": "tool",
            "tenure.resource": resource,
            "tenure.decision": {"effect": "allow", "reason": "", "policies": ["base/allow"]},
            "tenure.decide_us": 120,
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": resource.rpartition("/")[2],
            "mcp.method.name": "tools/call",
            "gen_ai.tool.call.arguments": {"query": self._text(1), "order": session.order},
            "gen_ai.tool.call.result": self._text(3),
        }


def batches(count: int, size: int, seed: int = 7, of: int | None = None) -> Iterator[list[Logged]]:
    """So many spans in batches, numbered from 1 as the log of Events numbers them; the first ones of more (``of``), so
    that they are of the first days."""
    fleet = Fleet(of or count, seed)
    for first in range(1, count + 1, size):
        yield [Logged(seq, fleet.event()) for seq in range(first, min(first + size, count + 1))]
