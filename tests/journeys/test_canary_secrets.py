"""A canary in each place where Tenure keeps a credential: none is found anywhere but where it is meant to go."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from demo.processes import until
from tenure.app.server import COOKIE
from tests.sim.consent_upstream import CLIENT, ConsentUpstream
from tests.sim.installation import COMMAND, Installation
from tests.sim.keyed_upstream import KeyedUpstream
from tests.sim.manifests import manifest
from tests.sim.mcp_servers import files_command

# Shaped like nothing that a scanner knows: what keeps them out must not be that they look like secrets.
KEY, VARIABLE, CHILD = "plain-canary-of-the-store", "plain-canary-of-a-variable", "plain-canary-of-a-child"
PERSON = "operator@localhost"
CANARY = "canary"
_PAGES = ("/", "/live", "/secrets", "/secrets/model-key", "/connectors", "/traces", "/audit", "/tools", "/account")


@pytest.fixture
def upstream() -> Iterator[KeyedUpstream]:
    with KeyedUpstream() as process:
        process.believe(KEY, VARIABLE)
        yield process


@pytest.fixture
def consents() -> Iterator[ConsentUpstream]:
    with ConsentUpstream() as process:
        yield process


def _keep(tenure: Installation, name: str, value: str, *places: str) -> None:
    command = [*COMMAND, "secrets", "put", name, *places]
    done = subprocess.run(command, env=tenure.env, input=value + "\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr


def _session(tenure: Installation) -> dict[str, str]:
    """A browser's cookie, for the login link that was printed."""
    assert tenure.up is not None
    line = next(line for line in tenure.up.lines if "login?code=" in line)
    code = line.rpartition("code=")[2].strip()
    answer = httpx2.post(f"{tenure.control}/v1/login", json={"code": code}, trust_env=False)
    return {"cookie": f"{COOKIE}={answer.cookies[COOKIE]}", "sec-fetch-site": "same-origin", "x-tenure-csrf": "1"}


def _connect(tenure: Installation, consents: ConsentUpstream, session: dict[str, str]) -> None:
    with tenure.client() as client:
        place = {"authorize_url": f"{consents.url}/authorize", "token_url": f"{consents.url}/token"}
        hosts = [urlsplit(consents.url).netloc]
        body = {**place, "client_id": CLIENT, "client_secret": "consent-client", "hosts": hosts}
        client.put("/v1/connectors/crm", dict[str, Any], body)
    with httpx2.Client(base_url=tenure.control, headers=session, trust_env=False) as browser:
        begun = browser.post("/v1/connectors/crm/begin").json()
        back = consents.consent(begun["url"], "ann")
        done = browser.post("/v1/connectors/crm/finish", json={**back, "binding": begun["binding"]})
        assert done.status_code == 200, done.text


def _answers(tenure: Installation, session: dict[str, str]) -> str:
    """Every answer of the API that takes no id, and the pages."""
    told = []
    with tenure.client() as client:
        paths = client.get("/openapi.json", dict[str, Any])["paths"]
    headers = {"authorization": f"Bearer {tenure.token}"}
    endless = ("/v1/feed", "/internal/v1/snapshot")
    for path in (path for path in paths if "get" in paths[path] and "{" not in path and path not in endless):
        told += [httpx2.get(f"{tenure.control}{path}", headers=headers, trust_env=False, timeout=30).text]
    told += [
        httpx2.get(f"{tenure.control}{page}", headers=session, trust_env=False, timeout=30).text for page in _PAGES
    ]
    gateway = f"Bearer {(tenure.folder / 'gateway.token').read_text().strip()}"
    for box in ({}, {"x-tenure-box": "Nm_pPLYJTdSAVgqQPTlQnbDyW4rL2mBX5xCvbxJbV1c"}):
        with httpx2.stream(
            "GET", f"{tenure.control}/internal/v1/snapshot", headers={"authorization": gateway, **box}, trust_env=False
        ) as stream:
            told.append(next(stream.iter_lines()))
    assert '"sealed":"ey' in told[-1], "the gateway is told, and nobody else can read it"
    return "\n".join(told)


def _processes(tenure: Installation) -> list[psutil.Process]:
    assert tenure.up is not None
    up = psutil.Process(tenure.up.pid)
    return [up, *up.children(recursive=True)]


def _clean(text: str | bytes, where: object) -> None:
    raw = text.encode() if isinstance(text, str) else text
    for canary in (CANARY.encode(), base64.b64encode(KEY.encode())[:12], base64.b64encode(CHILD.encode())[:12]):
        assert canary not in raw, where


@pytest.mark.req("R041", "R094")
def test_no_credential_is_found_where_it_does_not_belong(
    tmp_path: Path, upstream: KeyedUpstream, consents: ConsentUpstream
) -> None:
    folder, files = tmp_path / "data", tmp_path / "files"
    files.mkdir()
    settings = {"TENURE_SANDBOX": "off", "TENURE_LOG_LEVEL": "debug", "MODEL_VARIABLE": VARIABLE}
    settings["TENURE_ENV_CREDENTIALS"] = f"MODEL_VARIABLE={urlsplit(upstream.url).netloc}"
    command = list(files_command(files))
    with Installation(folder, settings) as tenure:
        _keep(tenure, "model-key", KEY, "--host", urlsplit(upstream.url).netloc)
        _keep(tenure, "child-key", CHILD, "--program", " ".join(command[:2]))
        _keep(tenure, "consent-client", "client-canary-secret", "--host", urlsplit(consents.url).netloc)
        session = _session(tenure)
        _connect(tenure, consents, session)
        servers = {
            "files": {"command": command, "env_secrets": {"FILES_KEY": "child-key"}},
            "crm": {"url": f"{consents.url}/mcp", "connector": "crm"},
        }
        clerk = manifest("clerk", upstream.url, servers=servers, tools=[{"name": "files/whoami"}, {"name": "crm/ask"}])
        clerk["spec"]["model"]["credential_secret"] = "model-key"
        other = {"provider": "openai", "name": "by-variable", "base_url": upstream.url}
        clerk["spec"]["models"] = [{**other, "credential_env": "MODEL_VARIABLE"}]
        tenure.employ(clerk)
        _work(tenure)
        assert {KEY, VARIABLE} <= set(upstream.seen()), "they went where they are for"
        shown = _answers(tenure, session)
        commands = tenure.run("secrets", "list") + tenure.run("connectors", "list") + tenure.run("traces", "list")
        words = [" ".join(process.cmdline()) for process in _processes(tenure)]
        wrong = [*COMMAND, "secrets", "rotate", "nothing"]
        refused = subprocess.run(wrong, env=tenure.env, input=KEY, capture_output=True, text=True, check=False)
        before = tenure.pid("gateway")
        tenure.child("gateway").send_signal(signal.SIGABRT)
        until(lambda: tenure.pid("gateway") not in (0, before), "another gateway", 20)
        until(lambda: _status(tenure) == 200, "its secrets", 30)
        until(lambda: _used(tenure) >= {"model-key", "child-key"}, "their use", 30)
        logged = "\n".join(tenure.up.lines if tenure.up else [])
    for name, text in (
        ("an answer or a page", shown),
        ("a command", commands),
        ("the process list", "\n".join(words)),
        ("an error", refused.stdout + refused.stderr),
        ("the log", logged),
    ):
        _clean(text, name)
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert {"control.db", "traces.duckdb"} <= {path.name for path in kept}
    for path in kept:
        with suppress(PermissionError):
            _clean(path.read_bytes(), path)


def _status(tenure: Installation) -> int:
    with suppress(httpx2.TransportError):
        return _answer(tenure, "scripted-clerk").status_code
    return 0


def _used(tenure: Installation) -> set[str]:
    with tenure.client() as client:
        found = client.get("/v1/secrets", list[dict[str, Any]])
    return {one["name"] for one in found if one["last_used_at"]}


def _answer(tenure: Installation, model: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {tenure.instance('clerk')['token']}"}
    body = {"model": model, "messages": [{"role": "user", "content": "?"}]}
    return httpx2.post(f"{tenure.gateway}/v1/chat/completions", json=body, headers=headers, timeout=30)


def _work(tenure: Installation) -> None:
    """Calls that use each of the credentials, good and bad."""
    assert _answer(tenure, "scripted-clerk").status_code == 200
    assert _answer(tenure, "by-variable").status_code == 200
    with tenure.client() as client:
        started = client.post("/v1/agents/clerk/instances", dict[str, Any], {"on_behalf_of": PERSON})
    headers = {"authorization": f"Bearer {started['token']}", "accept": "application/json"}
    for name in ("files__whoami", "crm__ask"):
        params: dict[str, Any] = {"name": name, "arguments": {}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = httpx2.post(f"{tenure.gateway}/mcp", json=message, headers=headers, timeout=60).json()
        _clean(json.dumps(answer), name)
        if name == "files__whoami":
            assert "FILES_KEY" in answer["result"]["structuredContent"]["env"]
