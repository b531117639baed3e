"""Whom a policy asks for an approval, and how many of them: ``approve``, ``approve:operator``, ``approve:2``,
``approve:operator:2``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tenure.kernel.values import Role

WORD = "approve"
DECIDERS = (Role.APPROVER, Role.OPERATOR)
"""The roles that may decide held calls (``approvals:decide`` in base/roles)."""
MOST = 5
"""How many people an approval can take at most."""
FOUR_EYES = f"{WORD}:2"
"""What is demanded of every held call of an agent of the highest risk tier, whatever the policies say."""
HIGHEST_TIER = 4


@dataclass(frozen=True, slots=True)
class Demand:
    """So many different people, each with the ``role``; an empty one means any that may decide."""

    role: str = ""
    people: int = 1

    def __str__(self) -> str:
        return ":".join((WORD, *([self.role] if self.role else []), *([str(self.people)] if self.people > 1 else [])))

    @property
    def words(self) -> str:
        """As a person reads it."""
        if self.people == 1:
            return f"a person with the role {self.role}" if self.role else "a person"
        return f"{self.people} different people" + (f" with the role {self.role}" if self.role else "")


def demand_of(obligation: str) -> Demand | None:
    """What an obligation demands, None for one that asks for no approval, or asks for it in words that mean nothing."""
    word, *rest = obligation.split(":")
    if word != WORD or len(rest) > 2:
        return None
    role = rest.pop(0) if rest and rest[0] in DECIDERS else ""
    if not rest:
        return Demand(role)
    (count,) = rest if len(rest) == 1 else ("",)
    return Demand(role, int(count)) if count in {str(number) for number in range(2, MOST + 1)} else None


def demands_of(obligations: Iterable[str]) -> tuple[Demand, ...]:
    """All that obligations demand; a plain one when they demand nothing in particular."""
    found = dict.fromkeys(demand for one in obligations if (demand := demand_of(one)) is not None)
    return tuple(one for one in found if one != Demand()) or (Demand(),)


def unmet(demands: Sequence[Demand], roles: Sequence[frozenset[str]]) -> list[Demand]:
    """What is still missing when different people with such ``roles``, one set for each of them, have approved."""
    return [one for one in demands if sum(not one.role or one.role in held for held in roles) < one.people]
