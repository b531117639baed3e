"""An OpenID provider in a process of its own: discovery, authorization with a page, token endpoint with PKCE and a
client secret, keys. It keeps the standards; users with certain names show what an issuer must not get away with.

``python -m tests.sim.oidc_provider PORT``.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import httpx2
import uvicorn
from fastapi import FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.sim.ports import free_port

CLIENT, SECRET = "tenure", "a-client-secret"
GROUPS = {"ann": ["risk"], "bob": [], "olga": ["ops"], "ann2": ["risk"]}


def application(issuer: str) -> FastAPI:
    """The provider."""
    app = FastAPI()
    key = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})
    other = RSAKey.generate_key(2048, {"kid": "k1"})
    codes: dict[str, dict[str, Any]] = {}

    @app.get("/.well-known/openid-configuration")
    def discovery() -> dict[str, Any]:
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        found: dict[str, Any] = {name: f"{issuer}/{path}" for name, path in names.items()}
        return found | {"issuer": issuer, "authorization_response_iss_parameter_supported": True}

    @app.get("/jwks")
    def jwks() -> dict[str, Any]:
        return {"keys": [key.as_dict(private=False)]}

    @app.get("/authorize")
    def authorize(request: Request) -> HTMLResponse:
        query = dict(request.query_params)
        good = query["response_type"] == "code" and query["client_id"] == CLIENT and "openid" in query["scope"].split()
        if not good or query["code_challenge_method"] != "S256":
            raise HTTPException(400)
        hidden = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in query.items())
        return HTMLResponse(f'<form action="/allow">{hidden}<input name="user"><button>Allow</button></form>')

    @app.get("/allow")
    def allow(request: Request, user: str) -> RedirectResponse:
        query = dict(request.query_params)
        code = secrets.token_urlsafe(16)
        codes[code] = query
        back = {"code": code, "state": query["state"], "iss": "http://evil.example" if user == "mixed-up" else issuer}
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(back)}", 302)

    @app.post("/token")
    def token(
        request: Request,
        code: Annotated[str, Form()],
        code_verifier: Annotated[str, Form()],
        redirect_uri: Annotated[str, Form()],
    ) -> dict[str, Any]:
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {basic}":
            raise HTTPException(401)
        asked = codes.pop(code, None)
        digest = base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()
        if asked is None or digest != asked["code_challenge"] or redirect_uri != asked["redirect_uri"]:
            raise HTTPException(400)
        user, now = asked["user"], int(asked.get("at") or time.time())
        name = "ann" if user == "ann2" else user
        claims: dict[str, Any] = {"iss": issuer, "aud": CLIENT, "sub": f"sub-{user}", "iat": now, "exp": now + 300}
        claims |= {"nonce": asked["nonce"], "email": f"{name}@example.com", "email_verified": True}
        groups = asked["groups"].split(",") if "groups" in asked else GROUPS.get(user, ["risk"])
        claims |= {"groups": groups}
        wrong: dict[str, dict[str, Any]] = {
            "wrong-nonce": {"nonce": "another"},
            "wrong-aud": {"aud": "somebody-else"},
            "two-auds": {"aud": [CLIENT, "somebody-else"]},
            "wrong-azp": {"azp": "somebody-else"},
            "wrong-iss": {"iss": "http://evil.example"},
            "expired": {"exp": now - 3600},
            "from-the-future": {"iat": now + 3600},
            "unverified": {"email_verified": False},
            "no-subject": {"sub": ""},
        }
        claims |= wrong.get(user, {})
        claims |= {"sid": asked["sid"]} if "sid" in asked else {}
        signer = other if user == "wrong-key" else key
        signed = jwt.encode({"alg": "RS256", "kid": "k1"}, claims, signer)
        if user == "no-signature":
            head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
            signed = f"{head}.{signed.split('.')[1]}."
        return {"access_token": "unused", "token_type": "Bearer", "id_token": signed}

    @app.post("/sign")
    def sign(body: dict[str, Any]) -> dict[str, Any]:
        """A logout token, or what passes for one."""
        signer = other if body.get("wrong_key") else key
        return {"token": jwt.encode({"alg": "RS256", "kid": "k1", **body["header"]}, body["claims"], signer)}

    return app


@contextmanager
def provider() -> Iterator[str]:
    """The issuer's address, while its process runs."""
    port = free_port()
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.sim.oidc_provider", str(port)]
    process = subprocess.Popen(command, cwd=root)
    issuer = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                httpx2.get(f"{issuer}/jwks", trust_env=False)
                break
            except httpx2.TransportError:
                assert process.poll() is None, "the provider did not start"
                time.sleep(0.05)
        yield issuer
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    uvicorn.run(application(f"http://127.0.0.1:{sys.argv[1]}"), port=int(sys.argv[1]), log_level="error")
