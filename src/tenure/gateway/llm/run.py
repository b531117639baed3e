"""One call of a model API on its way, from the decision to the record. A value: no I/O."""

from __future__ import annotations

import time
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
    ``first_chunk`` the seconds to the first piece of a stream, ``facts`` attributes of its Event beside its codec's."""

    __slots__ = (
        *("ask", "begun", "call", "facts", "first_chunk", "principal", "query", "route", "served", "size", "started"),
        *("told", "verdict"),
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
        self.served: ModelFact | None = None
        self.first_chunk: float | None = None
        self.facts: dict[str, Any] = {}
        self.told = False

    @property
    def decided(self) -> Verdict:
        """The newest Verdict; there is one from ``Pipeline.decide`` on."""
        assert self.verdict is not None  # noqa: S101 (asked only after decide)
        return self.verdict

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
        out.update(self.facts)
        if self.size <= codec.CAPTURE_MAX or operation is PASS:  # which has a bound of its own
            out.update(operation.asked(ask))
        else:
            out["tenure.capture.truncated"] = True
        return out
