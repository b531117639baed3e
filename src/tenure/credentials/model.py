"""What can be revoked, and what that comes to, in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.base.replicas import Settled
from tenure.revocation.model import Kind, Mark

REVOCABLE = (Kind.AGENT, Kind.INSTANCE, Kind.RELEASE, Kind.KEY, Kind.PERSON, Kind.WORKSPACE)

MAX_REASON = 2_000


@dataclass(frozen=True, slots=True)
class Effects:
    """What a revocation does, as sentences; ``agent``: whose credentials it names, where it is one agent's."""

    kind: Kind
    subject: str
    sentences: tuple[str, ...]
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Revoked:
    """A revocation that is committed. ``settled``: whether it is in force everywhere."""

    mark: Mark
    effects: Effects
    settled: Settled


def live(count: int) -> str:
    """How many instances end, as a clause."""
    return {0: "no instance runs", 1: "1 running instance ends"}.get(count, f"{count} running instances end")
