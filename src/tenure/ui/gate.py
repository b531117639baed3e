"""Between a browser and a page: whose cookie, which template, and a refusal in words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.routing import APIRoute
from httpx2 import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tenure.client import AsyncClient
from tenure.identity.model import COOKIE, cookie_name, csrf_ok
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.money import dollars
from tenure.ui import assets, model

if TYPE_CHECKING:
    from jinja2 import Environment

FORM_MAX_BYTES = 64 * 1024
PROGRAMS = ("/v1", "/internal", "/otlp", "/.well-known", "/docs", "/redoc", "/openapi.json")
"""Addresses that answer programs, never with a page."""

BACKGROUND = frozenset({"/waiting", "/waiting/tools", "/attention", "/v1/feed"})
"""What an open page asks for by itself: it does not keep a session alive that nobody uses."""

_HEADERS = {"Cache-Control": "no-store", "Vary": "Cookie, HX-Request"}

_log = logging.getLogger(__name__)


@cache
def _pages() -> Environment:
    # Here, since it takes two megabytes, and the console may be left alone for long.
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 (see above)

    pages = Environment(
        loader=PackageLoader("tenure.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals |= {
        "asset": assets.asset_url,
        "STATUS_WORDS": model.STATUS_WORDS,
        "GONE_WORDS": model.GONE_WORDS,
        "plural": model.plural,
        "TIER_WORDS": model.TIER_WORDS,
        "WHILE_STOPPED": model.WHILE_STOPPED,
        "AUTONOMY_WORDS": model.AUTONOMY_WORDS,
        "TOOL_STATES": model.TOOL_STATES,
        "share_bar": model.share_bar,
        "audit_words": model.audit_words,
        "marked": model.marked,
    }
    pages.filters |= {
        "clock": model.clock,
        "stamp": model.stamp,
        "iso": model.iso,
        "duration": model.duration,
        "number": model.number,
        "spent": model.spent,
        "short": model.short,
        "pretty": model.pretty,
        "preview": model.preview,
        "person": model.person,
        "dollars": dollars,
    }
    return pages


@dataclass(frozen=True, slots=True)
class Api:
    """The control plane's API with the cookie of the person who looks."""

    client: AsyncClient
    cookie: str
    address: str = ""
    browser: str = ""
    secure: bool = False

    def _headers(self) -> dict[str, str]:
        """The person's cookie, and where they are: the API's own peer is this process."""
        about = {"x-tenure-address": self.address, "x-tenure-browser": self.browser, "x-tenure-csrf": "1"}
        about["x-tenure-scheme"] = "https" if self.secure else "http"
        return about | ({"cookie": f"{cookie_name(COOKIE, self.secure)}={self.cookie}"} if self.cookie else {})

    async def get(self, path: str, **params: Any) -> Json:
        """GET. Raises Refused or Failed as the API did."""
        return await self.client.request("GET", path, object, headers=self._headers(), **params)

    async def post(self, path: str, body: Json = None) -> tuple[Json, Mapping[str, str]]:
        """POST; the answer and its headers. Raises Refused or Failed as the API did."""
        return await self.client.exchange("POST", path, object, json=body, headers=self._headers())

    async def put(self, path: str, body: Json = None) -> Json:
        """PUT. Raises Refused or Failed as the API did."""
        return await self.client.request("PUT", path, object, json=body, headers=self._headers())

    async def delete(self, path: str, **params: Any) -> Json:
        """DELETE. Raises Refused or Failed as the API did."""
        return await self.client.request("DELETE", path, object, headers=self._headers(), **params)

    async def knock(self, path: str, body: Json, cookies: Mapping[str, str]) -> Mapping[str, str]:
        """POST of somebody who is not logged in yet, with other cookies of the browser; the answer's headers."""
        sent = "; ".join(f"{cookie_name(name, self.secure)}={value}" for name, value in cookies.items())
        headers = self._headers() | {"cookie": sent}
        _, answered = await self.client.exchange("POST", path, object, json=body, headers=headers)
        return answered

    async def maybe(self, path: str, **params: Any) -> Json:
        """GET of something that a page can do without: None when the API refuses or fails, except for a stranger."""
        try:
            return await self.get(path, **params)
        except Refused as error:
            if error.status == 401:
                raise
            return None
        except Failed:
            return None


def api_of(request: Request) -> Api:
    """The API as the person of ``request`` may use it."""
    client = cast("AsyncClient", request.app.state.api)
    address = request.client.host if request.client else ""
    browser = request.headers.get("user-agent", "").encode("ascii", "replace").decode()
    return Api(client, cookie_of(request, COOKIE), address, browser, request.url.scheme == "https")


def cookie_of(request: Request, name: str) -> str:
    """The value of one of our cookies, empty when the browser sent none."""
    return request.cookies.get(cookie_name(name, request.url.scheme == "https"), "")


def send_away(request: Request, address: str, cookie: str, binding: str) -> Response:
    """Sends the browser to another site that will send it back within ten minutes; ``binding`` proves then that it is
    the same browser."""
    secure = request.url.scheme == "https"
    answer = RedirectResponse(address, 303)
    # Lax: the other site sends the browser back from its own.
    answer.set_cookie(
        cookie_name(cookie, secure), binding, max_age=600, path="/", httponly=True, samesite="lax", secure=secure
    )
    return answer


def is_fragment(request: Request) -> bool:
    """Whether htmx asks for a piece of a page."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-history-restore-request") != "true"


def render(request: Request, template: str, code: int = 200, /, **facts: Any) -> HTMLResponse:
    """A page, or the piece of it that a template renders."""
    now = datetime.now(UTC)
    html = (
        _pages()
        .get_template(template)
        .render(request=request, path=request.url.path, now=now, ago=lambda value: model.ago(value, now), **facts)
    )
    return HTMLResponse(html, code, headers=_HEADERS)


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page shows around its own content."""

    me: JsonObject
    waiting: int
    waiting_tools: int = 0

    def may(self, action: str) -> bool:
        """Whether the person may do this, as the API says (buttons that would be refused are not offered)."""
        return action in (self.me.get("actions") or ())


async def frame(api: Api) -> Frame:
    """Who looks, and how many calls and tools wait for a person. Raises Refused (401) for a stranger."""
    me, calls, tools = await asyncio.gather(api.get("/v1/me"), waiting_calls(api), waiting_tools(api))
    return Frame(me if isinstance(me, Mapping) else {}, calls, tools)


async def waiting_calls(api: Api) -> int:
    """How many calls wait for a person."""
    return len(model.items(await api.maybe("/v1/approvals", state="pending"), "approvals", "items"))


async def waiting_tools(api: Api) -> int:
    """How many tools wait for a person to look at their definition."""
    found = await api.maybe("/v1/tools/waiting")
    return int(found.get("waiting", 0)) if isinstance(found, Mapping) else 0


async def told_calls(api: Api) -> int:
    """How many calls on the level notify nobody has seen yet."""
    found = model.items(await api.maybe("/v1/notices"))
    return sum(int(one.get("calls") or 0) for one in found)


async def form(request: Request, most: int = 50) -> dict[str, str]:
    """The fields of a form of our own pages, ``most`` of them. Raises Refused for a form from elsewhere or too long."""
    if not csrf_ok(request.method, dict(request.headers), request.headers.get("host", "")):
        raise Refused(
            "cross_site_request",
            "This change was asked for by a page that is not Tenure's. Nothing was done.",
            fix="Open the console itself and do it there.",
            status=403,
        )
    body = await request.body()
    if len(body) > FORM_MAX_BYTES:
        raise Refused("form_too_large", f"A form may hold at most {FORM_MAX_BYTES} bytes.", status=413)
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=most))


def go(request: Request, address: str) -> Response:
    """On to another page after a write, so that a reload repeats nothing."""
    if is_fragment(request):
        return Response(status_code=204, headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)


def hand_on(answer: Response, headers: Mapping[str, str]) -> Response:
    """The API's cookies to the browser."""
    found = headers.get_list("set-cookie") if isinstance(headers, Headers) else [headers.get("set-cookie", "")]
    for cookie in filter(None, found):
        answer.headers.append("set-cookie", cookie)
    return answer


def local(address: str, otherwise: str = "/") -> str:
    """``address`` when it is a path of this console; never another site's, whatever a link says."""
    ours = address.startswith("/") and not address.startswith(("//", "/\\")) and "\\" not in address
    return address if ours and address.isprintable() else otherwise


def wants_page(request: Request) -> bool:
    """Whether a browser asks for something to show, and not a program for something to read."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(PROGRAMS)


async def stranger(request: Request, code: int, **facts: Any) -> Response:
    """The page that explains how to get in."""
    known: dict[str, Any] = {"back": "/", "workspace": "", "email": "", "problem": "", "had_cookie": False} | facts
    found = await api_of(request).maybe("/v1/login/oidc")
    issuers = (found or {}).get("issuers") or []
    return render(request, "stranger.html", code, frame=None, issuers=issuers, **known)


def refusal(request: Request, error: Refused | Failed) -> Response:
    """An error page in words; for a stranger, the page that explains how to get in."""
    if error.status == 401:
        back = str(request.url.path)
        had_cookie = bool(cookie_of(request, COOKIE))
        facts: dict[str, Any] = {"workspace": "", "email": "", "problem": "", "issuers": []}
        return render(request, "stranger.html", 401, frame=None, back=back, had_cookie=had_cookie, **facts)
    fix = error.fix if isinstance(error, Refused) else "Try again in a moment; `tenure doctor` says more."
    details = dict(error.details) if isinstance(error, Refused) else {}
    told = {"frame": None, "status_code": error.status, "word": error.code, "details": details}
    return render(request, "error.html", error.status, message=error.message, fix=fix, **told)


class PageRoute(APIRoute):
    """A route that answers both families of error with a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI asks for it."""
        inner: Callable[[Request], Awaitable[Response]] = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await inner(request)
            except (Refused, Failed) as error:
                if isinstance(error, Failed):
                    _log.warning("page %s failed: %s", request.url.path, error.message)
                return refusal(request, error)

        return handler
