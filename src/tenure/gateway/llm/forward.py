"""What goes out to a model's upstream and what of its answer may come back: addresses, headers, the provider's key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tenure.base.scan.texts import clean
from tenure.gateway.http import Request
from tenure.gateway.justification import REASON_HEADER
from tenure.gateway.keychain import Keychain, sent
from tenure.gateway.llm import codec
from tenure.gateway.llm.opaque.codec import PASS
from tenure.gateway.llm.run import Run
from tenure.gateway.llm.slots import Slots
from tenure.gateway.upstream import Client, Reply, UpstreamError
from tenure.kernel.snapshot import ModelFact
from tenure.policy.model import redactions

# Hop by hop (RFC 9110 section 7.6.1), the agent's credential, and what is Tenure's own. Content coding is left out so
# that what is captured can be read.
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_NOT_FORWARDED = frozenset(
    _HOP_BY_HOP
    | {"host", "content-length", "expect", "accept-encoding", "prefer", "traceparent", "tracestate"}
    | {
        "authorization",
        "dpop",
        "proxy-authorization",
        "cookie",
        "api-key",
        "x-api-key",
        "x-tenure-session",
        "x-tenure-delegation",
        REASON_HEADER,
        "x-tenure-confidence",
    }
    | {"x-goog-api-key"}
    | {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
)
_NOT_RETURNED = frozenset(
    _HOP_BY_HOP
    | {"content-length", "content-type", "date", "set-cookie", "alt-svc", "strict-transport-security"}
    | {"www-authenticate", "proxy-authenticate"}
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The longest answers that are taken, in bytes: whole ones, which are held in memory, and streams of events."""

    whole: int = 64 << 20
    stream: int = 256 << 20

    def check(self, size: int) -> None:
        """Raises UpstreamError for a stream that has become too long."""
        if size > self.stream:
            raise UpstreamError("too_large", f"the answer is longer than {self.stream} bytes")


class Forwarder:
    """Sends calls to upstreams. The providers' keys are in ``credentials``, and go nowhere but into a header."""

    def __init__(self, client: Client, bounds: Bounds, credentials: Keychain) -> None:
        self._client = client
        self._bounds = bounds
        self._credentials = credentials
        self._slots = Slots()

    async def exchange(
        self, request: Request, run: Run, served: ModelFact, admit: Callable[[], None]
    ) -> tuple[Reply, bytes | None]:
        """The whole answer of the upstream that serves a model, or the head of one that is passed on as it comes.
        ``admit`` is asked immediately before the bytes go out, and may raise. Raises UpstreamError."""
        limit = served.concurrency
        if limit is None:
            return await self._exchange(request, run, served, admit)
        await self._slots.enter(served.upstream, limit)
        body: bytes | None = b""
        try:
            reply, body = await self._exchange(request, run, served, admit)
        finally:
            if body is None:
                run.leave = partial(self._slots.leave, served.upstream)
            else:
                self._slots.leave(served.upstream)
        return reply, body

    async def _exchange(
        self, request: Request, run: Run, served: ModelFact, admit: Callable[[], None]
    ) -> tuple[Reply, bytes | None]:
        route, operation = run.route, run.route.operation
        path, body, query = route.path, request.body, run.query
        what = redactions(run.permitted.decision)
        if what:  # policy lets the call go on without what was found in it
            body, query = codec.redacted(body, what), str(clean(query, what))
        if served.name != run.ask.model and run.ask.model:  # asked for by another name, or another model than asked for
            path, body = route.path_to(served.name), operation.renamed(body, served.name)
        upstream, wire = served.upstream, route.wire
        base, target = route.base(upstream.base_url), f"{path}?{query}" if query else path
        headers = _forwarded(request)
        send = partial(
            self._client.send,
            base,
            request.method,
            target,
            body=body,
            replay=operation is not PASS or request.method == "GET",
            timeouts=served.timeouts,
            admit=admit,
        )
        credential = partial(
            self._credentials.to_send,
            run.principal.workspace,
            upstream.credential_secret,
            upstream.credential_env,
            upstream.base_url,
        )
        reply = await sent(send, headers, credential, wire.key_header, wire.key_prefix)
        _refuse_redirect(reply)
        if _is_stream(run, reply):
            return reply, None
        whole = await reply.read(self._bounds.whole)
        if operation is not PASS:
            _refuse_nonsense(reply, whole)
        return reply, whole


def _forwarded(request: Request) -> list[tuple[str, str]]:
    """The agent's headers that go on, without its credential."""
    named = request.headers.get("connection", "").lower()
    dropped = _NOT_FORWARDED if named in ("", "keep-alive", "close") else _NOT_FORWARDED | set(_words(named))
    headers = [(name, value) for name, value in request.headers.items() if name not in dropped]
    headers.append(("accept-encoding", "identity"))
    return headers


def _is_stream(run: Run, reply: Reply) -> bool:
    """Whether an answer is passed on chunk by chunk."""
    streams = run.route.operation.streams
    if reply.status >= 300 or reply.status == 204:
        return False
    kind = media(reply)
    return streams is None or (kind in streams and (run.ask.stream or kind in codec.EVENT_STREAM))


def media(reply: Reply) -> str:
    """The content type of a reply, without its parameters."""
    return reply.header("content-type").partition(";")[0].strip()


def _refuse_redirect(reply: Reply) -> None:
    """A redirect handed on would lead the agent, and its token, past the gateway."""
    if 300 <= reply.status < 400:
        reply.close()
        raise UpstreamError("garbage", f"the upstream redirects ({reply.status}), which is not followed")


def _refuse_nonsense(reply: Reply, body: bytes) -> None:
    """A success that is no JSON object (a proxy's HTML page) would break the agent's client; an error says what it is.
    Looking at one byte is enough to tell them apart."""
    if reply.status < 300 and not body.lstrip().startswith(b"{"):
        raise UpstreamError("garbage", "the upstream answered with something else than a JSON object")


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",")]


def returned(reply: Reply, call_id: str) -> tuple[tuple[str, str], ...]:
    """The headers of a reply that reach the agent, and the id of its call."""
    kept = [(name, value) for name, value in reply.headers if name not in _NOT_RETURNED]
    kept.append(("x-tenure-call-id", call_id))
    return tuple(kept)
