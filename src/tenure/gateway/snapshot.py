"""The gateway's end of the Snapshot: connect, apply Deltas, start anew when they do not fit, and know how old it is."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress

import msgspec

from tenure.base import log
from tenure.base.sealing import HEADER, Box
from tenure.gateway.keychain import Keychain
from tenure.gateway.upstream import Client, Reply, UpstreamError
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.snapshot import AgentFact, Delta, Snapshot, WorkspaceFact, apply, fact_digest, is_empty
from tenure.policy.model import Bundle, compile_bundle

_log = log.get("gateway")
_PATH = "/internal/v1/snapshot"
_MAX_LINE = 256 << 20
_SILENCE_S = 10.0  # the control plane sends a heartbeat every 2 s: longer silence is a dead connection
_BACKOFF_S = (0.05, 3.0)
_FIRST_BACKOFF_S = 0.1
_CONFIRM_S = 1.0  # a stream of changes without a pause is confirmed this often, asked for or not
_AGAIN_S = 0.2
_LEAVE_S = 1.0
_CONFIRMED, _TOO_OLD = 200, 409
_NEVER = float("-inf")


class Frame(msgspec.Struct):
    """One line of the stream: the whole Snapshot, or what changed since. ``confirm``: somebody waits to hear that it is
    in force here. ``sealed``: values of secrets."""

    snapshot: Snapshot | None = None
    delta: Delta | None = None
    confirm: bool = False
    sealed: str | None = None


_frames = msgspec.json.Decoder(Frame)
_values = msgspec.json.Decoder(dict[str, str])
_NO_VALUES: Mapping[str, str] = {}


class Facts:
    """The present Snapshot and the compiled policies of its workspaces.

    ``current`` is None until the first Snapshot arrived. Both only ever change together, between two awaits, so that
    one decision never sees half of a change. ``stopping``: the workspaces in which a breaker of more than an agent is
    not closed, so that calls elsewhere need not ask.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, credentials: Keychain | None = None) -> None:
        self.current: Snapshot | None = None
        self.credentials = credentials or Keychain({}, {})
        self.bundles: Mapping[str, Bundle] = {}
        self.stopping: frozenset[str] = frozenset()
        self._clock = clock
        self._heard = _NEVER
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
    def confirmed(self) -> bool:
        """Whether there are facts, and were ever good: not in the moment between the first ones and their answer."""
        return self.current is not None and self._heard != _NEVER

    @property
    def age_s(self) -> float:
        """Seconds since these facts were confirmed, by this machine's monotonic clock."""
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

    def now(self) -> float:
        """By this machine's monotonic clock."""
        return self._clock()

    def good_from(self, moment: float) -> None:
        """The control plane has answered what was sent to it at ``moment`` (``now``): from then on the facts are good
        for as long as they say, and not from when its answer arrived, however long that took."""
        self._heard = max(self._heard, moment)

    def replace(
        self, snapshot: Snapshot, bundles: Mapping[str, Bundle], values: Mapping[str, str] = _NO_VALUES
    ) -> None:
        """Takes over new facts and values of secrets, and wakes everyone who waits for a change."""
        if self.current is None or snapshot.breakers is not self.current.breakers:
            open_ones = (key for key, fact in snapshot.breakers.items() if fact.tripped or fact.trials)
            self.stopping = frozenset(key.partition("/")[0] for key in open_ones)
        self.current = snapshot
        self.credentials.take(snapshot.credentials, values)
        self.bundles = bundles
        bell, self._bell = self._bell, None
        if bell is not None and not bell.done():
            bell.set_result(None)


class Link:
    """Keeps ``facts`` up to date from the control plane at ``url`` until it is cancelled.

    ``token`` is asked for at every connect, because the control plane may have written a new one. ``name`` is this
    gateway's, which no other process has while this one runs.

    What was taken over is confirmed, and facts are good only by the answer to that (``base.replicas``): so the control
    plane knows when a revocation holds here, and when it must hold whether this gateway can be reached or not.
    """

    def __init__(self, facts: Facts, client: Client, url: str, token: Callable[[], Awaitable[str]], name: str) -> None:
        self._facts = facts
        self._name, self._run = name, new_id()
        self._asked = asyncio.Event()
        self._confirmed_at = 0.0
        self._client = client
        self._url = url
        self._token = token
        self._versions: dict[str, str] = {}
        self._box = Box()

    async def run(self) -> None:
        """Connects, follows, and connects again, with a back-off that starts anew after every Snapshot."""
        confirming = asyncio.create_task(self._confirm())
        try:
            await self._keep_following()
        finally:
            confirming.cancel()

    async def _keep_following(self) -> None:
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
        self._box = Box()  # what was sealed for an earlier connection stays sealed
        headers = (
            ("authorization", f"Bearer {await self._token()}"),
            ("accept", "application/x-ndjson"),
            (HEADER, self._box.public),
        )
        reply = await self._client.send(self._url, "GET", _PATH, headers, timeout_s=_SILENCE_S)
        try:
            if reply.status != 200:
                raise ValueError(f"the control plane answered {reply.status}")
            async for line in _lines(reply):
                frame = _frames.decode(line)
                await self._take(frame)
                if frame.confirm or self._facts.now() - self._confirmed_at > _CONFIRM_S:
                    self._asked.set()
                yield
        finally:
            reply.close()

    async def _confirm(self) -> None:
        """Says which facts are in force here, whenever that is asked for, until it was heard."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            facts, sent = self._facts, self._facts.now()
            if facts.current is None:
                continue
            try:
                status = await self._say({"version": facts.current.version})
            except (UpstreamError, OSError, ValueError) as error:
                _log.debug("facts_not_confirmed", problem=str(error) or type(error).__name__)
                status = 0
            if status == _CONFIRMED:
                self._confirmed_at = sent
                facts.good_from(sent)
            elif status != _TOO_OLD:  # newer ones are on their way, and will be confirmed
                await asyncio.sleep(_AGAIN_S)
                self._asked.set()

    async def leave(self) -> None:
        """Says that the last call was let go, so that nobody waits for this gateway."""
        with suppress(UpstreamError, OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await self._say({"version": 0, "leaving": True})

    async def _say(self, what: Mapping[str, object]) -> int:
        body = msgspec.json.encode({"gateway": self._name, "run": self._run, **what})
        headers = (("authorization", f"Bearer {await self._token()}"), ("content-type", "application/json"))
        reply = await self._client.send(self._url, "POST", f"{_PATH}/confirmed", headers, body, timeout_s=_SILENCE_S)
        await reply.read(1 << 16)
        return reply.status

    async def _take(self, frame: Frame) -> None:
        facts = self._facts
        if frame.snapshot is not None:
            new = frame.snapshot
        elif frame.delta is None:
            return
        elif facts.current is None:
            raise ValueError("a delta came before the first snapshot")
        elif is_empty(frame.delta) and frame.delta.version == facts.current.version and frame.sealed is None:
            return
        else:
            new = apply(facts.current, frame.delta)
        values = _values.decode(self._box.opened(frame.sealed)) if frame.sealed else _NO_VALUES
        old = facts.current
        if old is None or new.workspaces is not old.workspaces:
            facts.replace(new, await asyncio.to_thread(self._compile, new.workspaces), values)
        else:
            facts.replace(new, facts.bundles, values)

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
