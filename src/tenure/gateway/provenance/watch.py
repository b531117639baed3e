"""The place where the gateway notes what sessions meet, and asks where a call came from."""

from __future__ import annotations

from collections.abc import Callable

from tenure.gateway.provenance.pieces import Piece, Sources, of_request, of_value
from tenure.gateway.provenance.sessions import Sessions
from tenure.gateway.snapshot import Facts
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Call, CallKind, Origin, Principal
from tenure.policy.model import ORIGIN, RISK, Bundle, facts_read

_WATCHED = ORIGIN | RISK
_DERIVED = frozenset({"arguments_from_untrusted", "untrusted_arguments"})
_KEPT_ELSEWHERE = ("previous_response_id", "conversation", "cachedContent", "cached_content")
"""Members of a request that stand for content which the provider keeps."""


class Provenance:
    """One for the process. Costs one look at the policies where none of a workspace asks for it."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._sessions = Sessions()
        self._sources: dict[str, Sources] = {}

    def watched(self, principal: Principal) -> bool:
        """Whether any policy of the workspace asks where calls come from."""
        bundle = self._facts.bundles.get(principal.workspace)
        return bundle is not None and not _WATCHED.isdisjoint(bundle.reads)

    def asked(self, principal: Principal, body: JsonObject, read: Callable[[], JsonObject]) -> None:
        """A request to a model: it carries what the session has met. ``read`` gives its messages."""
        agent = self._agent(principal) if self.watched(principal) else None
        if agent is None:
            return
        whole = not any(body.get(name) for name in _KEPT_ELSEWHERE)
        self._sessions.meet(_key(principal), of_request(read(), self._of(agent), bool(principal.chain)), whole)

    def not_read(self, principal: Principal, what: str) -> None:
        """A request that may hold or stand for content, in a form that is not read here."""
        if self.watched(principal):
            self._sessions.meet(_key(principal), [Piece("unknown", False, what, unread=True)])

    def returned(self, principal: Principal, resource: str, value: Json) -> None:
        """What a tool, a resource or a prompt returned; ``resource`` is ``server/name``."""
        agent = self._agent(principal) if self.watched(principal) else None
        if agent is not None:
            self._sessions.meet(_key(principal), [of_value(value, self._of(agent).of_resource(resource))])

    def answered(self, principal: Principal, peer: str, read: Callable[[], Json]) -> None:
        """What another agent answered; ``read`` gives it."""
        agent = self._agent(principal) if self.watched(principal) else None
        if agent is not None:
            self._sessions.meet(_key(principal), [of_value(read(), self._of(agent).of_peer(peer))])

    def origin(self, call: Call, principal: Principal, agent: AgentFact, bundle: Bundle) -> Origin | None:
        """Where a call came from; None where no policy in its scope asks. The arguments of a call to a model are facts
        about it and hold nothing."""
        if ORIGIN.isdisjoint(bundle.reads):
            return None
        read = facts_read(call, agent, bundle)
        if ORIGIN.isdisjoint(read):
            return None
        look = call.kind is not CallKind.LLM and not _DERIVED.isdisjoint(read)
        return self._sessions.origin(_key(principal), call.arguments, look)

    def standing(self, principal: Principal) -> tuple[bool, bool]:
        """Whether the session has met what is not trusted, and whether its beginning was not seen."""
        return self._sessions.standing(_key(principal))

    def _agent(self, principal: Principal) -> AgentFact | None:
        snapshot = self._facts.current
        return snapshot.agents.get(f"{principal.workspace}/{principal.agent}") if snapshot is not None else None

    def _of(self, agent: AgentFact) -> Sources:
        key = f"{agent.workspace}/{agent.name}"
        known = self._sources.get(key)
        if known is None or known.agent is not agent:
            known = self._sources[key] = Sources(agent)
        return known


def _key(principal: Principal) -> tuple[str, ...]:
    return principal.workspace, principal.agent, principal.session
