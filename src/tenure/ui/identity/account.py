"""A person's own account, logins and workspaces: their pages, and what is done on them; the API does it."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from tenure.identity.model import DEVICE_COOKIE, OIDC_COOKIE, cookie_name
from tenure.kernel.errors import Refused
from tenure.ui.gate import PageRoute, api_of, cookie_of, form, frame, go, hand_on, local, render, send_away, stranger
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/account")
async def account(request: Request, done: str = "") -> Response:
    """How the person logs in, where they are logged in, and what their programs show."""
    api = api_of(request)
    around, own, tokens = await asyncio.gather(frame(api), api.get("/v1/account"), api.maybe("/v1/tokens"))
    return render(request, "account.html", frame=around, account=own, tokens=items(tokens, "tokens"), done=done)


@router.get("/workspaces")
async def workspaces(request: Request, done: str = "") -> Response:
    """The workspaces that the person belongs to, and the way from one to another."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get("/v1/workspaces"))
    return render(request, "workspaces.html", frame=around, places=items(answer, "workspaces"), done=done)


@router.get("/login")
async def login(request: Request, code: str = "", back: str = "/", workspace: str = "") -> Response:
    """The page of a one-time link, or of a password and a passkey. Opening it spends nothing: mail scanners open links
    too."""
    if not code:
        return await stranger(request, 200, back=local(back), workspace=workspace)
    return render(request, "login.html", frame=None, code=code, back=local(back))


@router.post("/login/password")
async def password_login(request: Request) -> Response:
    """Logs in with an address and a password, and hands the session's cookie to the browser."""
    fields = await form(request)
    body = {name: fields.get(name, "") for name in ("email", "password", "workspace")}
    back = local(fields.get("back", "/"))
    device = cookie_of(request, DEVICE_COOKIE)
    try:
        headers = await api_of(request).knock("/v1/login/password", body, {DEVICE_COOKIE: device} if device else {})
    except Refused as error:
        if error.status not in (401, 422, 429):
            raise
        problem = f"{error.message} {error.fix}"
        known = {"email": body["email"], "workspace": body["workspace"], "back": back}
        return await stranger(request, error.status, problem=problem, **known)
    return hand_on(RedirectResponse(back, 303), headers)


@router.get("/login/with/{issuer}")
async def begin_elsewhere(request: Request, issuer: str, back: str = "/") -> Response:
    """Sends the browser to an issuer to log in there."""
    api = api_of(request)
    sent, _ = await api.post(f"/v1/login/oidc/{quote(issuer, safe='')}/begin", {"back": local(back)})
    return send_away(request, str(sent["url"]), OIDC_COOKIE, str(sent["binding"]))


@router.get("/login/from/{issuer}")
async def finish_elsewhere(request: Request, issuer: str, code: str = "", state: str = "", iss: str = "") -> Response:
    """Takes the browser back from an issuer. The page goes on by itself: a redirect would still count as the other
    site's, and the session's cookie is not sent along with that."""
    body = {"code": code, "state": state, "iss": iss, "binding": cookie_of(request, OIDC_COOKIE)}
    told, headers = await api_of(request).post(f"/v1/login/oidc/{quote(issuer, safe='')}/finish", body)
    answer = hand_on(render(request, "welcome.html", frame=None, back=local(str(told["back"]))), headers)
    answer.delete_cookie(cookie_name(OIDC_COOKIE, request.url.scheme == "https"), path="/")
    return answer


@router.post("/account/password")
async def set_password(request: Request) -> Response:
    """Sets the person's password."""
    fields = await form(request)
    body = {"password": fields.get("password", ""), "current": fields.get("current", "")}
    await api_of(request).post("/v1/account/password", body)
    return go(request, "/account?done=password")


@router.post("/account/passkeys/{passkey_id}/remove")
async def remove_passkey(request: Request, passkey_id: str) -> Response:
    """Forgets a passkey of the person."""
    await form(request)
    await api_of(request).delete(f"/v1/account/passkeys/{quote(passkey_id, safe='')}")
    return go(request, "/account?done=removed")


@router.post("/account/sessions/end")
async def end_sessions(request: Request) -> Response:
    """Ends every other session of the person."""
    await form(request)
    await api_of(request).delete("/v1/account/sessions")
    return go(request, "/account?done=ended")


@router.post("/account/sessions/{session_id}/end")
async def end_session(request: Request, session_id: str) -> Response:
    """Ends a session of the person."""
    await form(request)
    await api_of(request).delete(f"/v1/account/sessions/{quote(session_id, safe='')}")
    return go(request, "/account?done=ended")


@router.post("/account/tokens/{token_id}/revoke")
async def revoke_token(request: Request, token_id: str) -> Response:
    """Ends an API token of the person."""
    await form(request)
    await api_of(request).delete(f"/v1/tokens/{quote(token_id, safe='')}")
    return go(request, "/account?done=ended")


@router.post("/workspaces")
async def create_workspace(request: Request) -> Response:
    """Makes a workspace."""
    fields = await form(request)
    await api_of(request).post("/v1/workspaces", {"name": fields.get("name", "").strip()})
    return go(request, "/workspaces?done=made")


@router.post("/workspaces/join")
async def join_workspace(request: Request) -> Response:
    """Takes a place in another workspace with its login code, or the whole link that holds it."""
    fields = await form(request)
    code = fields.get("code", "").strip()
    await api_of(request).post("/v1/workspaces/join", {"code": code.partition("code=")[2] or code})
    return go(request, "/workspaces?done=joined")


@router.post("/workspaces/{name}/enter")
async def enter_workspace(request: Request, name: str) -> Response:
    """Goes on in another workspace, in a new session."""
    await form(request)
    _, headers = await api_of(request).post(f"/v1/workspaces/{quote(name, safe='')}/enter")
    return hand_on(RedirectResponse("/", 303), headers)
