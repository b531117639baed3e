"""A standard OAuth client finds the server by its metadata, shows its key, and works with the token it gets."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet

from demo.processes import free_port
from tests.sim.agents_keys import key_pair, session
from tests.sim.console import Console, running
from tests.sim.tenants import until


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    port = free_port(0)
    with running(tmp_path_factory.mktemp("oauth"), port, control_port=port) as console:
        console.register("clerk", "approved")
        until(lambda: console.client.get("/v1/agents/clerk", dict)["state"] == "provisioned")
        console.client.post("/v1/agents/clerk/transitions", dict, {"to": "staging", "reason": "a test asks"})
        yield console


def metadata(console: Console) -> dict[str, Any]:
    answer = requests.get(f"{console.url}/.well-known/oauth-authorization-server", timeout=60)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.req("R024")
@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
def test_authlib_gets_a_token_by_the_standards_alone(console: Console, alg: str) -> None:
    key = key_pair(alg)
    made = console.client.post("/v1/agents/clerk/keys", dict, {"jwk": key.as_dict(private=False), "name": alg})
    server = metadata(console)
    assert server["issuer"] == console.url
    client = session(made["client_id"], key, alg)
    token = client.fetch_token(server["token_endpoint"], grant_type="client_credentials")
    assert token["token_type"] == "Bearer"
    keys = KeySet.import_key_set(requests.get(server["jwks_uri"], timeout=60).json())
    read = jwt.decode(token["access_token"], keys, algorithms=["ES256"])
    agent = console.client.get("/v1/agents/clerk", dict)
    claims = read.claims
    assert read.header["typ"] == "at+jwt"
    assert claims["iss"] == server["issuer"]
    assert claims["sub"] == claims["client_id"] == made["client_id"] == "spiffe://tenure/default/agent/clerk"
    assert (claims["release"], claims["instance"]) == (agent["release"], made["instance"])
    assert claims["exp"] - claims["iat"] == token["expires_in"] == 600
    again = client.fetch_token(server["token_endpoint"], grant_type="client_credentials", session=token["session"])
    assert again["session"] == token["session"]
    assert again["access_token"] != token["access_token"]


@pytest.mark.req("R024")
def test_the_code_of_the_page_gets_a_token(console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "oauth.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "http://127.0.0.1:7700/" in code
    key = key_pair("ES256")
    console.client.post("/v1/agents/clerk/keys", dict, {"jwk": key.as_dict(private=False), "name": "page"})
    (tmp_path / "clerk.key").write_text(json.dumps(key.as_dict(private=True)), "utf-8")
    monkeypatch.chdir(tmp_path)
    code = code.replace("http://127.0.0.1:7700", console.url)
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a page need not close the file that it reads
        exec(code, found)  # noqa: S102 (our own page, to see that it holds)
    assert found["token"]["token_type"] == "Bearer"
    assert found["token"]["access_token"].count(".") == 2
