"""What a person does here. Each checks that the form is ours, asks the API to do it, and goes on to a page."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from tenure.identity.model import COOKIE, cookie_name
from tenure.kernel.errors import Refused
from tenure.ui.gate import PageRoute, api_of, form, go, hand_on, local

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def decision_of(fields: Mapping[str, str]) -> str:
    """The decision that a form gives. Raises Refused for none."""
    decision = fields.get("decision", "")
    if decision not in ("approve", "reject"):
        raise Refused("no_decision", "Say approve or reject.", status=422)
    return decision


@router.post("/login")
async def login(request: Request) -> Response:
    """Spends the one-time code and hands the session's cookie to the browser."""
    fields = await form(request)
    try:
        _, headers = await api_of(request).post("/v1/login", {"code": fields.get("code", "")})
    except Refused as error:
        if error.status not in (400, 401, 403, 404, 410):
            raise
        raise Refused(
            "login_code_spent",
            "This login link does not work any more: it was used already, or it is too old.",
            fix="Ask for a new one: `tenure login-link`.",
            status=403,
        ) from error
    return hand_on(RedirectResponse(local(fields.get("back", "/")), 303), headers)


@router.post("/logout")
async def logout(request: Request) -> Response:
    """Ends the session, on the server and in the browser."""
    await form(request)
    await api_of(request).post("/v1/logout")
    secure = request.url.scheme == "https"
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(cookie_name(COOKIE, secure), path="/", secure=secure, httponly=True, samesite="strict")
    return answer


@router.post("/agents/{name}/to/{to}")
async def transition(request: Request, name: str, to: str) -> Response:
    """Moves an agent along its lifecycle."""
    fields = await form(request)
    body = {"to": to, "reason": fields.get("reason", "").strip()}
    await api_of(request).post(f"/v1/agents/{quote(name, safe='')}/transitions", body)
    return go(request, f"/agents/{quote(name, safe='')}?done=moved")


@router.post("/agents/{name}/releases/{digest}")
async def decide_release(request: Request, name: str, digest: str) -> Response:
    """Makes a candidate release current, or drops it."""
    fields = await form(request)
    decision = decision_of(fields)
    where = f"/v1/agents/{quote(name, safe='')}/releases/{quote(digest, safe='')}/{decision}"
    await api_of(request).post(where, {"reason": fields.get("reason", "").strip()})
    return go(request, f"/agents/{quote(name, safe='')}?done={decision}")


@router.post("/policies/reload")
async def reload_policies(request: Request) -> Response:
    """Reads the policy files anew. A broken file is told on the page; the running policies stay."""
    await form(request)
    try:
        await api_of(request).post("/v1/policies/reload")
    except Refused as error:
        if error.status in (401, 403):
            raise
        return go(request, "/policies?done=refused")
    return go(request, "/policies?done=reloaded")
