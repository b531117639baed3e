"""Secrets and connectors: what agents work with and never hold. The API does it all, and gives no value to show."""

from __future__ import annotations

import asyncio
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from tenure.identity.model import cookie_name
from tenure.kernel.errors import Refused
from tenure.ui.gate import PageRoute, api_of, cookie_of, form, frame, go, render, send_away
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)

BINDING = "tenure_connector"
"""The cookie that ties a consent to the browser in which it was begun."""


def _at(kind: str, name: str) -> str:
    return f"/v1/{kind}/{quote(name, safe='')}"


@router.get("/secrets")
async def secrets(request: Request, done: str = "") -> Response:
    """Every secret: where it may go, who names it, when it was used."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get("/v1/secrets"))
    return render(request, "secrets.html", frame=around, secrets=items(found), done=done)


@router.post("/secrets")
async def put(request: Request) -> Response:
    """Keeps a new secret."""
    fields = await form(request)
    body = {
        "value": fields.get("value", ""),
        "hosts": fields.get("hosts", "").replace(",", " ").split(),
        "programs": [line for line in fields.get("programs", "").splitlines() if line.strip()],
    }
    await api_of(request).put(_at("secrets", fields.get("name", "").strip()), body)
    return go(request, "/secrets?done=kept")


@router.get("/secrets/{name}")
async def secret(request: Request, name: str) -> Response:
    """One secret: what would break without it, a new value, an end."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get("/v1/secrets"))
    one = next((one for one in items(found) if one["name"] == name), None)
    if one is None:
        raise Refused("unknown_secret", f"There is no secret {name[:63]!r} here.", status=404)
    return render(request, "secret.html", frame=around, secret=one)


@router.post("/secrets/{name}/rotate")
async def rotate(request: Request, name: str) -> Response:
    """Gives a secret a new value."""
    fields = await form(request)
    hours = fields.get("hours", "1")
    if not hours.isdigit():
        raise Refused("bad_overlap", "Say in whole hours how long the old value is believed.", status=422)
    body = {"value": fields.get("value", ""), "overlap_s": int(hours) * 3600}
    await api_of(request).post(f"{_at('secrets', name)}/rotate", body)
    return go(request, "/secrets?done=rotated")


@router.post("/secrets/{name}/remove")
async def remove(request: Request, name: str) -> Response:
    """Forgets a secret; the page before has said what breaks."""
    await form(request)
    await api_of(request).delete(_at("secrets", name), force=True)
    return go(request, "/secrets?done=removed")


@router.get("/connectors")
async def connectors(request: Request, name: str = "", done: str = "", there: str = "") -> Response:
    """Where the person has let agents in, and where they can; ``name``: the one that a refused call has pointed to."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get("/v1/connectors"))
    return render(request, "connectors.html", frame=around, connectors=items(found), name=name, done=done, there=there)


@router.get("/connectors/{name}/connect")
async def connect(request: Request, name: str) -> Response:
    """Sends the browser to an upstream to consent there."""
    begun, _ = await api_of(request).post(f"{_at('connectors', name)}/begin")
    facts = begun if isinstance(begun, dict) else {}
    return send_away(request, str(facts["url"]), BINDING, str(facts["binding"]))


@router.get("/connectors/{name}/back")
async def back(request: Request, name: str, code: str = "", state: str = "", error: str = "") -> Response:
    """Takes the browser back. The page goes on by itself, as after a login elsewhere: the session's cookie is not sent
    along with what another site begins."""
    if error or not code:
        raise Refused("not_granted", f"{name[:63]} did not let agents in: {error[:100] or 'no code came'}.", status=422)
    here = f"/connectors/{quote(name, safe='')}/finish?{urlencode({'code': code, 'state': state})}"
    return render(request, "welcome.html", frame=None, back=here, heading=f"Back from {name}")


@router.get("/connectors/{name}/finish")
async def finish(request: Request, name: str, code: str = "", state: str = "") -> Response:
    """Hands the code over; the state and the cookie say that this browser asked for it."""
    body = {"code": code, "state": state, "binding": cookie_of(request, BINDING)}
    await api_of(request).post(f"{_at('connectors', name)}/finish", body)
    answer = RedirectResponse("/connectors?done=connected", 303)
    answer.delete_cookie(cookie_name(BINDING, request.url.scheme == "https"), path="/")
    return answer


@router.post("/connectors/{name}/disconnect")
async def disconnect(request: Request, name: str) -> Response:
    """Lets agents in no longer."""
    await form(request)
    done = await api_of(request).delete(f"{_at('connectors', name)}/mine")
    there = str(done["upstream"]) if isinstance(done, dict) else ""
    return go(request, f"/connectors?{urlencode({'done': 'disconnected', 'there': there})}")
