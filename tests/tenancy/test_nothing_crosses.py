"""Whoever is of another workspace sees nothing of this one and changes nothing in it, an operator of the installation
included: every route of the API, every page and every command is asked for with this workspace's ids.

An answer must be the same, word for word, as for an id that exists nowhere: then it tells nothing. The routes come from
the application itself; one that cannot be filled in fails here until somebody says how.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter

import tenure.ui
from tenure.app.server import COOKIE
from tests.sim.tenants import FULL, MARK, Insider, Tenants, body_of, tenants, twin

# What stands for the parameter after this piece of an address.
AFTER = {
    "against": "trace",
    "agents": "agent",
    "agents.keys": "thumbprint",  # what stands two pieces before, too
    "approvals": "approval",
    "stand-ins": "stand-in",
    "ladders": "ladder",
    "drafts": "draft",
    "external-agents": "external",
    "discovery": "finding",
    "findings": "finding",
    "forks": "fork",
    "handovers": "offer",
    "Users": "directory user",
    "offers": "offer",
    "decisions": "call",
    "deliveries": "delivery",
    "destinations": "destination",
    "notify": "destination",
    "exports": "export",
    "alerts": "alert",
    "rules": "alarm",
    "instances": "instance",
    "limits": "limit",
    "people": "email",
    "precedents": "precedent",
    "passkeys": "passkey",
    "releases": "digest",
    "connectors": "connector",
    "secrets": "secret",
    "sessions": "session id",
    "services": "service",
    "from": "issuer",
    "keys": "key",
    "logins": "login",
    "programs": "program",
    "oidc": "issuer",
    "with": "issuer",
    "tokens": "token",
    "trust": "rule",
    "traces": "trace",
    "versions": "version",
    "workspaces": "workspace",
}
BY_NAME = {
    "agent": "agent",
    "trace": "trace",
    "session": "session",
    "name": "agent",
    "reason": "agent",
}  # query parameters
CHOICE = {"step": "ignore", "answer": "decline", "to": "suspended", "decision": "approve"}
FIELDS: dict[str, Any] = {
    "logout_token": "nonsense",
    "checklist": "nonsense",
    "jwk": {"kty": "EC"},
    "approval": "{approval}",
    "chosen": [{"id": "{approval}", "digest": "sha256:0"}],
    "step": 1,
    "token": "nonsense",
    "grant_type": "client_credentials",
    "request": "client_id=nonsense",
    "allow": True,
    "redirect_uris": ["https://heron.example/cb"],
    "redirects": ["https://heron.example/cb"],
    "reason": "mine now",
    "stand_in": "eve@heron.example",
    "ends_at": "2026-01-01T00:00:00Z",
    "sightings": [],
    "kind": "agent",
    "audience": "tenure",
    "gateway": "nonsense",
    "run": "nonsense",
    "subject": "{agent}",
    "to": "suspended",
    "decision": "approve",
    "state": "nonsense",
    "binding": "nonsense",
    "link": "nonsense",
    "code": "nonsense",
    "email": "eve@heron.example",
    "roles": ["viewer"],
    "name": "probe",
    "manifests": [],
    "files": [],
    "password": "four words nobody says",
    "credential": {},
    "scopes": ["agents:read"],
    "value": "mine now",
    "authorize_url": "http://heron.example",  # refused for being sent in the clear: a connector of its own is no news
    "token_url": "https://heron.example",
    "client_id": "probe",
    "hosts": ["heron.example"],
    "resource": "files/read_file",
    "fingerprint": "sha256:0",
    "scope": "agent",
    "limits": {"trials": 1},
    "agent": "{agent}",
    "upto": "2026-01-01T00:00:00Z",
    "version": "{version}",  # in braces: the id of that kind
}
_BREAKER = {"scope": "agent", "name": "{agent}", "reason": "mine now"}
WHOLE = {  # bodies that are no listed fields, or say more than they must
    "post /v1/discovery/findings/{ident}/block": {"note": "mine now"},
    "post /v1/discovery/findings/{ident}/ignore": {"note": "mine now"},
    "post /v1/discovery/findings/{ident}/reopen": {"note": "mine now"},
    "put /v1/agents/{name}": {"kind": "Agent"},
    "put /v1/trust/{name}": {"issuer": "nonsense"},
    "post /v1/breakers/stop": _BREAKER,
    "post /v1/breakers/reset": _BREAKER,
    "post /v1/breakers/limits/drop": _BREAKER,
    "put /v1/notify/destinations/{name}": {"kind": "webhook", "topics": ["nothing"]},  # as below
    "put /v1/alerts/rules/{name}": {"measure": "nothing"},  # as below
    "post /v1/alerts/rules/{name}/try": {"measure": "nothing"},
    "put /v1/exports/{name}": {"kind": "weave", "project": "nobody"},  # as below
    "post /v1/autonomy/earned/decision": {
        "agent": "{agent}",
        "resource": "payments/refund",
        "release": "{digest}",
        "decision": "accept",
        "reason": "mine now",
    },
    "put /v1/approvals/ladders/{name}": {"steps": [], "deadline_s": 60, "reason": "mine now"},  # as below
    "post /v1/corrections": {"call": "{call}", "reason": "mine now"},
    "post /v1/drafts/{ident}/decision": {"decision": "discard", "digest": "sha256:0", "reason": "mine now"},
    "put /v1/autonomy": {"level": "nonsense"},  # a whole one would set the floor of their own workspace
    "put /v1/limits/{name}": {"of": "nothing"},  # a whole one would be one of their own, under that name
}
QUERY = {"scope": "agent", "node": "agent:otter"}
STREAMS = {"get /v1/feed"}  # never end by themselves: test_the_feed_tells_nothing
CONSOLE_FORM = {"note": "mine now", "reason": "mine now", "decision": "approve", "code": "nonsense", "to": "suspended"}
CONSOLE_FORMS = {
    "/breakers/change": {
        "scope": "agent",
        "name": "{agent}",
        "to": "stop",
        "reason": "mine now",
    },  # of addresses whose form says more
    "/corrections": {"call": "{call}", "reason": "mine now"},
    "/drafts/{ident}": {"decision": "discard", "digest": "sha256:0", "reason": "mine now"},
    "/tools/switch": {"resource": "files/read_file", "to": "off", "reason": "mine now"},
    "/revoke": {"kind": "agent", "subject": "{agent}", "agent": "{agent}", "reason": "mine now"},
    "/tools/decision": {"resource": "files/read_file", "fingerprint": "x", "decision": "accept", "reason": "mine now"},
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    with tenants(tmp_path_factory.mktemp("tenants")) as running:
        yield running


def _fill(path: str, ids: dict[str, str]) -> str:
    pieces = path.split("/")
    for index, piece in enumerate(pieces):
        if not re.fullmatch(r"\{.*\}", piece):
            continue
        name = piece.strip("{}").partition(":")[0]
        kind = AFTER.get(f"{pieces[index - 3]}.{pieces[index - 1]}", AFTER.get(pieces[index - 1]))
        if name in CHOICE:
            pieces[index] = CHOICE[name]
        else:
            assert kind, f"{path}: say in AFTER what stands for {piece}"
            pieces[index] = ids[kind]
    return "/".join(pieces)


def _example(schema: dict[str, Any], shapes: dict[str, Any], where: str) -> Any:
    """The least that a body may hold."""
    if "$ref" in schema:
        return _example(shapes[schema["$ref"].rpartition("/")[2]], shapes, where)
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], shapes, where)
    if schema.get("type") == "array":
        return []
    body = {}
    for name in schema.get("required", ()):
        assert name in FIELDS, f"{where}: say in FIELDS what stands for {name}"
        body[name] = FIELDS[name]
    return body


def _bodies(operation: dict[str, Any], shapes: dict[str, Any], where: str) -> Any:
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return None
    return WHOLE.get(where) or _example(next(iter(content.values()))["schema"], shapes, where)


def _named(body: Any, ids: dict[str, str]) -> Any:
    """The body with ids where braces name their kind."""
    if not isinstance(body, dict):
        return body
    return {name: _placed(value, ids) for name, value in body.items()}


def _placed(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_named(one, ids) for one in value]
    return ids[value[1:-1]] if isinstance(value, str) and value[:1] == "{" else value


def _alike(answer: httpx2.Response, asked: dict[str, str]) -> tuple[int, str]:
    """The answer with every id that was asked for put back to what it is."""
    text = answer.text
    for kind, value in sorted(asked.items(), key=lambda item: -len(item[1])):
        text = text.replace(value, f"<{kind}>").replace(httpx2.URL(f"http://x/{value}").path[1:], f"<{kind}>")
    text = re.sub(r'"(size|seq|next|oldest)": ?\d+', r'"\1":0', text)
    text = re.sub(r'"(since|until|took_s)": ?("[^"]*"|[\d.e-]+)', r'"\1":0', text)
    return answer.status_code, re.sub(r"(>|\")(just now|\d+ \w+ ago)", r"\1", text)


def _client(two: Tenants, who: Insider, by: str) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {who.token}"}
    if by == "cookie":
        headers = {"Cookie": f"{COOKIE}={who.cookie}", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
    return httpx2.Client(base_url=two.console.url, headers=headers, trust_env=False, timeout=30)


def _asked(two: Tenants) -> tuple[dict[str, str], dict[str, str]]:
    ids = dict(two.ids)
    return ids, {kind: twin(value) for kind, value in ids.items()}


@pytest.mark.req("R038")
@pytest.mark.parametrize("who", ["own", "other"])
def test_no_route_tells_or_changes_anything(two: Tenants, who: str) -> None:
    document = two.console.app.openapi()
    shapes = document["components"]["schemas"]
    real, nowhere = _asked(two)
    before, asked = two.kept(), 0
    stranger = two.strangers[who]
    with _client(two, stranger, "token") as by_token, _client(two, stranger, "cookie") as by_cookie:
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                where = f"{method} {path}"
                if where in STREAMS or (path == "/v1/workspaces" and method == "post"):
                    continue
                params = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
                answers = []
                # What is a person's own takes a session, whatever it is asked for.
                client = by_cookie if path.startswith(("/v1/account", "/v1/workspaces")) else by_token
                for ids in (real, nowhere):
                    query = {name: ids[BY_NAME[name]] for name in params if name in BY_NAME}
                    query |= {name: QUERY[name] for name in params if name in QUERY}
                    body = _named(_bodies(operation, shapes, where), ids)
                    answer = client.request(method, _fill(path, ids), params=query, json=body)
                    answers.append(_alike(answer, ids))
                    asked += 1
                if "{" in path or query:
                    assert answers[0] == answers[1], where
                if "{" in path:
                    assert answers[0][0] in (403, 404, 409, 422), f"{where}: {answers[0]}"
                assert MARK not in answers[0][1], f"{where}: {answers[0][1][:500]}"
    assert asked > 80
    assert two.kept() == before


@pytest.mark.parametrize("who", ["own", "other"])
def test_what_names_another_workspace_in_its_body_is_refused(two: Tenants, who: str) -> None:
    before = two.kept()
    manifest = body_of("intruder")
    depends = body_of("intruder")
    depends["spec"]["dependencies"] = [{"agent": two.ids["agent"], "why": "curious"}]
    event = {
        "id": "a" * 32,
        "type": "import.call",
        "time": "2026-01-01T00:00:00Z",
        "workspace": FULL,
        "actor": "agent:x",
    }
    with _client(two, two.strangers[who], "token") as client:
        for method, path, body in [
            ("POST", "/v1/apply", {"manifests": [manifest | {"metadata": {"name": "intruder", "workspace": FULL}}]}),
            ("POST", "/v1/apply", {"manifests": [depends]}),
            ("POST", "/v1/imports/events", [event]),
            ("POST", "/v1/tokens", {"name": "mine", "workspace": FULL}),
            ("POST", "/internal/v1/events", [event]),
        ]:
            answer = client.request(method, path, json=body)
            assert answer.status_code in (403, 404, 422), f"{path}: {answer.text}"
        made = client.post("/v1/people", json={"email": two.ids["email"], "roles": ["operator"]})
        assert made.json()["home"] is None, "an address alone does not make somebody the person of another workspace"
        link = client.post(f"/v1/people/{two.ids['email']}/login-link").json()
        login = httpx2.post(f"{two.console.url}/v1/login", json={"code": link["code"]}, trust_env=False)
        cookie = {"Cookie": f"{COOKIE}={login.cookies[COOKIE]}", "x-tenure-csrf": "1"}
        into = httpx2.post(f"{two.console.url}/v1/workspaces/{FULL}/enter", headers=cookie, trust_env=False)
        assert into.status_code == 404
        places = httpx2.get(f"{two.console.url}/v1/workspaces", headers=cookie, trust_env=False).json()["workspaces"]
        assert FULL not in [place["name"] for place in places]
        client.delete(f"/v1/people/{two.ids['email']}")
    assert two.kept() == before


def _pages() -> Iterator[tuple[str, str]]:
    found = set()
    for module in pkgutil.walk_packages(tenure.ui.__path__, "tenure.ui."):
        router = getattr(importlib.import_module(module.name), "router", None)
        if isinstance(router, APIRouter):
            found |= {(method, route.path) for route in router.routes for method in route.methods}  # type: ignore[attr-defined]  # every one is an APIRoute
    return iter(sorted(found))


@pytest.mark.parametrize("who", ["own", "other"])
def test_no_page_shows_or_changes_anything(two: Tenants, who: str) -> None:
    real, nowhere = _asked(two)
    before = two.kept()
    pages = [page for page in _pages() if page[1] != "/logout"]
    assert len(pages) > 20
    with _client(two, two.strangers[who], "cookie") as client:
        for method, path in pages:
            answers = []
            for ids in (real, nowhere):
                known = {"agent": ids["agent"], "session": ids["session"], "q": ids["agent"]}
                known |= {"scope": "agent", "name": ids["agent"]}
                query = known | {"resource": "files/read_file"} if method == "GET" else {}
                fields = _named(CONSOLE_FORMS.get(path, CONSOLE_FORM), ids)
                form = fields | {"agent": ids["agent"]} if method == "POST" else None
                answers.append(_alike(client.request(method, _fill(path, ids), params=query, data=form), ids))
            assert "{" not in path or answers[0] == answers[1], (method, path)
            assert MARK not in answers[0][1], (method, path)
            if "{" in path:
                # A page of an agent that is not there says so; the pages before a write only ask whether to do it.
                assert answers[0][0] in (200, 403, 404, 409, 422), (method, path, answers[0])
    assert two.kept() == before


def test_the_feed_tells_nothing(two: Tenants) -> None:
    hal = two.strangers["other"]
    mine = {"email": "late@heron.example", "roles": ["viewer"]}
    with _client(two, hal, "token") as client, client.stream("GET", "/v1/feed", params={"after": 0}) as feed:
        for line in feed.iter_lines():
            assert MARK not in line.replace(two.ids["email"], "")  # another test adds this address to its own people
            if line == ": listening":
                client.post("/v1/people", json=mine)
            if "late@heron.example" in line:
                break
        else:
            pytest.fail("the feed ended")


def test_a_program_of_an_agent_sees_its_own_workspace_only(two: Tenants) -> None:
    """An agent's token of the full workspace, shown with the ids of another one."""
    with httpx2.Client(
        base_url=two.console.url, headers={"Authorization": f"Bearer {two.ids['agent token']}"}, trust_env=False
    ) as client:
        for path in ("/v1/agents/otter", "/v1/agents/otter/instances", "/v1/agents"):
            assert "otter" not in client.get(path).text.replace("otter", "", 1)


def test_what_is_the_installations_is_not_for_a_workspace_to_change(two: Tenants) -> None:
    with _client(two, two.strangers["other"], "token") as client:
        for path, body in (("/v1/keys/rotate", None), ("/v1/workspaces", {"name": "third"})):
            assert client.post(path, json=body).json()["code"] == "not_permitted"


def test_every_id_of_the_full_workspace_is_told_to_who_belongs_there(two: Tenants) -> None:
    """The questions above are the right ones: who may ask them gets another answer."""
    document = two.console.app.openapi()
    answered = set()
    with _client(two, two.zoe, "token") as client:
        for path in document["paths"]:
            if "get" in document["paths"][path] and "{" in path and "watch" not in path:
                answer = client.get(_fill(path, dict(two.ids)))
                assert answer.status_code == 200, (path, answer.text)
                answered.add(path)
    assert len(answered) >= 8
    assert set(itertools.chain(two.strangers)) == {"own", "other"}
