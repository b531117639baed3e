"""An issuer of workload tokens in a process of its own, as Kubernetes, Entra ID or Okta are one to us: OpenID Connect
discovery, a key set, and tokens with whatever claims it is asked for. It also makes what no issuer may get away with.

``python -m tests.sim.outside_issuer PORT``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
import uvicorn
from fastapi import Body, FastAPI
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from tests.sim.ports import free_port


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def application(issuer: str) -> FastAPI:
    """The issuer."""
    app = FastAPI()
    keys = [RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"})]
    stranger = RSAKey.generate_key(2048, {"kid": "k1"})
    asked = {"jwks": 0}

    @app.get("/.well-known/openid-configuration")
    def discovery() -> dict[str, Any]:
        return {"issuer": issuer, "jwks_uri": f"{issuer}/jwks"}

    @app.get("/jwks")
    def jwks() -> dict[str, Any]:
        asked["jwks"] += 1
        return dict(KeySet([*keys]).as_dict(private=False))

    @app.get("/asked")
    def how_often() -> dict[str, int]:
        return asked

    @app.post("/rotate")
    def rotate() -> None:
        keys.append(RSAKey.generate_key(2048, {"kid": f"k{len(keys) + 1}", "use": "sig"}))

    @app.post("/mint")
    def mint(claims: Annotated[dict[str, Any], Body()], by: Annotated[str, Body()]) -> str:
        now = int(time.time())
        whole = {"iss": issuer, "iat": now, "exp": now + 300} | claims
        said = {name: value for name, value in whole.items() if value is not None}
        if by in ("none", "hmac"):
            header = {"alg": "none" if by == "none" else "HS256", "kid": "k1"}
            head = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(said).encode())}"
            secret = keys[0].as_pem(private=False)  # what anybody can read in the key set
            return f"{head}.{_b64(hmac.new(secret, head.encode(), hashlib.sha256).digest()) if by == 'hmac' else ''}"
        key = stranger if by == "stranger" else keys[-1]
        return str(jwt.encode({"alg": "RS256", "kid": key.kid}, said, key))

    return app


class Issuer:
    """The running issuer, as a test speaks to it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def mint(self, by: str = "own", **claims: Any) -> str:
        """A token with these claims; one of None is left out."""
        answer = httpx2.post(f"{self.url}/mint", json={"claims": claims, "by": by}, trust_env=False)
        return str(answer.json())

    def rotate(self) -> None:
        """Signs with a further key from now on."""
        httpx2.post(f"{self.url}/rotate", trust_env=False)

    def asked(self) -> int:
        """How often the key set was asked for."""
        return int(httpx2.get(f"{self.url}/asked", trust_env=False).json()["jwks"])


@contextmanager
def issuing() -> Iterator[Issuer]:
    """The issuer, while its process runs."""
    port = free_port()
    command = [sys.executable, "-m", "tests.sim.outside_issuer", str(port)]
    process = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2])
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            try:
                httpx2.get(f"{url}/asked", trust_env=False)
                break
            except httpx2.TransportError:
                assert process.poll() is None, "the issuer did not start"
                time.sleep(0.05)
        yield Issuer(url)
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    uvicorn.run(application(f"http://127.0.0.1:{sys.argv[1]}"), port=int(sys.argv[1]), log_level="error")
