"""Endpoints that no codec knows: which model such a request names, and its bytes as they were. Pure."""

from __future__ import annotations

import base64
import re
from typing import Any

from tenure.gateway.llm import codec
from tenure.gateway.llm.codec import Ask, Operation, names_models, parsed, table
from tenure.kernel.errors import Refused

KEPT = 64 << 10
"""How much of a request's or an answer's bytes is captured."""

# Every repetition is bounded: an agent's body must not make the search take longer than reading it.
_FORM_FIELD = re.compile(
    rb'^content-disposition:[^\r\n]{0,200}?\bname="?model"?[^\r\n]{0,200}\r\n(?:[^\r\n]{1,200}\r\n){0,5}\r\n([^\r\n]{0,500})',
    re.IGNORECASE | re.MULTILINE,
)


def read(body: bytes, path_model: str) -> Ask:
    """The model that a request of an unknown endpoint names: in its path, in the ``model`` of a JSON object or in a
    form field of that name; empty when it names none. Raises Refused (400) when it names two."""
    value = parsed(body) if body.lstrip()[:1] == b"{" else None
    named = {path_model} if path_model else set()
    if isinstance(value, dict):
        if names_models(body, value):
            raise _two_models()
        if isinstance(value.get("model"), str):
            named.add(value["model"].removeprefix("models/") if path_model else value["model"])
    else:
        named.update(name.decode("utf-8", "replace") for name in _FORM_FIELD.findall(body))
    if len(named) > 1:
        raise _two_models()
    stream = isinstance(value, dict) and value.get("stream") is True
    return Ask(next(iter(named), ""), stream, {"stream": stream}, None, {"bytes": body})


def _two_models() -> Refused:
    return Refused("two_models", "The request names more than one model.", fix="Name one model.", status=400)


def renamed(body: bytes, model: str) -> bytes:
    """The body with another model where ``read`` found one; the same body where that is none."""
    if body.lstrip()[:1] == b"{":
        return codec.renamed(body, model) if "model" in table(parsed(body)) else body
    found = _FORM_FIELD.search(body)
    return body if found is None else body[: found.start(1)] + model.encode() + body[found.end(1) :]


def asked(ask: Ask) -> dict[str, Any]:
    """The first bytes of the request."""
    return _kept("request", ask.body["bytes"])


def answered(body: bytes) -> dict[str, Any]:
    """The first bytes of the answer."""
    return _kept("response", body)


class Kept:
    """The first bytes of an answer that passes, and how many there were."""

    def __init__(self) -> None:
        self._first = b""
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        self._size += len(data)
        if len(self._first) <= KEPT:
            self._first += data[: KEPT + 1 - len(self._first)]

    def attributes(self) -> dict[str, Any]:
        """As of a whole answer."""
        return {**_kept("response", self._first), "http.response.body.size": self._size}


def _kept(side: str, body: bytes) -> dict[str, Any]:
    """Text as it is; anything else in base64, which is said."""
    part = body[:KEPT]
    out: dict[str, Any] = {f"http.{side}.body.size": len(body)}
    if not part:
        return out
    try:
        # A character that the limit cuts in two is left out.
        text = part.decode("utf-8", "strict" if len(body) <= KEPT else "ignore")
        kept = text if "\x00" not in text and len(text.encode()) > len(part) - 4 else None
    except UnicodeDecodeError:
        kept = None
    out[f"tenure.{side}.body"] = base64.b64encode(part).decode() if kept is None else kept
    if kept is None:
        out[f"tenure.{side}.body.encoding"] = "base64"
    if len(body) > KEPT:
        out["tenure.capture.truncated"] = True
    return out


PASS = Operation("pass_through", read, asked, answered, Kept, streams=None, renamed=renamed)
