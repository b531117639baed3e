"""Where traces are sent on to, and what each place wants. Pure.

Sources: OpenTelemetry Protocol 1.9 (OTLP/HTTP); docs.wandb.ai/weave/guides/tracking/otel; Langfuse's API document
(opentelemetry) and langfuse.com/integrations/native/opentelemetry; LangSmith's and Phoenix's pages on OpenTelemetry.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from tenure.kernel.errors import Refused

NAME = r"[a-z0-9][a-z0-9-]{0,62}"
BATCH = 500
"""So many Events are sent at once."""
PAUSE = timedelta(seconds=2)
LONGEST = timedelta(minutes=10)
MAX_DESTINATIONS = 10
_TRACES = "/v1/traces"


class Kind(StrEnum):
    """What a destination is."""

    OTLP = "otlp"
    PHOENIX = "phoenix"
    LANGSMITH = "langsmith"
    LANGFUSE = "langfuse"
    WEAVE = "weave"


@dataclass(frozen=True, slots=True)
class Wants:
    """What a kind wants: where it is when nothing else is said, the header of its key and what stands before the key
    (``Basic`` takes ``user:password``), headers besides, and what names the project: a header, or attributes of the
    resource."""

    url: str = ""
    header: str = "authorization"
    scheme: str = "Bearer "
    headers: Mapping[str, str] | None = None
    project_header: str = ""
    project: tuple[str, ...] = ()


WANTS: Mapping[Kind, Wants] = {
    Kind.OTLP: Wants(),
    Kind.PHOENIX: Wants(project=("openinference.project.name",)),
    Kind.LANGSMITH: Wants(
        "https://api.smith.langchain.com/otel/v1/traces", "x-api-key", "", project_header="langsmith-project"
    ),
    Kind.LANGFUSE: Wants(
        "https://cloud.langfuse.com/api/public/otel/v1/traces",
        scheme="Basic ",
        headers={"x-langfuse-ingestion-version": "4"},
    ),
    Kind.WEAVE: Wants(
        "https://trace.wandb.ai/otel/v1/traces", "wandb-api-key", "", project=("wandb.entity", "wandb.project")
    ),
}


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a workspace's traces are sent on to. ``secret``: the name of the secret that holds the key. ``content``:
    whether prompts, answers, arguments and results go along. ``cursor``: the number of the last Event that is there;
    ``tries``: how often the next ones were turned away, ``problem`` why the last time."""

    workspace: str
    name: str
    kind: Kind
    url: str
    secret: str = ""
    project: str = ""
    content: bool = False
    cursor: int = 0
    sent: int = 0
    dropped: int = 0
    tries: int = 0
    problem: str = ""
    next_at: datetime | None = None
    last_at: datetime | None = None
    set_at: datetime | None = None
    set_by: str = ""


def checked(wanted: Destination) -> Destination:
    """A destination as it is kept. Raises Refused (422) for one that cannot be."""
    wants = WANTS[wanted.kind]
    url = wanted.url or wants.url
    fault = _fault(wanted, url)
    if fault:
        raise Refused("bad_export", fault[0], fix=fault[1], status=422)
    if not urlsplit(url).path.endswith(_TRACES):
        url = url.rstrip("/") + _TRACES
    return Destination(
        wanted.workspace,
        wanted.name,
        wanted.kind,
        url,
        wanted.secret,
        wanted.project,
        wanted.content,
        wanted.cursor,
        set_at=wanted.set_at,
        set_by=wanted.set_by,
    )


def _fault(wanted: Destination, url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "The address cannot be read.", "Give it as https://host/path."
    is_weave = wanted.kind is Kind.WEAVE
    has_place = parts.scheme in ("https", "http") and parts.hostname and port != 0
    private = parts.username or parts.password or parts.query or parts.fragment
    faults = (
        (
            not re.fullmatch(NAME, wanted.name),
            f"{wanted.name!r} is no name.",
            "Use lower-case letters, digits, dashes.",
        ),
        (not has_place, "The address must be http or https.", "Give it as https://host/path."),
        (private, "An address holds no credentials, query or fragment.", "Keep the key with `tenure secrets put`."),
        (is_weave and wanted.project.count("/") != 1, "Weave wants entity/project.", "Give --project entity/project."),
        (not re.fullmatch(r"[ -~]{0,200}", wanted.project), "A project's name is printable ASCII.", "Give another."),
    )
    return next(((text, fix) for wrong, text, fix in faults if wrong), None)


def headers_of(one: Destination, key: str) -> dict[str, str]:
    """What is sent along, with the key where the kind wants it."""
    wants = WANTS[one.kind]
    out = {"content-type": "application/x-protobuf", "content-encoding": "gzip", **(wants.headers or {})}
    if key:
        is_basic = wants.scheme == "Basic " and ":" in key
        out[wants.header] = wants.scheme + (base64.b64encode(key.encode()).decode() if is_basic else key)
    if one.project and wants.project_header:
        out[wants.project_header] = one.project
    return out


def resource_of(one: Destination) -> dict[str, str]:
    """Attributes of the resource that name the project."""
    names = WANTS[one.kind].project
    if not one.project or not names:
        return {}
    parts = one.project.split("/", len(names) - 1)
    return dict(zip(names, parts, strict=True))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch. ``done``: it is there, or never will be (``dropped``); ``after``: seconds that the peer
    asks to wait."""

    done: bool
    problem: str = ""
    dropped: bool = False
    after: float = 0.0


def pause(tries: int, after: float) -> timedelta:
    """How long to wait after so many tries in a row: doubling, at most ten minutes, at least what the peer asks."""
    asked = timedelta(seconds=min(max(after, 0.0), LONGEST.total_seconds()))
    grown: timedelta = PAUSE * (1 << min(tries, 10))
    return max(asked, min(grown, LONGEST))
