"""What comes back to the agent, whole, streamed or refused, each in its own protocol, and the record of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from math import ceil
from typing import Any

from tenure.gateway.http import Response
from tenure.gateway.llm import codec
from tenure.gateway.llm.codec import Fault, Wire
from tenure.gateway.llm.forward import Bounds, media, returned
from tenure.gateway.llm.holdback import Holdback
from tenure.gateway.llm.opaque.codec import PASS
from tenure.gateway.llm.run import Run
from tenure.gateway.llm.stream import Capture
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.returned import WITHHELD, Withheld, told
from tenure.gateway.upstream import Reply, UpstreamError
from tenure.gateway.verdict import NoLongerAllowed, Verdict
from tenure.kernel.errors import Refused
from tenure.policy.model import redactions

_RETRY_AFTER_S = 2
_RETRY_MAX_S = 60.0  # what clients wait for by themselves
_WAIT_MAX_S = 600.0
_STATUS = {"timeout": 504, "connect_timeout": 504, "too_long": 504, "busy": 503, "no_credential": 503}


class Answers:
    """Makes the Response of a call, and tells the pipeline what came of it when the last byte is on its way."""

    def __init__(self, pipeline: Pipeline, bounds: Bounds) -> None:
        self._pipeline = pipeline
        self._bounds = bounds

    def whole(self, run: Run, reply: Reply, body: bytes) -> Response:
        """An answer that is all here; it is read for the record after it is on its way."""
        took = time.perf_counter() - run.begun

        def done() -> None:
            read = run.route.operation.answered if reply.status < 300 else codec.error_attributes
            seen = read(body)
            self.tell(run, seen, status=reply.status, took=took)

        headers = returned(reply, run.call.id)
        return Response(reply.status, body, headers, reply.header("content-type"), done)

    async def weighed(self, run: Run, reply: Reply, body: bytes, prefer_wait: float | None) -> Response:
        """An answer that is all here and that policy decides on: handed on as it is, redacted, or withheld."""
        value = codec.parsed(body)
        verdict = await self._pipeline.returned.decide(
            run.acting, run.principal, run.permitted, body if value is None else value, prefer_wait, _WAIT_MAX_S
        )
        run.facts |= told(verdict)
        if verdict.allowed:
            what = redactions(verdict.decision)
            response = self.whole(run, reply, body)
            if what:
                response.body = codec.redacted(body, what)
            return response
        fault = _withheld(run, verdict)
        headers = (("x-tenure-call-id", run.call.id), ("x-should-retry", "false"))
        response = self.whole(run, reply, body)  # what is recorded is what came back
        return Response(fault.status, run.route.wire.error(fault), headers, done=response.done)

    def streaming(self, run: Run, reply: Reply) -> Response:
        """An answer that is passed on as it comes, and decided on again before each piece."""
        capture = Capture(run.route.operation.streamed())
        problem: dict[str, Any] = {"error.type": "client_disconnected"}
        wire, kind = run.route.wire, media(reply)
        is_events = run.route.operation is not PASS and kind in codec.EVENT_STREAM
        watch = self._pipeline.returned.watch(run.acting, run.principal, run.permitted)
        held = Holdback(watch, kind in codec.EVENT_STREAM) if watch is not None else None

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal problem
            standing, chunk = run.permitted, b""
            try:
                while chunk := await reply.next_chunk():
                    standing = self._pipeline.standing(run.acting, run.principal, standing)
                    if run.first_chunk is None:
                        run.first_chunk = time.perf_counter() - run.begun
                    if is_events:
                        self._bounds.check(capture.passed + len(chunk))
                    if settled := chunk if held is None else held.feed(chunk):
                        yield settled
                    capture.add(chunk)
                if held is not None and (settled := held.end()):
                    yield settled
                problem = {}
            except (NoLongerAllowed, Withheld) as change:
                # Stopped in the middle: nothing more of it reaches an agent that may not act or may not see it.
                capture.add(chunk)
                problem, last = _cut(run, change, is_events)
                if last:
                    yield last
                raise UpstreamError("stopped", str(change)) from None
            except UpstreamError as error:
                problem = {"error.type": error.kind, "error.message": str(error)}
                if is_events:
                    # Said in the client's own protocol first; then the connection is broken off for all others.
                    yield wire.broken(_upstream_fault(run, error))
                raise
            finally:
                reply.close()
                run.ended()

        def done() -> None:
            reply.close()
            run.ended()
            redacted = told(held.verdict) if held is not None and held.verdict is not None else {}
            self.tell(run, capture.attributes() | redacted | problem, status=reply.status)

        return Response(reply.status, chunks(), returned(reply, run.call.id), reply.header("content-type"), done)

    def refusal(self, run: Run) -> Response:
        """The answer to a call that was not allowed, or not yet."""
        verdict = run.decided
        fault = codec.refusal(verdict.decision, run.call.id, verdict.approval_id)
        headers: tuple[tuple[str, str], ...] = (("x-tenure-call-id", run.call.id),)
        if verdict.pending:
            headers += (("retry-after", str(_RETRY_AFTER_S)),)
        elif verdict.retry_s:
            headers += (("retry-after", str(ceil(verdict.retry_s))),)
        if fault.status == 403 or (fault.status == 429 and not 0 < verdict.retry_s <= _RETRY_MAX_S):
            headers += (("x-should-retry", "false"),)
        return Response(fault.status, run.route.wire.error(fault), headers, done=lambda: self.tell(run, {}))

    def failed(self, run: Run, error: UpstreamError) -> Response:
        """The answer to a call that no upstream answered."""
        fault = _upstream_fault(run, error)
        status, facts = fault.status, {"error.type": error.kind, "error.message": fault.message}
        retry = run.retry_after or ({"retry-after": str(_RETRY_AFTER_S)} if error.kind == "busy" else {})
        headers = (("x-tenure-call-id", run.call.id), *retry.items())
        return Response(status, run.route.wire.error(fault), headers, done=lambda: self.tell(run, facts, status=status))

    def tell(self, run: Run, seen: Mapping[str, Any], *, status: int | None = None, took: float | None = None) -> None:
        """Records the call, once."""
        if run.told:
            return
        run.told = True
        duration = time.perf_counter() - run.begun if took is None else took
        data = run.asked()
        data.update(seen)
        if status is not None:
            data["http.response.status_code"] = status
            if status >= 400:
                data.setdefault("error.type", str(status))
        if run.first_chunk is not None:
            data["gen_ai.response.time_to_first_chunk"] = run.first_chunk
        self._pipeline.record(run.call, run.principal, run.decided, run.started, int(duration * 1e6), data)


def _cut(run: Run, change: NoLongerAllowed | Withheld, is_events: bool) -> tuple[dict[str, Any], bytes]:
    """What is recorded of a stream that was stopped, and the last bytes of it, which say so where they can."""
    if isinstance(change, Withheld):
        problem, settled, fault = told(change.verdict), change.settled, _withheld(run, change.verdict)
    else:
        decision = change.verdict.decision
        problem, settled = {"error.type": "stopped", "error.message": decision.reason}, b""
        fault = codec.refusal(decision, run.call.id, None)
    return problem, settled + run.route.wire.broken(fault) if is_events else settled


def _withheld(run: Run, verdict: Verdict) -> Fault:
    decision = verdict.decision
    by = f" [{', '.join(decision.policies)}]" if decision.policies else ""
    text = f"The model answered, and its answer is withheld. {decision.reason}{by}"
    more = {"policies": decision.policies, "decision_id": run.call.id}
    return Fault(403, "permission_denied", WITHHELD, text, more)


def _upstream_fault(run: Run, error: UpstreamError) -> Fault:
    status = _STATUS.get(error.kind, 502)
    text = f"The model's upstream failed: {error}."
    return Fault(status, "upstream_error", f"upstream_{error.kind}", text, {"decision_id": run.call.id})


def refused(wire: Wire, error: Refused) -> Response:
    """A refusal before there was a call, as the clients of that wire read it."""
    kind = "authentication_error" if error.status == 401 else "invalid_request_error"
    text = f"{error.message} {error.fix}".strip()
    headers = (("www-authenticate", "Bearer"),) if error.status == 401 else ()
    return Response(error.status, wire.error(Fault(error.status, kind, error.code, text)), headers)
