"""What comes back to the agent, whole, streamed or refused, each in its own protocol, and the record of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from tenure.gateway.http import Response
from tenure.gateway.llm import codec
from tenure.gateway.llm.codec import Fault, Wire
from tenure.gateway.llm.forward import Bounds, media, returned
from tenure.gateway.llm.opaque.codec import PASS
from tenure.gateway.llm.run import Run
from tenure.gateway.llm.stream import Capture
from tenure.gateway.pipeline import NoLongerAllowed, Pipeline
from tenure.gateway.upstream import Reply, UpstreamError
from tenure.kernel.errors import Refused

_RETRY_AFTER_S = 2
_STATUS = {"timeout": 504, "connect_timeout": 504, "too_long": 504, "busy": 503}


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

    def streaming(self, run: Run, reply: Reply) -> Response:
        """An answer that is passed on as it comes, and decided on again before each piece."""
        capture = Capture(run.route.operation.streamed())
        problem: dict[str, Any] = {"error.type": "client_disconnected"}
        operation, wire = run.route.operation, run.route.wire
        is_events = operation is not PASS and media(reply) in codec.EVENT_STREAM

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal problem
            standing = run.permitted
            try:
                while chunk := await reply.next_chunk():
                    standing = self._pipeline.standing(run.acting, run.principal, standing)
                    if run.first_chunk is None:
                        run.first_chunk = time.perf_counter() - run.begun
                    if is_events:
                        self._bounds.check(capture.passed + len(chunk))
                    yield chunk
                    capture.add(chunk)
                problem = {}
            except NoLongerAllowed as change:
                # Stopped in the middle: nothing more of it reaches an agent that may not act any longer.
                problem = {"error.type": "stopped", "error.message": change.verdict.decision.reason}
                if is_events:
                    yield wire.broken(codec.refusal(change.verdict.decision, run.call.id, None))
                raise UpstreamError("stopped", change.verdict.decision.reason) from None
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
            self.tell(run, capture.attributes() | problem, status=reply.status)

        return Response(reply.status, chunks(), returned(reply, run.call.id), reply.header("content-type"), done)

    def refusal(self, run: Run) -> Response:
        """The answer to a call that was not allowed, or not yet."""
        verdict = run.decided
        fault = codec.refusal(verdict.decision, run.call.id, verdict.approval_id)
        headers: tuple[tuple[str, str], ...] = (("x-tenure-call-id", run.call.id),)
        if verdict.pending:
            headers += (("retry-after", str(_RETRY_AFTER_S)),)
        elif fault.status == 403:
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
