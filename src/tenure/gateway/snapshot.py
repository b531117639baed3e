"""The gateway's end of the Snapshot: connect, apply Deltas, start anew when they do not fit, and know how old it is."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec

from tenure.base import log
from tenure.gateway.upstream import Client, Reply, UpstreamError
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import AgentFact, Delta, Snapshot, WorkspaceFact, apply, fact_digest, is_empty
from tenure.policy.model import Bundle, compile_bundle

_log = log.get("gateway")
_PATH = "/internal/v1/snapshot"
_MAX_LINE = 256 << 20
_SILENCE_S = 10.0  # the control plane sends a heartbeat every 2 s: longer silence is a dead connection
_BACKOFF_S = (0.05, 3.0)
_FIRST_BACKOFF_S = 0.1


class Frame(msgspec.Struct):
    """One line of the stream: the whole Snapshot, or what changed since."""

    snapshot: Snapshot | None = None
    delta: Delta | None = None


_frames = msgspec.json.Decoder(Frame)


class Facts:
    """The present Snapshot and the compiled policies of its workspaces.

    ``current`` is None until the first Snapshot arrived. Both only ever change together, between two awaits, so that
    one decision never sees half of a change. ``stopping``: the workspaces in which a breaker of more than an agent is
    not closed, so that calls elsewhere need not ask.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.current: Snapshot | None = None
        self.bundles: Mapping[str, Bundle] = {}
        self.stopping: frozenset[str] = frozenset()
        self._clock = clock
        self._heard = 0.0
        self._bell: asyncio.Future[None] | None = None
        self._digests: dict[str, tuple[AgentFact, str]] = {}

    def digest_of(self, agent: AgentFact) -> str:
        """``fact_digest`` of an agent's fact; worked out once for each."""
        key = f"{agent.workspace}/{agent.name}"
        kept = self._digests.get(key)
        if kept is None or kept[0] is not agent:
            kept = self._digests[key] = (agent, fact_digest(agent))
        return kept[1]

    @property
    def age_s(self) -> float:
        """Seconds since the control plane was last heard, by this machine's monotonic clock."""
        return self._clock() - self._heard if self.current else float("inf")

    @property
    def stale(self) -> bool:
        """Whether the facts are too old to act on (D1)."""
        current = self.current
        return current is None or self._clock() - self._heard > current.max_age_s

    def bell(self) -> asyncio.Future[None]:
        """Done at the next change. Shared by all who wait: shield it."""
        if self._bell is None:
            self._bell = asyncio.get_running_loop().create_future()
        return self._bell

    async def changed(self) -> None:
        """Returns when a fact has changed after the call of this method."""
        await asyncio.shield(self.bell())

    def heard(self) -> None:
        """The control plane has just said that nothing changed."""
        self._heard = self._clock()

    def replace(self, snapshot: Snapshot, bundles: Mapping[str, Bundle]) -> None:
        """Takes over new facts, and wakes everyone who waits for a change."""
        if self.current is None or snapshot.breakers is not self.current.breakers:
            open_ones = (key for key, fact in snapshot.breakers.items() if fact.tripped or fact.trials)
            self.stopping = frozenset(key.partition("/")[0] for key in open_ones)
        self.current = snapshot
        self.bundles = bundles
        self._heard = self._clock()
        bell, self._bell = self._bell, None
        if bell is not None and not bell.done():
            bell.set_result(None)


class Link:
    """Keeps ``facts`` up to date from the control plane at ``url`` until it is cancelled.

    ``token`` is asked for at every connect, because the control plane may have written a new one.
    """

    def __init__(self, facts: Facts, client: Client, url: str, token: Callable[[], Awaitable[str]]) -> None:
        self._facts = facts
        self._client = client
        self._url = url
        self._token = token
        self._versions: dict[str, str] = {}

    async def run(self) -> None:
        """Connects, follows, and connects again, with a back-off that starts anew after every Snapshot."""
        delay = _BACKOFF_S[0]
        while True:
            try:
                async for _ in self._follow():
                    delay = _BACKOFF_S[0]
                problem = "the control plane ended the stream"
            except (UpstreamError, OSError, ValueError, msgspec.DecodeError) as error:
                problem = str(error) or type(error).__name__
            _log.info("snapshot_link_lost", problem=problem, retry_s=round(delay, 2))
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 (spreads reconnects; not a secret)
            # Nothing can be decided before the first Snapshot, so it is asked for eagerly.
            delay = min(delay * 2, _BACKOFF_S[1] if self._facts.current else _FIRST_BACKOFF_S)

    async def _follow(self) -> AsyncIterator[None]:
        """Yields after every frame that was applied. Raises when the stream breaks or a Delta does not fit."""
        headers = (("authorization", f"Bearer {await self._token()}"), ("accept", "application/x-ndjson"))
        reply = await self._client.send(self._url, "GET", _PATH, headers, timeout_s=_SILENCE_S)
        try:
            if reply.status != 200:
                raise ValueError(f"the control plane answered {reply.status}")
            async for line in _lines(reply):
                await self._take(_frames.decode(line))
                yield
        finally:
            reply.close()

    async def _take(self, frame: Frame) -> None:
        facts = self._facts
        if frame.snapshot is not None:
            new = frame.snapshot
        elif frame.delta is None:
            return
        elif facts.current is None:
            raise ValueError("a delta came before the first snapshot")
        elif is_empty(frame.delta) and frame.delta.version == facts.current.version:
            facts.heard()
            return
        else:
            new = apply(facts.current, frame.delta)
        old = facts.current
        if old is None or new.workspaces is not old.workspaces:
            facts.heard()  # compiling takes a moment, in which the link is not silent
            facts.replace(new, await asyncio.to_thread(self._compile, new.workspaces))
        else:
            facts.replace(new, facts.bundles)

    def _compile(self, workspaces: Mapping[str, WorkspaceFact]) -> Mapping[str, Bundle]:
        """Compiled policies of every workspace; those that have not changed are kept. A set that does not compile here
        is left out, and every decision without its policies is a denial."""
        out: dict[str, Bundle] = {}
        versions: dict[str, str] = {}
        for name, fact in workspaces.items():
            kept = self._facts.bundles.get(name)
            if kept is not None and self._versions.get(name) == fact.policy_version:
                out[name] = kept
            else:
                try:
                    out[name] = compile_bundle(fact.policies)
                except Refused as error:
                    _log.error("policies_do_not_compile", workspace=name, problem=error.message)
                    continue
            versions[name] = fact.policy_version
        self._versions = versions
        return out


async def _lines(reply: Reply) -> AsyncIterator[bytes]:
    """The lines of an ndjson body."""
    rest = bytearray()
    while chunk := await reply.next_chunk():
        rest += chunk
        if b"\n" not in chunk:
            if len(rest) > _MAX_LINE:
                raise ValueError(f"a line is longer than {_MAX_LINE} bytes")
            continue
        *lines, last = bytes(rest).split(b"\n")
        rest = bytearray(last)
        for line in lines:
            if line.strip():
                yield line
