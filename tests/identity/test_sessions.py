"""Sessions and cookies as a browser meets them: over TLS, idle, and with the headers of every answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tenure.app.server import COOKIE, create_app
from tenure.base.config import Config
from tenure.ui.gate import BACKGROUND
from tests.sim.clock import FakeClock

SAME = {"Sec-Fetch-Site": "same-origin"}


SHORT = 600


@pytest.fixture
def turned() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tls(tmp_path: Path, turned: FakeClock) -> Iterator[TestClient]:
    """The whole control plane behind TLS, by a clock turned by hand."""
    app = create_app(Config(otlp_port=0, data_dir=tmp_path), clock=turned)
    with TestClient(app, base_url="https://tenure.example", client=("192.0.2.1", 1)) as client:
        yield client


def _log_in(client: TestClient) -> str:
    code = client.app.state.bootstrap.login_code  # type: ignore[attr-defined]  # the application, behind Starlette's type
    answer = client.post("/login", data={"code": code, "back": "/"}, headers=SAME, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["set-cookie"])


def test_cookies_over_tls_are_of_this_host_alone(tls: TestClient) -> None:
    cookie = _log_in(tls)
    assert cookie.startswith(f"__Host-{COOKIE}=")
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=strict", "path=/"} <= parts
    assert not [part for part in parts if part.startswith("domain")]
    assert tls.get("/v1/me").status_code == 200
    secret = cookie.partition("=")[2].partition(";")[0]
    tls.cookies.clear()
    assert tls.get("/v1/me", headers={"Cookie": f"{COOKIE}={secret}"}).status_code == 401, "a name that others can set"
    assert tls.get("/v1/me", headers={"Cookie": f"__Host-{COOKIE}={secret}"}).status_code == 200


def test_where_somebody_is_logged_in_is_the_browser_and_not_the_console(tls: TestClient) -> None:
    _log_in(tls)
    (session,) = tls.get("/v1/account").json()["sessions"]
    assert (session["address"], session["browser"]) == ("192.0.2.1", "testclient")
    forged = {"x-tenure-address": "203.0.113.9", "x-tenure-scheme": "http"}
    link = tls.post("/v1/people/operator@localhost/login-link", headers=SAME).json()
    tls.post("/v1/login", json={"code": link["code"]}, headers=forged | SAME)
    assert {one["address"] for one in tls.get("/v1/account").json()["sessions"]} == {"192.0.2.1"}


def test_an_open_page_does_not_keep_a_session_that_nobody_uses(tls: TestClient, turned: FakeClock) -> None:
    _log_in(tls)
    for _ in range(4):
        turned.advance(3000)
        assert tls.get("/audit", headers={"Accept": "text/html"}).status_code == 200  # somebody looks around
    for _ in range(3):
        turned.advance(3000)
        statuses = [tls.get(path).status_code for path in sorted(BACKGROUND - {"/v1/feed"})]
    assert set(statuses) == {401}


def test_how_long_a_session_lives_is_a_setting(tmp_path: Path, turned: FakeClock) -> None:
    app = create_app(
        Config(otlp_port=0, data_dir=tmp_path, session_life_s=2 * SHORT, session_idle_s=SHORT), clock=turned
    )
    with TestClient(app, base_url="https://tenure.example") as client:
        cookie = _log_in(client)
        assert f"max-age={2 * SHORT}" in cookie.lower()
        turned.advance(SHORT - 1)
        assert client.get("/v1/me").status_code == 200
        turned.advance(SHORT - 1)
        assert client.get("/v1/me").status_code == 200, "it was used"
        turned.advance(3)
        assert client.get("/v1/me").status_code == 401, "its time is over, however much it is used"
        link = client.post("/v1/people/operator@localhost/login-link", headers=SAME)
        assert link.status_code == 401


def test_every_answer_has_the_headers_that_keep_a_browser_safe(tls: TestClient) -> None:
    _log_in(tls)
    for path in ("/", "/v1/me", "/v1/nowhere", "/static/console.css", "/login", "/nowhere"):
        headers = tls.get(path).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert {"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= {
            p.strip() for p in policy.split(";")
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "max-age=31536000" in headers["strict-transport-security"]
