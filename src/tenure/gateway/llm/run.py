"""One call of a model API on its way, from the decision to the record. A value: no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tenure.gateway.llm import codec
from tenure.gateway.llm.opaque.codec import PASS
from tenure.gateway.llm.routes import Route
from tenure.gateway.verdict import Verdict
from tenure.kernel.snapshot import ModelFact
from tenure.kernel.values import Call, Principal


class Run:
    """What is known of a call so far; ``told`` once it is recorded. ``query`` is that of the request without a key,
    ``first_chunk`` the seconds to the first piece of a stream, ``facts`` attributes of its Event beside its codec's.

    ``served`` is the model that was tried last, ``acting`` the call as it is made of that model and ``permit`` what
    allows it: ``call`` and ``verdict`` themselves, unless a fallback took its place. ``attempts`` tells of each model
    that was tried or passed over, ``retry_after`` what the first of them said about when to ask again. ``leave`` gives
    back the place at the upstream that a stream still holds.
    """

    __slots__ = (
        *("acting", "ask", "attempts", "begun", "call", "facts", "first_chunk", "leave", "permit", "principal"),
        *("query", "retry_after", "route", "served", "size", "started", "told", "verdict"),
    )

    def __init__(self, route: Route, ask: codec.Ask, size: int, call: Call, principal: Principal) -> None:
        self.route = route
        self.ask = ask
        self.size = size
        self.query = ""
        self.call = call
        self.principal = principal
        self.started = datetime.now(UTC)
        self.begun = time.perf_counter()
        self.verdict: Verdict | None = None
        self.acting = call
        self.permit: Verdict | None = None
        self.attempts: list[dict[str, Any]] = []
        self.retry_after: dict[str, str] = {}
        self.leave: Callable[[], None] | None = None
        self.served: ModelFact | None = None
        self.first_chunk: float | None = None
        self.facts: dict[str, Any] = {}
        self.told = False

    @property
    def decided(self) -> Verdict:
        """The newest Verdict; there is one from ``Pipeline.decide`` on."""
        assert self.verdict is not None  # noqa: S101 (asked only after decide)
        return self.verdict

    @property
    def permitted(self) -> Verdict:
        """What allows the call as it is made."""
        return self.permit or self.decided

    def ended(self) -> None:
        """Nothing more of an answer comes."""
        leave, self.leave = self.leave, None
        if leave is not None:
            leave()

    def asked(self) -> dict[str, Any]:
        """The attributes of the Event that the request alone tells."""
        ask, operation = self.ask, self.route.operation
        out: dict[str, Any] = {"gen_ai.operation.name": operation.name}
        if ask.model:
            out["gen_ai.request.model"] = ask.model
        out["gen_ai.request.stream"] = ask.stream
        if self.served is not None:
            known = codec.provider(self.served.upstream.base_url, self.served.provider, self.route.wire.provider)
            out["gen_ai.provider.name"], out["server.address"] = known
            out["tenure.model.served"] = self.served.name
        if self.attempts:
            out["tenure.attempts"] = self.attempts
        out.update(self.facts)
        if self.size <= codec.CAPTURE_MAX or operation is PASS:  # which has a bound of its own
            out.update(operation.asked(ask))
        else:
            out["tenure.capture.truncated"] = True
        return out
