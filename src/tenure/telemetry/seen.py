"""Who is heard of besides registered agents, and who used what: values that the trace store's looks answer with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Stranger:
    """A caller that was turned away for having no credential that counts. ``key``: a mark of the key that it showed;
    ``client``: what it called itself as an MCP client; ``count`` of requests since the last look, ``lately`` in the
    last day."""

    workspace: str
    user_agent: str
    address: str
    key: str
    client: str
    title: str
    error: str
    method: str
    path: str
    count: int
    lately: int
    last: datetime


@dataclass(frozen=True, slots=True)
class Introduced:
    """An MCP client that came with the credential of ``agent``."""

    workspace: str
    agent: str
    client: str
    version: str
    count: int
    last: datetime


@dataclass(frozen=True, slots=True)
class Spoken:
    """Spans about models or agents that ``agent`` sent. ``service``: its ``service.name``; ``name``: its
    ``gen_ai.agent.name``."""

    workspace: str
    agent: str
    service: str
    name: str
    count: int
    last: datetime


@dataclass(frozen=True, slots=True)
class UnknownPeer:
    """An agent that ``agent`` tried to call, and was refused."""

    workspace: str
    agent: str
    name: str
    count: int
    last: datetime


@dataclass(frozen=True, slots=True)
class Heard:
    """All of it from Events after one number up to ``upto``; ``more``: there are further ones."""

    upto: int
    more: bool
    strangers: tuple[Stranger, ...] = ()
    introduced: tuple[Introduced, ...] = ()
    spoken: tuple[Spoken, ...] = ()
    peers: tuple[UnknownPeer, ...] = ()


@dataclass(frozen=True, slots=True)
class Used:
    """What an agent used on one day (``day``, days since 1970 in UTC). ``kind``: tool, llm or agent; ``person``: for
    whom, empty where nobody is named; ``errors`` of the ``calls`` failed or were refused."""

    workspace: str
    agent: str
    kind: str
    resource: str
    person: str
    day: int
    calls: int
    errors: int
    last: datetime
