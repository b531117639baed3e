"""What an approval stands on: that exactly these policies, word for word, hold the call. Pure.

Policies change for reasons that have nothing to do with a call that waits: a precedent for another agent is published,
a file is loaded anew. An approval of the call carries over when the new policies decide it the same way by the same
policies; where anything of that differs a person is asked again (docs/decisions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tenure.kernel.json import digest
from tenure.kernel.values import Decision
from tenure.policy.cedar import SYSTEM_PREFIX, Rule
from tenure.sequences.model import Sequences


def marks_of(rules: Iterable[Rule], sequences: Sequences | None) -> dict[str, str]:
    """For each policy by its id, what changes when the policy does and when nothing else does."""
    marks = {rule.id: rule.mark for rule in rules}
    for rule in sequences.rules if sequences is not None else ():
        marks[rule.id] = digest([repr(replace(rule, file="", line=0))])
    return marks


def grounds_of(decision: Decision, marks: Mapping[str, str]) -> str:
    """The same for two holds by the same policies with the same duties, whatever else the policies say. A rule of the
    system is the same under its name; a policy that is not known stands for its whole version."""
    held: list[tuple[str, str]] = []
    for name in sorted(set(decision.policies)):
        mark = "" if name.startswith(SYSTEM_PREFIX) else marks.get(name, decision.policy_version)
        held.append((name, mark))
    return digest({"held": [list(one) for one in held], "duties": sorted(set(decision.obligations))})
