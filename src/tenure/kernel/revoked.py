"""What was revoked of the credentials of a workspace, as gateways know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenure.kernel.values import Principal


def _latest(one: Mapping[str, float], other: Mapping[str, float]) -> Mapping[str, float]:
    return {**one, **{name: max(moment, one.get(name, moment)) for name, moment in other.items()}}


@dataclass(frozen=True, slots=True)
class RevokedFact:
    """What was revoked in a workspace and could still be shown: ``tokens`` by their id, credentials of these instances,
    of these releases and by these keys, and those that were issued for a person up to a moment (Unix seconds).
    ``agents``: credentials of an agent that were issued up to a moment were replaced, and the time in which both were
    good is over.

    What revokes everything of an agent is its ``credential_epoch``; a workspace's is that of all its agents."""

    workspace: str
    instances: frozenset[str] = frozenset()
    releases: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    people: Mapping[str, float] = field(default_factory=dict)
    agents: Mapping[str, float] = field(default_factory=dict)
    tokens: frozenset[str] = frozenset()

    def joined(self, other: RevokedFact) -> RevokedFact:
        """What either of two says of the same workspace."""
        return RevokedFact(
            self.workspace,
            instances=self.instances | other.instances,
            releases=self.releases | other.releases,
            keys=self.keys | other.keys,
            people=_latest(self.people, other.people),
            agents=_latest(self.agents, other.agents),
            tokens=self.tokens | other.tokens,
        )

    def covers(self, principal: Principal) -> str:
        """What of the credential was revoked, in words; empty when nothing was."""
        if principal.instance in self.instances:
            return f"Instance {principal.instance} was revoked."
        if principal.token_id in self.tokens:
            return "This token was revoked."
        if principal.release in self.releases:
            return f"Release {principal.release} was revoked."
        if principal.key in self.keys:
            return "The key that signed this credential was revoked."
        person = principal.on_behalf_of
        if person is not None and principal.issued_at <= self.people.get(person.lower(), -1.0):
            return f"What was issued on behalf of {person} was revoked."
        return ""

    def refuses(self, principal: Principal) -> str:
        """As ``covers``, for a credential that is shown now: one that was replaced opens nothing more, and yet what was
        begun with it may go on."""
        if principal.issued_at <= self.agents.get(principal.agent, -1.0):
            return f"This credential of agent {principal.agent} was replaced, and its time is over."
        return self.covers(principal)
