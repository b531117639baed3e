"""Builds Snapshots: the only place where what the rooms know becomes what the gateways decide from."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import msgspec

from tenure.approvals import service as approvals
from tenure.autonomy import service as autonomy
from tenure.base import events, log
from tenure.base.room import Ahead, World
from tenure.breaker import service as breaker
from tenure.breaker.model import Scope
from tenure.discovery import service as discovery
from tenure.drafts import service as drafts
from tenure.identity import service as identity
from tenure.kernel.errors import Failed
from tenure.kernel.snapshot import AgentFact, BreakerFact, SecretFact, Snapshot, difference, is_empty
from tenure.limits import service as limits
from tenure.oauth import service as oauth
from tenure.policy import service as policy
from tenure.registry import service as registry
from tenure.revocation import service as revocation
from tenure.revocation.model import with_ahead
from tenure.secrets import service as secrets
from tenure.sequences import service as sequences
from tenure.tools import service as tools

_log = log.get("publish")
HEARTBEAT_S = 2.0
_SEAL_S = 0.5  # facts, a revocation among them, wait no longer for values of secrets, which follow
_LOOK = 5000  # Events; when more are new, the facts are built without reading them

# Events of these families change no fact, and they are most of what happens.
_WITHOUT_FACTS = (
    *("call.completed", "fork.", "blame.", "limits.reached", "import.", "otlp.", "instance.", "token.", "secret.used"),
    *("person.logged_in", "person.entered", "sequence.step", "client.seen", "request.refused", "discovery.found"),
)

_encode = msgspec.json.Encoder().encode


class Publisher:
    """Holds the newest Snapshot and hands every change of it to the gateways that listen.

    How breakers stand is read last, under a lock, by whoever makes a new Snapshot, and what is being stopped or revoked
    goes before all of it (``World.alarm``): what was told at once is never taken back by facts that were gathered
    before it.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._seq = -1
        self._building = threading.Lock()
        self._listeners: set[asyncio.Event] = set()
        self._making = threading.Lock()
        self._gathered: Snapshot | None = None  # as they were read last, without what is ahead of what is written
        # Versions must grow over restarts too: a gateway that kept the last one must never take an older for newer.
        now = world.clock()
        self.snapshot = Snapshot(version=int(now.timestamp() * 1_000_000), issued_at=now)

    def build(self) -> Snapshot:
        """All facts as they are now, but for how breakers stand."""
        world = self._world
        now = world.clock()
        workspaces = policy.workspace_facts(world)
        with world.read() as connection:
            agents = autonomy.governed(connection, registry.agent_facts(connection))
            return Snapshot(
                version=self.snapshot.version + 1,
                issued_at=now,
                max_age_s=world.config.snapshot_max_age_s,
                keys=identity.public_keys(connection),
                issuer=identity.issuer(world.config),
                workspaces=workspaces,
                agents=limits.governed(world, connection, tools.governed(connection, agents)),
                approvals=approvals.facts(connection, now),
                peers=registry.peer_facts(
                    connection, world.config.gateway_url, identity.card_signer(world, connection)
                ),
                revocations=revocation.facts(connection, now, workspaces, world.config.workspace),
                secrets=identity.gateway_secrets(world.config, now),
                audiences=oauth.resources(world.config),
                people=identity.person_facts(connection),
                credentials=secrets.facts(connection, agents, now),
                leases=limits.facts(connection, now),
                histories=sequences.facts(connection, now),
                blocked=discovery.facts(connection),
                drafts=drafts.facts(connection),
            )

    def _with_leases(self) -> Snapshot:
        """The facts with leases and histories as they are now and all else as it was: gateways ask for them often, and
        wait."""
        now = self._world.clock()
        with self._world.read() as connection:
            return replace(
                self._known, leases=limits.facts(connection, now), histories=sequences.facts(connection, now)
            )

    def refresh(self) -> bool:
        """Builds anew if the log tells of anything that may have changed a fact; says whether a fact did change.

        What is news stays news until a Snapshot was built after every consumer had taken it: an approval's claim and a
        breaker's trip become facts only then. Raises what the database raises, and then nothing has been passed over.
        """
        with self._building:
            return self._refresh()

    def publish(self) -> int:
        """Builds anew whatever the log tells: for who cannot wait until all consumers have had their turn. Returns the
        version that holds all that is committed. Blocks."""
        with self._building:
            self._built()
            return self.snapshot.version

    def serve(self) -> None:
        """Takes over what ``World.replicas`` asks for. Call on the event loop that the streams run on."""
        loop = asyncio.get_running_loop()
        self._world.replicas.publisher = (self.publish, lambda: loop.call_soon_threadsafe(self.announce))

    def _refresh(self) -> bool:
        first = self._seq < 0
        with self._world.read() as connection:
            news = None if first else events.types_after(connection, self._seq, _LOOK)
            if news is not None and all(kind.startswith(_WITHOUT_FACTS) for kind in news[0]):
                self._seq = news[1]
                return False
            passed = min(events.head(connection), events.passed(connection, self._world.consumers))
        if not first and (news is None or "key.retired" in news[0]):
            identity.go_on_signing(self._world)  # what follows is signed, by a key of ours that is believed
        only_leases = news is not None and all(map(_of_leases, news[0]))
        changed = self._take(self._with_leases()) if only_leases else self._built(always=first)
        self._seq = passed
        return changed

    def _built(self, *, always: bool = False) -> bool:
        """Takes over all facts as they are now; call it alone."""
        fresh, known = self.build(), self._known.agents
        policy.keep_facts(self._world, [fact for key, fact in fresh.agents.items() if _news(known.get(key), fact)])
        return self._take(fresh, always=always)

    def stop(self) -> bool:
        """Takes over how breakers stand and nothing else, in the caller's thread; says whether anything changed. What
        must stop waits neither for other news nor for the rest of the facts."""
        return self._take(None)

    @property
    def _known(self) -> Snapshot:
        return self._gathered or self.snapshot

    def _take(self, fresh: Snapshot | None, *, always: bool = False) -> bool:
        with self._making:
            with self._world.read() as connection:
                standing = breaker.facts(connection)
            ahead = self._world.alarm.ahead
            self._gathered = known = fresh or self._known
            new = _with_breakers(
                _with_revoked(known, ahead, self._world.config.workspace), {**standing, **ahead.breakers}
            )
            new = replace(new, version=self.snapshot.version + 1, issued_at=self._world.clock())
            if is_empty(difference(self.snapshot, new)) and not always:
                return False
            self.snapshot = new
            return True

    def announce(self) -> None:
        """Wakes the listeners. Call on the event loop."""
        for flag in self._listeners:
            flag.set()

    async def stream(self, box: str = "") -> AsyncIterator[bytes]:
        """One gateway's feed as lines of JSON: the whole Snapshot, then Deltas, an empty one every 2 seconds. One that
        somebody waits for asks to be confirmed at once. Values of secrets are sealed for ``box``; without one there are
        none."""
        flag = asyncio.Event()
        replicas = self._world.replicas
        self._listeners.add(flag)
        try:
            sent = self.snapshot
            asked = sent.version
            sealed, owed = await self._sealed(sent.credentials, box)
            yield _encode({"snapshot": sent, "confirm": True, "sealed": sealed}) + b"\n"
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await flag.wait()
                except TimeoutError:
                    sealed, owed = await self._sealed(owed, box)
                    beat = replace(sent, issued_at=self._world.clock())
                    yield _encode({"delta": difference(sent, beat), "confirm": True, "sealed": sealed}) + b"\n"
                    continue
                flag.clear()
                current = self.snapshot
                confirm = replicas.floor > asked
                asked = current.version if confirm else asked
                delta = difference(sent, current)
                news = {key: fact for key, fact in delta.credentials.items() if fact is not None}
                sealed, late = await self._sealed(news, box)
                owed = {key: fact for key, fact in owed.items() if current.credentials.get(key) == fact} | late
                yield _encode({"delta": delta, "confirm": confirm, "sealed": sealed}) + b"\n"
                sent = current
        finally:
            self._listeners.discard(flag)

    async def _sealed(self, wanted: Mapping[str, SecretFact], box: str) -> tuple[str | None, dict[str, SecretFact]]:
        """The values of secrets for one gateway, and those that it has still to be sent: while the key cannot be had
        that they are kept under, the facts go out without them."""
        if not wanted or not box:
            return None, {}
        try:
            async with asyncio.timeout(_SEAL_S):
                return await asyncio.to_thread(secrets.sealed_for, self._world, wanted, box), {}
        except (Failed, TimeoutError) as error:
            problem = error.message if isinstance(error, Failed) else "it takes too long"
            _log.warning("secrets_not_sent", problem=problem, secrets=len(wanted))
            return None, dict(wanted)


def _of_leases(kind: str) -> bool:
    return kind in ("limits.asked", "sequence.asked", "sequence.late") or kind.startswith(_WITHOUT_FACTS)


def _news(known: AgentFact | None, fact: AgentFact) -> bool:
    """Whether there is more new about an agent than how its breaker stands."""
    if known is None:
        return True
    limits = BreakerFact(threshold=known.breaker.threshold, window_s=known.breaker.window_s)
    return replace(known, breaker=limits) != fact


def _with_revoked(snapshot: Snapshot, ahead: Ahead, home: str) -> Snapshot:
    """The facts with what is being revoked."""
    risen = {}
    for key, epoch in ahead.epochs.items():
        fact = snapshot.agents.get(key)
        if fact is not None and fact.credential_epoch < epoch:
            risen[key] = replace(fact, credential_epoch=epoch)
    agents = {**snapshot.agents, **risen} if risen else snapshot.agents
    revoked = with_ahead(snapshot.revocations, ahead.revoked, snapshot.workspaces, home)
    return replace(snapshot, agents=agents, revocations=revoked)


def _with_breakers(snapshot: Snapshot, standing: Mapping[str, BreakerFact]) -> Snapshot:
    """The facts with breakers as they stand: an agent's in its own fact, where its limits are, any other beside."""
    own = f"/{Scope.AGENT}/"
    agents = {}
    for key, fact in snapshot.agents.items():
        limits = fact.breaker
        state = standing.get(f"{fact.workspace}{own}{fact.name}", BreakerFact())
        now = replace(state, threshold=limits.threshold, window_s=limits.window_s)
        agents[key] = fact if now == limits else replace(fact, breaker=now)
    others = {key: state for key, state in standing.items() if key.split("/", 2)[1] != Scope.AGENT}
    return replace(snapshot, agents=agents, breakers=others)
