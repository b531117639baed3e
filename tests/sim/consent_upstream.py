"""An upstream with an authorization server of its own, in a process of its own: consent without a page (``user`` in the
query says who would have clicked), authorization code with PKCE, refresh tokens that rotate, and one address that takes
what it has granted."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from tests.sim.gateway import Process

CLIENT, SECRET = "tenure", "client-canary-secret"
CODES: dict[str, dict[str, str]] = {}
REFRESH: dict[str, str] = {}
ACCESS: dict[str, str] = {}
SETTINGS: dict[str, Any] = {"life": 3600, "down": False, "revokes": True}
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """``/authorize``, ``/token``, ``/revoke``, ``/whoami``, its metadata; ``PUT /_settings`` changes how it behaves."""

    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, data: Any, **headers: str) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def do_GET(self) -> None:
        """Consent, and who a token is of."""
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        if parts.path == "/authorize":
            code = secrets.token_urlsafe(8)
            CODES[code] = {**query, "user": query.get("user", "ann")}
            back = urlencode({"code": code, "state": query["state"]})
            self._answer(302, {}, location=f"{query['redirect_uri']}?{back}")
        elif parts.path.startswith("/.well-known/oauth-authorization-server"):
            here = f"http://{self.headers['host']}"
            more = {"revocation_endpoint": f"{here}/revoke"} if SETTINGS["revokes"] else {}
            self._answer(503 if SETTINGS["down"] else 200, {"issuer": here, "token_endpoint": f"{here}/token", **more})
        else:
            token = str(self.headers.get("authorization", "")).removeprefix("Bearer ")
            self._answer(200 if token in ACCESS else 401, {"user": ACCESS.get(token)})

    def do_PUT(self) -> None:
        """How it behaves; ``forget`` makes it forget every refresh token."""
        given = json.loads(self._body())
        if given.pop("forget", False):
            REFRESH.clear()
        SETTINGS.update(given)
        self._answer(200, {})

    def do_POST(self) -> None:
        """Tokens for a code or a refresh token."""
        form = dict(parse_qsl(self._body().decode()))
        basic = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        with LOCK:
            if SETTINGS["down"]:
                self._answer(503, {"error": "temporarily_unavailable"})
                return
            if self.path == "/revoke":
                known = REFRESH if form["token_type_hint"] == "refresh_token" else ACCESS
                known.pop(form["token"], None)
                self._answer(200 if self.headers.get("authorization") == basic else 401, {})
                return
            user = self._granted(form) if self.headers.get("authorization") == basic else None
            if user is None:
                self._answer(400, {"error": "invalid_grant"})
                return
            access, refresh = f"access-canary-{secrets.token_urlsafe(8)}", f"refresh-canary-{secrets.token_urlsafe(8)}"
            ACCESS[access], REFRESH[refresh] = user, user
        told = {"access_token": access, "token_type": "Bearer", "refresh_token": refresh}
        self._answer(200, told | {"expires_in": SETTINGS["life"]})

    @staticmethod
    def _granted(form: dict[str, str]) -> str | None:
        if form.get("grant_type") == "refresh_token":
            return REFRESH.pop(form.get("refresh_token", ""), None)
        asked = CODES.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        fits = asked is not None and asked["code_challenge"] == challenge and asked["code_challenge_method"] == "S256"
        return asked["user"] if fits and asked and asked["redirect_uri"] == form.get("redirect_uri") else None

    def log_message(self, *_args: object) -> None:
        """Says nothing."""


class ConsentUpstream(Process):
    """The running process."""

    def __init__(self) -> None:
        super().__init__(["tests.sim.consent_upstream"])

    def behave(self, **settings: Any) -> None:
        """``life`` of tokens in seconds, ``down``, ``forget``, ``revokes``: whether it says where."""
        httpx2.put(f"{self.url}/_settings", json=settings, trust_env=False).raise_for_status()

    def consent(self, url: str, user: str) -> dict[str, str]:
        """What the browser comes back with when ``user`` consents."""
        answer = httpx2.get(f"{url}&user={user}", follow_redirects=False, trust_env=False)
        return dict(parse_qsl(urlsplit(answer.headers["location"]).query))

    def whoami(self, token: str) -> str | None:
        """Whose token it is."""
        found: str | None = httpx2.get(
            f"{self.url}/whoami", headers={"authorization": f"Bearer {token}"}, trust_env=False
        ).json()["user"]
        return found


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"ready http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
