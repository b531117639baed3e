"""Which wire and which operation a request of a model API is. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from tenure.gateway.http import Request
from tenure.gateway.llm.anthropic import codec as anthropic
from tenure.gateway.llm.codec import Operation, Wire
from tenure.gateway.llm.gemini import codec as gemini
from tenure.gateway.llm.opaque import codec as opaque
from tenure.gateway.llm.openai import codec as openai
from tenure.gateway.llm.responses import codec as responses
from tenure.kernel import wires
from tenure.kernel.errors import Refused


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` is what is added to the upstream's base address (``base``); ``model`` the one that the path names, if it
    does."""

    wire: Wire
    operation: Operation
    path: str
    model: str = ""

    def path_to(self, model: str) -> str:
        """The path, with ``model`` in place of the one that it names, if it does."""
        if not self.model or model == self.model:
            return self.path
        prefix, verb = _PREFIX.match(self.path), self.path.rpartition(":")[2]
        place = model if model.startswith("tunedModels/") else f"models/{quote(model, safe='')}"
        return f"{prefix[0] if prefix else ''}/{place}:{verb}"

    def base(self, base_url: str) -> str:
        """The address that ``path`` is added to: that of the manifest, without its version where ``path`` has one."""
        return _VERSION.sub("", base_url) if self.wire.keeps_version else base_url


@dataclass(frozen=True, slots=True)
class Models:
    """A question for the models there are, or for one of them by ``name``."""

    wire: Wire
    name: str = ""


_POSTS: Mapping[str, Route] = {
    "/v1/chat/completions": Route(openai.WIRE, openai.CHAT, "/chat/completions"),
    "/v1/responses": Route(responses.WIRE, responses.RESPONSES, "/responses"),
    "/v1/embeddings": Route(openai.WIRE, openai.EMBEDDINGS, "/embeddings"),
    "/v1/messages": Route(anthropic.WIRE, anthropic.MESSAGES, "/messages"),
    "/v1/messages/count_tokens": Route(anthropic.WIRE, anthropic.COUNT, "/messages/count_tokens"),
}
_VERSION = re.compile(r"/v1(?:beta|alpha)?/?\Z")
_PREFIX = re.compile(r"/v1(?:beta|alpha)?(?=/)")
_OF_MODEL = re.compile(r"/(models|tunedModels)/([^/:]+)(?::([A-Za-z]+))?")
_SEGMENTS = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


def find(request: Request) -> Route | Models:
    """Reads path, method and the header that the credential came in. Raises Refused: 404 for a path that no model API
    has, 400 for one that could lead out of the upstream's base address, 405 for a method that is not passed on."""
    method, path = request.method, request.path
    if method == "POST" and (known := _POSTS.get(path)) is not None:
        return known
    prefix = _PREFIX.match(path)
    if prefix is None:
        raise Refused("not_found", f"Nothing is at {path}.", fix=SERVED, status=404)
    wire, below = wire_of(request), path[prefix.end() :]
    if method in ("GET", "HEAD"):
        if below == "/models":
            return Models(wire)
        if (one := _OF_MODEL.fullmatch(below)) is not None and one[3] is None:
            return Models(wire, unquote(one[2]))
    _refuse_detours(below)
    if method not in _METHODS:
        raise Refused("method_not_allowed", f"{method} is not passed on to a model API.", fix="Use GET.", status=405)
    of_model = _OF_MODEL.fullmatch(below)
    if of_model is not None and of_model[3] is not None:
        operation = gemini.OPERATIONS.get(of_model[3]) if method == "POST" else None
        name = unquote(of_model[2])
        model = name if of_model[1] == "models" else f"tunedModels/{name}"
        return Route(gemini.WIRE, operation or opaque.PASS, path, model)
    return Route(wire, opaque.PASS, path if wire.keeps_version else below)


SERVED = "This gateway serves the model APIs under /v1 and /v1beta, /mcp and /healthz."


def wire_of(request: Request) -> Wire:
    """The wire that a client speaks, where its path does not tell: by the header that its credential comes in."""
    headers = request.headers
    by_path = request.path.startswith(("/v1beta/", "/v1alpha/")) or f"&{request.query}".find("&key=") >= 0
    if "x-goog-api-key" in headers or by_path:
        return gemini.WIRE
    if "x-api-key" in headers or "anthropic-version" in headers:
        return anthropic.WIRE
    return openai.WIRE


def speaks(wire: Wire, provider: str) -> bool:
    """Whether a provider, as a manifest or its wire names it, speaks this wire by itself."""
    return wires.wire_of(provider) == wires.wire_of(wire.provider)


def _refuse_detours(path: str) -> None:
    """A path with ``..`` in any spelling could reach what lies beside the upstream's base address, with its key."""
    plain = _SEGMENTS.fullmatch(path) is not None
    if not plain or any(_leads_away(unquote(segment)) for segment in path.split("/")):
        raise Refused("bad_path", f"The path {path[:200]!r} is not passed on.", fix="Send a plain path.", status=400)


def _leads_away(segment: str) -> bool:
    return segment in (".", "..") or any(letter in "/\\?#%" or letter < " " for letter in segment)
