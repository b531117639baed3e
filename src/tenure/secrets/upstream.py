"""What is asked of an upstream's authorization server as its client, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.room import World
from tenure.base.sealing import wipe
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Event, Status
from tenure.secrets import sealing, store
from tenure.secrets.model import Connector

_MAX_ANSWER = 1 << 20


def ask(world: World, connector: Connector, form: Mapping[str, str]) -> dict[str, Any]:
    """The answer of a token endpoint (RFC 6749 section 5.1). Raises Refused when it says no, Failed when it does not
    answer or tells nonsense. What it says is not repeated: it may hold a token."""
    where = urlsplit(connector.token_url).netloc
    more: dict[str, Any] = {}
    body = {**form, "client_id": connector.client_id}
    if connector.client_secret:
        more["auth"] = (connector.client_id, client_secret(world, connector, connector.token_url))
    try:
        with httpx2.Client(timeout=10, trust_env=False, follow_redirects=False) as client:
            answer = client.post(connector.token_url, data=body, headers={"accept": "application/json"}, **more)
        told = answer.json() if len(answer.content) <= _MAX_ANSWER else None
    except (httpx2.HTTPError, ValueError):
        raise Failed("upstream_unavailable", f"{where} does not answer.", retry=True) from None
    if answer.status_code in (400, 401):
        raise Refused("not_granted", f"{where} does not grant this.", fix="Connect again.", status=422)
    found: dict[str, Any] = told if isinstance(told, dict) else {}
    bearer = isinstance(found.get("access_token"), str) and str(found.get("token_type", "")).lower() == "bearer"
    if answer.status_code != 200 or not bearer:
        raise Failed("upstream_unavailable", f"{where} answered {answer.status_code} without a token.", retry=True)
    return found


def client_secret(world: World, connector: Connector, url: str) -> str:
    """The client's secret, to be sent to ``url``. Raises Failed where it may not go, or cannot be had."""
    with world.read() as conn:
        secret = next(iter(store.find(conn, connector.workspace, connector.client_secret)), None)
        kept = store.versions(conn, [(connector.workspace, connector.client_secret)])
    current = [one for one in kept.items() if secret is not None and one[0][2] == secret.version]
    if secret is None or not current or not secret.bounds.send_to(url):
        text = f"The secret {connector.client_secret} may not be sent to {urlsplit(url).netloc}."
        raise Failed("secret_misplaced", text, status=409)
    values = sealing.opened_by_mark(world, current)
    try:
        return next(iter(values.values())).decode()
    except StopIteration:
        raise Failed("secret_damaged", "The client's secret cannot be opened.") from None
    finally:
        wipe(*values.values())


def is_safe(url: str) -> bool:
    """Whether nothing that is sent there can be overheard: https, or this machine."""
    parts = urlsplit(url)
    here = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and here))


def tell(  # noqa: PLR0917 (the facts of one Event)
    tx: Connection, workspace: str, actor: str, now: datetime, kind: str, data: Mapping[str, Any]
) -> None:
    """Appends an Event."""
    event = Event(
        id=new_id(), type=kind, time=now, workspace=workspace, actor=actor, status=Status.FLAGGED, data=dict(data)
    )
    events.append(tx, [event])
