"""The verbs that look back: what policies would have done with the calls that really happened, and why one was decided
as it was. They read the trace store and change nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Call, Decision, Principal
from tenure.policy import store
from tenure.policy.cases import policies_of
from tenure.policy.followed import Followed
from tenure.policy.model import Bundle, Rule, compile_bundle, decide, in_reach, in_scope
from tenure.policy.past.replay import Past, Replay, after_all, decide_again, principal_of, read_past, replay
from tenure.policy.versions import version_bundle
from tenure.policy.words import lost
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import RecordedCall

MAX_DAYS = 90
_FROM_CONTENT = frozenset({"unrepresentable", "justified"})
"""Facts that are found out from what is content."""
SEQUENCE_DAYS = 7
"""So far back the calls before one are looked at when it is decided again."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A replay: of which version, since when, and how long it took."""

    version: str
    since: datetime
    found: Replay
    took_s: float


@dataclass(frozen=True, slots=True)
class Explained:
    """One decision, made again. ``rules``: every policy in its scope, and whether its conditions held. ``agent`` and
    what follows it are missing where too little was kept to decide again; ``missing`` says what. ``words``: whether its
    policies were written in the words of this program or in those of one before it, which were kept with them."""

    past: Past
    agent: AgentFact | None
    again: Decision | None
    rules: tuple[tuple[Rule, bool], ...]
    missing: str
    words: Literal["current", "kept", ""] = ""

    @property
    def same(self) -> bool | None:
        """Whether deciding again gave the same; None where it could not be done."""
        if self.again is None:
            return None
        was, now = self.past.decided, self.again
        return (was.effect, was.policies, was.over, was.policy_version) == (
            now.effect, now.policies, now.over, now.policy_version
        )  # fmt: skip


def replay_candidate(
    world: World, workspace: str, files: Sequence[tuple[str, str]], days: float, agent: str | None = None
) -> Replayed:
    """Decides the calls of the last ``days`` by files that need not run. Raises Refused ``policy_invalid`` with every
    fault when they do not compile; their tests are not asked."""
    if not 0 < days <= MAX_DAYS:
        raise Refused("bad_days", f"{days} days cannot be looked back.", fix=f"Up to {MAX_DAYS} can.", status=422)
    bundle = compile_bundle(policies_of(files))
    since = world.clock() - timedelta(days=days)
    begun = time.perf_counter()
    calls = telemetry.recorded_calls(world, workspace, since, agent)
    pasts = (_past(call) for call in calls)
    found = replay(pasts, _known(world, workspace), bundle)
    return Replayed(bundle.version, since, found, time.perf_counter() - begun)


def explain(world: World, workspace: str, call_id: str) -> Explained:
    """Decides one past call again, from exactly what it was decided from (R076). Raises Refused 404 for one that is
    not kept."""
    call = telemetry.recorded_call(world, workspace, call_id)
    past = _past(call) if call else None
    if past is None:
        raise Refused(
            "unknown_call",
            f"No decided call {call_id} is kept.",
            fix="Calls are named in `tenure traces show` and in the header x-tenure-call-id.",
            status=404,
        )
    if past.by_standing:
        return Explained(past, None, None, (), "no policy was asked: it was refused for its agent's standing")
    agent = _known(world, workspace)(past.facts)
    if agent is None:
        return Explained(past, None, None, (), "what was known of its agent is not kept")
    bundle = _bundle(world, workspace, past.decided.policy_version)
    if bundle is None:
        return Explained(past, agent, None, (), "its policies are not kept, or no longer compile")
    found = _again(world, workspace, past, agent, bundle)
    return replace(found, words="current" if bundle.words.current else "kept")


def _again(world: World, workspace: str, past: Past, agent: AgentFact, bundle: Bundle) -> Explained:
    if unknown := lost(bundle.words, in_reach(past.call, agent, bundle)):
        why = f"policies in its scope look at {', '.join(unknown)}, which this Tenure does not know as it was then"
        return Explained(past, agent, None, (), why)
    if past.gone and (read := _read(past, agent, bundle)):
        return Explained(past, agent, None, (), f"its arguments are not kept, and policies in its scope read {read}")
    try:
        again = _after_all(world, workspace, past, agent, bundle)
    except _EarlierGone:
        return Explained(past, agent, None, (), "a sequence rule looks at calls before it of which the content is gone")
    who, at = principal_of(past, agent), past.moment
    rules = in_scope(past.call, who, agent, bundle, approved=past.approved, found=past.found, at=at)
    missing = (
        ""
        if past.exact or past.gone
        else "its arguments are not whole any more: something was taken out of them, or their time was over"
    )
    return Explained(past, agent, again, tuple(rules), missing)


class Again:
    """Recorded calls of one run, and calls that were never made, decided by files that need not run. Nothing is made,
    asked of anybody, or kept."""

    def __init__(self, world: World, workspace: str, files: Sequence[tuple[str, str]]) -> None:
        """Raises Refused ``policy_invalid`` with every fault when the files do not compile; their tests are not
        asked."""
        self._bundle = compile_bundle(policies_of(files))
        self._followed = Followed(self._bundle)
        self._known = _known(world, workspace)
        self._at = world.clock().timestamp()

    @property
    def version(self) -> str:
        """Of the files."""
        return self._bundle.version

    def decide(self, call: RecordedCall) -> tuple[Decision | None, str]:
        """The decision on the next call of the record, after those before it; or None, and why there is none: then what
        was decided stands."""
        past = _past(call)
        if past is None:
            return None, "it was not decided here"
        if past.by_standing:
            return None, "no policy was asked: it was refused for its agent's standing"
        agent = self._known(past.facts)
        if agent is None:
            return None, "what was known of its agent is not kept"
        if past.gone and (read := _read(past, agent, self._bundle)):
            return None, f"its arguments are not kept, and policies in its scope read {read}"
        return after_all(self._followed, past, agent, decide_again(past, agent, self._bundle)), ""

    def attempt(self, call: Call, principal: Principal, agent: AgentFact) -> Decision:
        """The decision on a call that nobody has made."""
        return decide(call, principal, agent, None, self._bundle, breaker_tripped=False, at=self._at)


class _EarlierGone(Exception):  # noqa: N818 (what is missing, not a malfunction)
    """The arguments of a call before are not kept."""


def _read(past: Past, agent: AgentFact, bundle: Bundle) -> str:
    """What policies in scope of a call read of its arguments, in words; empty for nothing."""
    rules = in_reach(past.call, agent, bundle)
    paths = {path for rule in rules for _, path in rule.reads.arguments}
    paths |= {fact for rule in rules for fact in rule.reads.facts if fact in _FROM_CONTENT}
    watched = bundle.sequences.watched(agent.name, past.call.kind, past.call.resource) if bundle.sequences else None
    named = sorted(paths) + (["what a sequence rule matches"] if watched is not None else [])
    return ", ".join(named)


def _after_all(world: World, workspace: str, past: Past, agent: AgentFact, bundle: Bundle) -> Decision:
    """The decision made again, after the calls of the days before it where a sequence rule is about it."""
    again, sequences = decide_again(past, agent, bundle), bundle.sequences
    if sequences is None or sequences.watched(agent.name, past.call.kind, past.call.resource) is None:
        return again
    followed, known = Followed(bundle), _known(world, workspace)
    since = past.at - timedelta(days=SEQUENCE_DAYS)
    for call in telemetry.recorded_calls(world, workspace, since, agent.name):
        before = _past(call)
        if before is None or before.id == past.id or before.at > past.at or before.by_standing:
            continue
        if before.gone and sequences.watched(agent.name, before.call.kind, before.call.resource) is not None:
            raise _EarlierGone
        then = known(before.facts)
        if then is not None:
            after_all(followed, before, then, before.decided)
    return after_all(followed, past, agent, again)


def _past(call: RecordedCall) -> Past | None:
    return read_past(call.id, call.time, call.agent, call.session, call.data, call.release)


def _bundle(world: World, workspace: str, version: str) -> Bundle | None:
    try:
        bundle = version_bundle(world, workspace, version)
    except Refused:
        return None
    return bundle if bundle.version == version else None


def _known(world: World, workspace: str) -> Callable[[str], AgentFact | None]:
    seen: dict[str, AgentFact | None] = {}

    def known(key: str) -> AgentFact | None:
        if key not in seen:
            with world.read() as connection:
                seen[key] = store.facts(connection, workspace, [key]).get(key)
        return seen[key]

    return known
