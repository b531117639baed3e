"""Which model answers: the one that was asked for, or the first of its fallbacks that does."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

from tenure.gateway.http import Request
from tenure.gateway.llm.forward import Forwarder
from tenure.gateway.llm.opaque.codec import PASS
from tenure.gateway.llm.run import Run
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.upstream import Reply, UpstreamError
from tenure.gateway.verdict import NoLongerAllowed
from tenure.kernel.snapshot import AgentFact, ModelFact
from tenure.kernel.values import Effect

_RETRY = ("retry-after", "retry-after-ms")


def find(agent: AgentFact | None, asked: str) -> ModelFact | None:
    """The model that an agent means by a name: by an alias first, else the first one that the provider calls so."""
    if agent is None:
        return None
    for fact in agent.models:
        if (fact.alias or fact.name) == asked:
            return fact
    return next((fact for fact in agent.models if fact.name == asked), None)


class Attempts:
    """Tries models in order. What came of each goes into ``Run.attempts``, and from there into the Event."""

    def __init__(self, pipeline: Pipeline, forwarder: Forwarder) -> None:
        self._pipeline = pipeline
        self._forwarder = forwarder

    async def reach(self, request: Request, run: Run, asked: ModelFact) -> tuple[Reply, bytes | None]:
        """A whole answer, or the head of one that is passed on as it comes (None in place of its bytes).

        A fallback is tried when nothing of an answer was passed on yet and the model before it could not be reached,
        broke off, was silent, answered nonsense, 429 or 5xx, or has no free place; and only if the agent may ask for it
        as if it had. An endpoint that no codec knows may have effects: it is tried once. What the last attempt gave is
        returned or raised. Raises UpstreamError, NoLongerAllowed.
        """
        run.served = asked
        if not asked.fallbacks or run.route.operation is PASS:
            return await self._forwarder.exchange(request, run, asked, self._admit(run))
        answer, failure = await self._try(request, run, asked)
        if _is_final(answer):
            return _given(run, answer, failure)
        for name in asked.fallbacks:
            fact = find(run.decided.agent, name)
            if fact is not None and self._may(run, fact):
                answer, failure = await self._try(request, run, fact)
                if _is_final(answer):
                    break
        return _given(run, answer, failure)

    def _admit(self, run: Run) -> Any:
        return lambda: self._pipeline.admit(run.acting, run.principal, run.permitted)

    async def _try(
        self, request: Request, run: Run, fact: ModelFact
    ) -> tuple[tuple[Reply, bytes | None] | None, UpstreamError | None]:
        """One attempt: the answer, or else why there is none."""
        begun = time.perf_counter()
        run.served = fact
        outcome, more = "client_disconnected", cast("dict[str, Any]", {})
        try:
            reply, body = await self._forwarder.exchange(request, run, fact, self._admit(run))
            outcome = "answered" if reply.status < 300 else str(reply.status)
            for name in _RETRY:
                if value := reply.header(name):
                    run.retry_after.setdefault(name, value)
        except UpstreamError as error:
            outcome, more = error.kind, {"error": str(error)}
            return None, error
        except NoLongerAllowed as change:
            outcome, more = "denied", {"policies": change.verdict.decision.policies}
            raise
        else:
            return (reply, body), None
        finally:
            _note(run, fact, outcome, duration_us=int((time.perf_counter() - begun) * 1e6), **more)

    def _may(self, run: Run, fact: ModelFact) -> bool:
        """Whether the agent may ask for a fallback itself. It did not, so a no is no violation; and nobody waits for a
        person in its place."""
        call = replace(run.call, resource=fact.name)
        if self._pipeline.histories.watched(call, run.principal) is not None:
            _note(run, fact, "denied", error="A sequence rule is about this model: ask for it by its name.")
            return False
        verdict = self._pipeline.judge(call, run.principal)
        decision = verdict.decision
        if decision.effect is Effect.ALLOW:
            charge, agent = run.decided.charge, run.decided.agent
            if charge is not None and agent is not None:
                short = self._pipeline.leases.moved(charge, call, run.principal, agent, run.size)
                if short is not None:
                    _note(run, fact, "limited", error=short.reason)
                    return False
            run.acting, run.permit = call, verdict
            return True
        outcome = "denied" if decision.effect is Effect.DENY else "needs_approval"
        _note(run, fact, outcome, error=decision.reason, policies=decision.policies)
        return False


def _note(run: Run, fact: ModelFact, outcome: str, **more: Any) -> None:
    upstream = urlsplit(fact.upstream.base_url).netloc
    run.attempts.append({"model": fact.name, "upstream": upstream, "outcome": outcome, **more})


def _is_final(answer: tuple[Reply, bytes | None] | None) -> bool:
    """Whether it is the agent's, good or not: only 429 and what is the upstream's fault are worth another model."""
    return answer is not None and answer[0].status != 429 and answer[0].status < 500


def _given(
    run: Run, answer: tuple[Reply, bytes | None] | None, failure: UpstreamError | None
) -> tuple[Reply, bytes | None]:
    """The answer of the last attempt. When every one failed, it says what the first said about when to ask again."""
    if answer is None:
        assert failure is not None  # noqa: S101 (an attempt ends with one of the two)
        raise failure
    if not _is_final(answer):
        known = {name for name, _ in answer[0].headers}
        answer[0].headers.extend((name, value) for name, value in run.retry_after.items() if name not in known)
    return answer
