"""What goes out to a model's upstream and what of its answer may come back: addresses, headers, the provider's key."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tenure.base import log
from tenure.gateway.http import Request
from tenure.gateway.llm import codec
from tenure.gateway.llm.codec import Wire
from tenure.gateway.llm.opaque.codec import PASS
from tenure.gateway.llm.run import Run
from tenure.gateway.upstream import Client, Reply, UpstreamError
from tenure.kernel.snapshot import ModelFact, Upstream

_log = log.get("gateway")
# Hop by hop (RFC 9110 section 7.6.1), the agent's credential, and what is Tenure's own. Content coding is left out so
# that what is captured can be read.
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_NOT_FORWARDED = frozenset(
    _HOP_BY_HOP
    | {"host", "content-length", "expect", "accept-encoding", "prefer", "traceparent", "tracestate"}
    | {"authorization", "proxy-authorization", "cookie", "api-key", "x-api-key", "x-tenure-session"}
    | {"x-goog-api-key"}
    | {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
)
_NOT_RETURNED = frozenset(
    _HOP_BY_HOP
    | {"content-length", "content-type", "date", "set-cookie", "alt-svc", "strict-transport-security"}
    | {"www-authenticate", "proxy-authenticate"}
)


class Forwarder:
    """Sends calls to upstreams. The providers' keys are in ``environ``, and go nowhere but into a request's header."""

    def __init__(self, client: Client, environ: Mapping[str, str]) -> None:
        self._client = client
        self._environ = environ

    async def send(self, request: Request, run: Run, served: ModelFact, admit: Callable[[], None]) -> Reply:
        """The reply of the upstream that serves a model, when its head is there. ``admit`` is asked immediately before
        the bytes go out, and may raise. Raises UpstreamError."""
        route = run.route
        reply = await self._client.send(
            route.base(served.upstream.base_url),
            request.method,
            f"{route.path}?{run.query}" if run.query else route.path,
            self._headers(request, served.upstream, route.wire),
            request.body,
            replay=route.operation is not PASS or request.method == "GET",
            admit=admit,
        )
        _refuse_redirect(reply)
        return reply

    def _headers(self, request: Request, upstream: Upstream, wire: Wire) -> list[tuple[str, str]]:
        named = request.headers.get("connection", "").lower()
        dropped = _NOT_FORWARDED if named in ("", "keep-alive", "close") else _NOT_FORWARDED | set(_words(named))
        headers = [(name, value) for name, value in request.headers.items() if name not in dropped]
        headers.append(("accept-encoding", "identity"))
        if upstream.credential_env:
            key = self._environ.get(upstream.credential_env, "").strip()
            if key:
                headers.append((wire.key_header, wire.key_prefix + key))
            else:
                _log.warning("upstream_key_missing", variable=upstream.credential_env)
        return headers


def is_stream(run: Run, reply: Reply) -> bool:
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


def refuse_nonsense(reply: Reply, body: bytes) -> None:
    """A success that is no JSON object (a proxy's HTML page) would break the agent's client; an error says what it is.
    Looking at one byte is enough to tell them apart. Raises UpstreamError."""
    if reply.status < 300 and not body.lstrip().startswith(b"{"):
        raise UpstreamError("garbage", "the upstream answered with something else than a JSON object")


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",")]


def returned(reply: Reply, call_id: str) -> tuple[tuple[str, str], ...]:
    """The headers of a reply that reach the agent, and the id of its call."""
    kept = [(name, value) for name, value in reply.headers if name not in _NOT_RETURNED]
    kept.append(("x-tenure-call-id", call_id))
    return tuple(kept)
