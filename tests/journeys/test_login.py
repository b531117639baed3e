"""A standard MCP client is told the gateway's address and nothing else: it finds out where to log in, sends its person
there, and calls tools as an agent of theirs, until they end it."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]  # (ships no types)
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]  # (as above)
from joserfc import jwt
from joserfc.jwk import ECKey
from mcp import Client as McpClient
from mcp.client.auth import OAuthFlowError
from mcp.client.streamable_http import streamable_http_client
from playwright.sync_api import Browser, Page, Route, expect

from demo.processes import until
from tests.sim import mcp_servers
from tests.sim.browser import Window, launched, window
from tests.sim.documents import Site, site
from tests.sim.installation import Installation
from tests.sim.manifests import manifest
from tests.sim.program import McpProgram

pytestmark = pytest.mark.browser
PERSON = "operator@localhost"
PASSWORD = "four words nobody says"


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as served:
        yield served


@pytest.fixture(scope="module")
def tenure(tmp_path_factory: pytest.TempPathFactory, documents: Site) -> Iterator[Installation]:
    """A running Tenure with an agent that reads files; programs may come in every way there is."""
    folder = tmp_path_factory.mktemp("login")
    (folder / "files").mkdir()
    (folder / "files" / "a.txt").write_text("hello")
    settings = {
        "TENURE_OAUTH_CLIENTS": "documents,registration,loopback",
        "SSL_CERT_FILE": str(documents.authority),
    }
    with Installation(folder / "data", settings) as tenure:
        servers = {"files": {"command": list(mcp_servers.files_command(folder / "files"))}}
        tools = [{"name": "files/read_file"}, {"name": "files/list_files"}]
        tenure.employ(manifest("reader", "http://127.0.0.1:9/v1", servers=servers, tools=tools, owner=PERSON))
        with tenure.client() as client:
            link = client.post(f"/v1/people/{PERSON}/login-link", dict)
        with httpx2.Client(base_url=tenure.control, trust_env=False, headers={"x-tenure-csrf": "1"}) as person:
            person.post("/v1/login", json={"code": link["code"]}).raise_for_status()
            person.post("/v1/account/password", json={"password": PASSWORD}).raise_for_status()
        yield tenure


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as running:
        yield running


@pytest.fixture
def opened(browser: Browser, tenure: Installation) -> Iterator[Window]:
    """A browser in which the person is logged in to the console."""
    with window(browser) as opened:
        log_in(opened.page, tenure)
        yield opened


def log_in(page: Page, tenure: Installation) -> None:
    page.goto(f"{tenure.control}/login")
    fill_in(page)
    page.wait_for_url(f"{tenure.control}/")


def fill_in(page: Page) -> None:
    page.get_by_label("Address").fill(PERSON)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()


def allow(page: Page, program: McpProgram) -> None:
    """The person agrees; returns when the browser is back at the program."""
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(f"{program.back}**")


def text(result: Any) -> str:
    assert not result.is_error, result
    return str(result.content[0].text)


def told(tenure: Installation, kind: str, *, instance: str = "", **wanted: Any) -> list[dict[str, Any]]:
    """The Events of a type, of an instance, whose data hold ``wanted``, oldest first, when there is one."""

    def found() -> list[dict[str, Any]]:
        with tenure.client() as client:
            events = client.get("/v1/events", dict[str, Any], type=kind, limit=200)["events"]
        every = [one["event"] for one in events]
        return [one for one in every if wanted.items() <= one["data"].items() and instance in ("", one["instance"])]

    until(lambda: bool(found()), f"an Event {kind} with {wanted}")
    return found()


def token(tenure: Installation, **fields: str) -> httpx2.Response:
    """A request to the token endpoint, by somebody."""
    return httpx2.post(f"{tenure.control}/oauth/token", data=fields, trust_env=False)


@pytest.fixture
def program(tenure: Installation) -> Iterator[McpProgram]:
    """A program that registers itself."""
    with McpProgram(f"{tenure.gateway}/mcp") as program:
        yield program


@pytest.mark.req("R024", "R091")
@pytest.mark.parametrize("how", ["document", "registration", "operator"])
def test_an_mcp_client_logs_in_by_itself(tenure: Installation, documents: Site, opened: Window, how: str) -> None:
    more: dict[str, Any] = {}
    if how == "document":
        more = {"document": f"{documents.url}/app.json"}
    elif how == "operator":
        with tenure.client() as client:
            body = {"name": "Registered", "redirects": ["http://127.0.0.1/callback"]}
            more = {"client_id": client.post("/v1/programs", dict, body)["id"]}
    with McpProgram(f"{tenure.gateway}/mcp", **more) as program:
        answer = program.call("files__read_file", {"name": "a.txt"})
        opened.page.goto(program.asked.get(timeout=20))
        name = {"document": "Documented", "registration": "Somebody's editor", "operator": "Registered"}[how]
        expect(opened.page.get_by_role("heading", name=f"{name} asks to act for you")).to_be_visible()
        expect(opened.page.get_by_label("reader")).to_be_checked()
        allow(opened.page, program)
        assert text(answer.result(60)) == "hello"
        login = told(tenure, "login.begun")[-1]
        call = told(tenure, "call.completed", instance=login["instance"])[0]
        assert (call["agent"], call["data"]["tenure.on_behalf_of"]) == ("reader", PERSON)
        assert call["data"]["tenure.scope"] == ["tool:files/read_file", "tool:files/list_files"]
        # Its token grows old: the next one is fetched without anybody.
        first = program.kept.tokens
        program.expire()
        assert text(program.call("files__read_file", {"name": "a.txt"}).result(60)) == "hello"
        assert program.kept.tokens is not None
        assert first is not None
        assert program.kept.tokens.access_token != first.access_token
        assert program.asked.empty()


def test_what_a_program_was_not_allowed_it_cannot_do(tenure: Installation, opened: Window, program: McpProgram) -> None:
    """A token for tools is none for models, nor for other agents."""
    answer = program.call("files__read_file", {"name": "a.txt"})
    opened.page.goto(program.asked.get(timeout=20))
    allow(opened.page, program)
    answer.result(60)
    assert program.kept.tokens is not None
    headers = {"authorization": f"Bearer {program.kept.tokens.access_token}"}
    for method, path in (("GET", "/v1/models"), ("GET", "/a2a")):
        refused = httpx2.request(method, tenure.gateway + path, headers=headers, trust_env=False)
        assert refused.status_code == 401, refused.text
        assert "token_wrong_audience" in refused.text
    assert httpx2.get(f"{tenure.control}/v1/agents", headers=headers, trust_env=False).status_code in (401, 403)


def test_a_person_logs_in_on_the_way(browser: Browser, program: McpProgram) -> None:
    with window(browser) as opened:
        opened.expected += ["401"]
        answer = program.call("files__read_file", {"name": "a.txt"})
        opened.page.goto(program.asked.get(timeout=20))
        expect(opened.page.get_by_role("heading", name="You are not logged in")).to_be_visible()
        fill_in(opened.page)
        expect(opened.page.get_by_role("heading", name="asks to act for you")).to_be_visible()
        allow(opened.page, program)
        assert text(answer.result(60)) == "hello"


def test_a_person_who_comes_from_another_site_is_known(opened: Window, program: McpProgram) -> None:
    """The console's cookie is not sent along from elsewhere; the page sends the browser on, once."""
    answer = program.call("files__read_file", {"name": "a.txt"})
    url = program.asked.get(timeout=20)
    opened.page.goto(program.back.replace("127.0.0.1", "localhost").replace("callback", "other"))
    opened.page.evaluate("url => { location.href = url }", url)
    expect(opened.page.get_by_role("heading", name="asks to act for you")).to_be_visible()
    allow(opened.page, program)
    assert text(answer.result(60)) == "hello"


def test_a_person_refuses(tenure: Installation, opened: Window, program: McpProgram) -> None:
    answer = program.call("files__read_file", {"name": "a.txt"})
    opened.page.goto(program.asked.get(timeout=20))
    opened.page.get_by_role("button", name="Refuse").click()
    opened.page.wait_for_url(f"{program.back}**")
    assert _holds(answer.exception(30), PermissionError)
    assert program.kept.client is not None
    event = told(tenure, "login.refused", program=program.kept.client.client_id)[-1]
    assert event["actor"] == f"person:{PERSON}"


@pytest.mark.req("R043")
def test_what_a_person_revokes_ends_at_the_next_call(tenure: Installation, opened: Window, program: McpProgram) -> None:
    answer = program.call("files__read_file", {"name": "a.txt"})
    opened.page.goto(program.asked.get(timeout=20))
    allow(opened.page, program)
    answer.result(60)
    login = told(tenure, "login.begun")[-1]["data"]["login"]
    page = opened.page
    page.goto(f"{tenure.control}/account")
    page.get_by_role("link", name="listed here").click()
    page.locator(f"form[action$='/{login}/end'] button").click()
    expect(page.get_by_text("Its next call is refused.")).to_be_visible()
    assert program.kept.tokens is not None
    headers = {"authorization": f"Bearer {program.kept.tokens.access_token}"}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    def refused() -> bool:
        answer = httpx2.post(f"{tenure.gateway}/mcp", json=ping, headers=headers, trust_env=False)
        return answer.status_code == 401

    until(refused, "the gateway to hear of it", 5)
    again = program.call("files__read_file", {"name": "a.txt"})
    assert "/oauth/authorize?" in program.asked.get(timeout=20)  # it asks its person again
    assert not again.done()


@pytest.mark.parametrize("broken", ["redirect", "pkce", "resource", "unknown"])
def test_a_request_that_breaks_a_rule_gets_no_consent_page(
    tenure: Installation, opened: Window, program: McpProgram, broken: str
) -> None:
    opened.expected += ["400"]
    program.call("files__read_file", {"name": "a.txt"})
    where, _, query = program.asked.get(timeout=20).partition("?")
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    changes = {
        "redirect": {"redirect_uri": "http://127.0.0.1:9/elsewhere"},
        "pkce": {"code_challenge_method": "plain"},
        "resource": {"resource": "https://evil.example/mcp"},
        "unknown": {"client_id": "dyn_nobody"},
    }[broken]
    opened.page.goto(f"{where}?{urlencode(asked | changes)}")
    assert opened.page.get_by_role("button", name="Allow").count() == 0
    back = opened.page.get_by_role("link", name="Tell the program")
    assert back.count() == (broken in ("pkce", "resource"))
    why = {"redirect": "wrong_redirect_uri", "unknown": "unknown_client"}.get(broken, broken)
    told(tenure, "login.turned_away", why=why)


@pytest.mark.req("R024")
def test_a_code_that_two_people_show_is_good_for_neither(
    tenure: Installation, opened: Window, program: McpProgram
) -> None:
    answer = program.call("files__read_file", {"name": "a.txt"})
    opened.page.goto(program.asked.get(timeout=20))
    allow(opened.page, program)
    assert text(answer.result(60)) == "hello"
    code = parse_qs(urlsplit(opened.page.url).query)["code"][0]
    assert program.kept.client is not None
    again = token(tenure, grant_type="authorization_code", client_id=program.kept.client.client_id, code=code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    told(tenure, "token.refused", why="code_reused")
    assert told(tenure, "login.ended", why="code_reused")[-1]["agent"] == "reader"
    program.call("files__read_file", {"name": "a.txt"})
    assert "/oauth/authorize?" in program.asked.get(timeout=20)  # what it had is worth nothing any more


@pytest.mark.req("R024")
def test_a_refresh_token_that_was_stolen_ends_the_login(
    tenure: Installation, opened: Window, program: McpProgram
) -> None:
    answer = program.call("files__read_file", {"name": "a.txt"})
    opened.page.goto(program.asked.get(timeout=20))
    allow(opened.page, program)
    answer.result(60)
    assert program.kept.client is not None
    assert program.kept.tokens is not None
    client_id, stolen = program.kept.client.client_id, str(program.kept.tokens.refresh_token)
    thief = token(tenure, grant_type="refresh_token", client_id=client_id, refresh_token=stolen)
    assert thief.status_code == 200  # whoever is first
    program.expire()
    program.call("files__read_file", {"name": "a.txt"})
    assert "/oauth/authorize?" in program.asked.get(timeout=20)
    told(tenure, "login.ended", why="refresh_reused")
    headers = {"authorization": f"Bearer {thief.json()['access_token']}"}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    until(
        lambda: httpx2.post(f"{tenure.gateway}/mcp", json=ping, headers=headers, trust_env=False).status_code == 401,
        "the thief's token to die",
        5,
    )


@pytest.mark.req("R024")
def test_an_answer_that_another_server_gave_is_not_taken(
    tenure: Installation, opened: Window, program: McpProgram
) -> None:
    """Mix-up: the browser comes back as if another authorization server had answered. The client is told by ``iss`` and
    stops; whoever holds the code now cannot trade it in as another program."""
    answer = program.call("files__read_file", {"name": "a.txt"})
    opened.page.goto(program.asked.get(timeout=20))
    seen: list[str] = []

    def answered_by_another(route: Route) -> None:
        found = parse_qs(urlsplit(route.request.url).query)
        seen.append(found["code"][0])
        other = {name: values[0] for name, values in found.items()} | {"iss": "https://other.example"}
        route.fulfill(status=302, headers={"location": f"{program.back}?{urlencode(other)}"})

    opened.page.route(lambda url: url.startswith(program.back) and "other.example" not in url, answered_by_another)
    allow(opened.page, program)
    assert _holds(answer.exception(30), OAuthFlowError)
    with tenure.client() as client:
        body = {"name": "Attacker", "redirects": ["https://evil.example/cb"]}
        attacker = client.post("/v1/programs", dict, body)["id"]
    taken = token(tenure, grant_type="authorization_code", client_id=attacker, code=seen[0])
    assert taken.json()["error"] == "invalid_grant"
    told(tenure, "token.refused", why="other_program")
    told(tenure, "login.ended", why="other_program")


def test_the_page_fits(tenure: Installation, browser: Browser, program: McpProgram) -> None:
    """Light, dark, and on a phone: nothing is cut off, and the buttons are as large as a finger."""
    program.call("files__read_file", {"name": "a.txt"})
    url = program.asked.get(timeout=20)
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 380), ("dark", 380)):
        with window(browser, color_scheme=scheme, viewport={"width": width, "height": 800}) as opened:
            log_in(opened.page, tenure)
            for where in (url, f"{tenure.control}/account/programs"):
                opened.page.goto(where)
                assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
            opened.page.goto(url)
            for name in ("Allow", "Refuse"):
                box = opened.page.get_by_role("button", name=name).bounding_box()
                assert box is not None
                assert box["height"] >= (40 if width < 600 else 30)


def _holds(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an error, or one that it was made of, is of this kind."""
    if isinstance(error, kind):
        return True
    if isinstance(error, BaseExceptionGroup) and any(_holds(one, kind) for one in error.exceptions):
        return True
    return error is not None and (_holds(error.__cause__, kind) or _holds(error.__context__, kind))


class Proving(httpx2.Auth):
    """Shows a bound token with a new proof for each request, by RFC 9449 and joserfc alone."""

    def __init__(self, key: ECKey, token: str) -> None:
        self._key, self._token = key, token

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """As the HTTP client asks for it."""
        request.headers["authorization"] = f"DPoP {self._token}"
        request.headers["dpop"] = proof(self._key, request.method, str(request.url), self._token)
        yield request


def proof(key: ECKey, method: str, url: str, token: str = "") -> str:
    """A proof for one request, with a token or for one."""
    claims: dict[str, Any] = {"jti": secrets.token_hex(16), "htm": method, "htu": url, "iat": int(time.time())}
    if token:
        claims["ath"] = urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    return jwt.encode({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)}, claims, key)


def read_a_file(address: str, auth: httpx2.Auth) -> str:
    """What the real MCP client makes of one call; in a thread, for Playwright has a loop in this one."""

    async def call() -> str:
        async with (
            httpx2.AsyncClient(auth=auth, trust_env=False) as http,
            McpClient(streamable_http_client(address, http_client=http)) as client,
        ):
            return text(await client.call_tool("files__read_file", {"name": "a.txt"}))

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, call()).result(60)


@pytest.mark.req("R024", "R039", "R091")
def test_a_login_that_is_bound_to_a_key_is_worth_nothing_without_it(tenure: Installation, opened: Window) -> None:
    """Authlib for the code, joserfc for the proofs, the MCP SDK for the call: nothing of ours on the client's side."""
    back, key, address = "http://127.0.0.1:1/callback", ECKey.generate_key("P-256"), f"{tenure.gateway}/mcp"
    with tenure.client() as client:
        ident = client.post("/v1/programs", dict, {"name": "Bound", "redirects": ["http://127.0.0.1/callback"]})["id"]
    server = httpx2.get(f"{tenure.control}/.well-known/oauth-authorization-server", trust_env=False).json()
    program = OAuth2Session(ident, redirect_uri=back, token_endpoint_auth_method="none", code_challenge_method="S256")
    program.trust_env = False
    verifier = secrets.token_urlsafe(48)
    asked, _state = program.create_authorization_url(
        server["authorization_endpoint"],
        code_verifier=verifier,
        resource=address,
        scope="tool:* data:*",
        dpop_jkt=key.thumbprint(),
    )
    opened.page.route(f"{back}**", lambda route: route.fulfill(body="done"))
    opened.page.goto(asked)
    opened.page.get_by_role("button", name="Allow").click()
    opened.page.wait_for_url(f"{back}**")

    def fetch(**more: Any) -> Any:
        return program.fetch_token(
            server["token_endpoint"],
            resource=address,
            headers={"DPoP": proof(key, "POST", server["token_endpoint"])},
            **more,
        )

    made = fetch(authorization_response=opened.page.url, code_verifier=verifier)
    assert made["token_type"] == "DPoP"
    auth = Proving(key, made["access_token"])
    assert read_a_file(address, auth) == "hello"
    again = fetch(grant_type="refresh_token", refresh_token=made["refresh_token"])
    assert read_a_file(address, Proving(key, again["access_token"])) == "hello"

    token, ping = again["access_token"], {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    stolen = proof(key, "POST", address, token)

    def shown(scheme: str, with_: str | None) -> int:
        headers = {"authorization": f"{scheme} {token}", **({"dpop": with_} if with_ else {})}
        return httpx2.post(address, json=ping, headers=headers, trust_env=False).status_code

    assert shown("DPoP", stolen) != 401
    for scheme, sent in (
        ("Bearer", None),
        ("DPoP", None),
        ("DPoP", stolen),
        ("DPoP", proof(ECKey.generate_key("P-256"), "POST", address, token)),
        ("DPoP", proof(key, "POST", f"{tenure.gateway}/v1/models", token)),
        ("DPoP", proof(key, "POST", address, made["access_token"])),
    ):
        assert shown(scheme, sent) == 401, scheme
    with pytest.raises(OAuthError, match="invalid_grant"):
        program.refresh_token(server["token_endpoint"], refresh_token=again["refresh_token"], resource=address)
    # It was shown without its key, so the login has ended; the gateway hears of it a moment later.
    until(lambda: shown("DPoP", proof(key, "POST", address, token)) == 401, "the login has ended everywhere")
