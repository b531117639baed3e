"""Attributes, times and ids of OTLP as JSON. Pure. Source: common.proto 1.9."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tenure.kernel.errors import Refused
from tenure.kernel.json import Json

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OURS = ("tenure.", "otlp.")
_IDS = ("traceId", "spanId", "parentSpanId")


def read(request: Message, body: bytes, is_json: bool) -> None:
    """Fills ``request`` from a body. Raises Refused when the body is no such request."""
    try:
        if is_json:
            document = json.loads(body or b"{}")
            for holder in _holders(document):
                _hex_to_base64(holder)
            json_format.ParseDict(document, request, ignore_unknown_fields=True)
        else:
            request.ParseFromString(body)
    except (DecodeError, json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        name = request.DESCRIPTOR.name
        raise Refused(
            "malformed_otlp",
            f"The body is no {name}: {error}",
            fix=f"Send {name} as application/x-protobuf or application/json.",
        ) from error


def _holders(document: Any) -> Iterator[Any]:
    """What has ids in a request: spans, their links, and log records."""
    for group in document.get("resourceSpans") or ():
        for scope in group.get("scopeSpans") or ():
            for span in scope.get("spans") or ():
                yield span
                yield from span.get("links") or ()
    for group in document.get("resourceLogs") or ():
        for scope in group.get("scopeLogs") or ():
            yield from scope.get("logRecords") or ()


def _hex_to_base64(holder: Any) -> None:
    """OTLP's JSON writes ids in hex, where protobuf's own JSON mapping expects base64."""
    for name in _IDS:
        if isinstance(holder.get(name), str):
            holder[name] = base64.b64encode(_unhex(holder[name])).decode()


def _unhex(text: str) -> bytes:
    try:
        return binascii.unhexlify(text)
    except ValueError:
        return b"malformed"  # of a length that no id has: the one span is rejected, not its whole batch


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Json]:
    """Key-value pairs as they are."""
    return {pair.key: value_of(pair.value) for pair in pairs}


def told(pairs: Iterable[KeyValue]) -> dict[str, Json]:
    """Key-value pairs of a span or an event. One that would pass for ours is kept under ``client.``."""
    return {f"client.{key}" if key.startswith(_OURS) else key: value for key, value in attributes(pairs).items()}


def value_of(value: AnyValue) -> Json:
    """A value as JSON: bytes in base64, numbers that are none as text."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    if kind == "double_value":
        number = value.double_value
        return number if number == number and abs(number) != float("inf") else str(number)  # noqa: PLR0124 (NaN only)
    return getattr(value, kind) if kind else None


def time_of(nanoseconds: int) -> datetime:
    """The time of so many nanoseconds since 1970, to the microsecond."""
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)
