"""Sequence rules as a part of the policies: what they add to a version, and to a decision."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from tenure.base.faults import FileFault
from tenure.kernel.values import Decision, Effect
from tenure.sequences.model import Finding, Sequences, read_rules


def sequences_of(
    files: Sequence[tuple[str, str]], taken: Collection[str]
) -> tuple[Sequences | None, tuple[FileFault, ...]]:
    """The sequence rules among ``files`` ((name, text) each), None for none, and what is wrong with them. ``taken`` are
    the ids of Cedar policies."""
    read = read_rules(files)
    same = [rule for rule in read.rules if rule.id in taken]
    faults = read.faults + tuple(
        FileFault(rule.file, rule.line, f"there is a Cedar policy {rule.id} already") for rule in same
    )
    return Sequences(read.rules) if read.rules else None, faults


def after(decision: Decision, finding: Finding | None) -> Decision:
    """The decision on a call, and what the sequence rules say of it: the stricter of the two."""
    if finding is None or decision.effect is Effect.DENY:
        return decision
    both = finding.effect is decision.effect is Effect.HOLD
    duties = dict.fromkeys((*decision.obligations, "approve")) if finding.effect is Effect.HOLD else ()
    return replace(
        decision,
        effect=finding.effect,
        reason=finding.reason,
        policies=(*decision.policies, *finding.rules) if both else finding.rules,
        obligations=tuple(duties),
        because=finding.because,
    )
