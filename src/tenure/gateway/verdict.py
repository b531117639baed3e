"""What ``decide`` answers a handler. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.kernel.snapshot import AgentFact, Snapshot
from tenure.kernel.values import Decision, Effect


@dataclass(frozen=True, slots=True)
class Verdict:
    """The Decision and the facts that belong to it.

    ``approval_id``: the approval that the call went through by, waits for (effect hold), or was rejected under.
    ``violation``: it counts toward the breaker. ``counts`` is False for a person's own no, which is not the agent's
    misconduct. ``basis`` is what was decided from, to tell whether it has changed since. ``decide_us`` is the deciding
    itself, ``waited_us`` the wait for a person.
    """

    decision: Decision
    agent: AgentFact | None
    approval_id: str | None = None
    violation: bool = False
    counts: bool = True
    breaker_epoch: int = 0
    decide_us: int = 0
    waited_us: int = 0
    basis: tuple[Snapshot | None, int] = (None, 0)

    @property
    def allowed(self) -> bool:
        """Whether the call may be acted on."""
        return self.decision.effect is Effect.ALLOW

    @property
    def pending(self) -> bool:
        """Whether it waits for a person."""
        return self.decision.effect is Effect.HOLD
