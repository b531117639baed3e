"""What handlers are given and give back, and the limits on it. Values only: the sockets are in ``server``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

from tenure.kernel.errors import Refused
from tenure.kernel.json import Json

MAX_DEPTH = 64
"""How deep JSON may be nested."""


@dataclass(slots=True)
class Request:
    """A whole HTTP request. Header names are lower case; a header that was sent twice is joined by ``, ``.

    The task that handles it is cancelled when the client hangs up. ``peer`` is the address it came from, as far as this
    machine sees it.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    peer: str = ""


@dataclass(slots=True)
class Response:
    """The answer. A body of bytes is sent with its length; an async iterator chunk by chunk as it yields, and it is
    closed (``aclose``) when the client hangs up. ``headers`` carry no framing (length, transfer coding, connection).

    ``done`` is called once, when the last byte was handed to the socket or the client is gone: the place for work that
    the client need not wait for.
    """

    status: int
    body: bytes | AsyncIterator[bytes] = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    done: Callable[[], None] | None = None


def decode_json(body: bytes, max_depth: int = MAX_DEPTH) -> Json:
    """``body`` as JSON. Raises Refused (400) for anything else and for nesting beyond ``max_depth``."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("bad_json", f"The body is not JSON: {error}", fix="Send one JSON value in UTF-8.") from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    if _brackets(body, max_depth) > max_depth:  # fewer brackets than that cannot nest deeper: no walk
        level = [value] if isinstance(value, (dict, list)) else []
        depth = 0
        while level:
            depth += 1
            if depth > max_depth:
                raise _too_deep(max_depth)
            level = [
                child
                for parent in level
                for child in (parent.values() if type(parent) is dict else parent)
                if type(child) is dict or type(child) is list
            ]
    return value


def _brackets(body: bytes, enough: int) -> int:
    """How many brackets open in ``body``, counted up to ``enough`` and one more. In a text there are few, and looking
    for the next one is several times faster than counting."""
    count = 0
    for bracket in (b"{", b"["):
        at = body.find(bracket)
        while at >= 0 and count <= enough:
            count += 1
            at = body.find(bracket, at + 1)
    return count


def _too_deep(max_depth: int) -> Refused:
    return Refused(
        "json_too_deep", f"The body nests deeper than {max_depth} levels.", fix="Send a flatter value.", status=400
    )


def reason_phrase(status: int) -> str:
    """The words of a status line; empty for a status that HTTP does not name."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
