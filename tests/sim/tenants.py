"""One installation with three workspaces: its own, one that is full of everything, and one that looks at it.

All that belongs to the full one has MARK in its name, so that a trace of it anywhere else can be told.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import msgspec
import sqlalchemy as sa
from joserfc.jwk import ECKey

from tenure.alerts import store as alerts_store
from tenure.alerts.model import Alert, Severity
from tenure.app.server import COOKIE
from tenure.base.clock import system_clock
from tenure.base.db import metadata
from tenure.base.room import World
from tenure.client import Client
from tenure.identity import account_store
from tenure.identity.model import Passkey
from tenure.kernel.ids import new_id, session_trace, stable_id
from tenure.kernel.json import digest
from tenure.kernel.values import Event
from tenure.notify import store as notify_store
from tenure.notify.model import Delivery
from tenure.notify.model import State as DeliveryState
from tenure.precedents import store as precedent_store
from tenure.precedents.model import Precedent
from tenure.precedents.model import State as PrecedentState
from tests.sim.console import TOOLS, Console, held, refused, running, tripped
from tests.sim.manifests import manifest
from tests.sim.telemetry import chat, tool_call

MARK = "zebra"
FULL, OTHER, OWN = "zebra-works", "heron-works", "default"
_SERVERS = {"files": {"command": ["files"]}, "payments": {"command": ["payments"]}}


@dataclass(frozen=True)
class Insider:
    """Somebody who has every role in a workspace: a browser's cookie and a program's token."""

    workspace: str
    email: str
    cookie: str
    token: str


@dataclass(frozen=True)
class Tenants:
    """The running installation. ``ids``: what can be named in the full workspace, by what it is; ``strangers``: those
    who have every role elsewhere."""

    console: Console
    ids: Mapping[str, str]
    zoe: Insider
    strangers: Mapping[str, Insider]

    def kept(self) -> dict[str, list[str]]:
        """Every row of the full workspace, and every span of it."""
        world: World = self.console.app.state.world
        with world.read() as conn:
            found = {
                table.name: sorted(map(repr, conn.execute(_of_the_full_one(table))))
                for table in metadata.sorted_tables
                if "workspace" in table.c
            }
        with Client(self.console.url, self.zoe.token) as client:
            found["told"] = [repr(one) for one in client.get("/v1/events", dict, limit=1000, content="false")["events"]]
        return found


_PATIENCE_S = 60


_MOVING = {"export_destination": ("cursor", "tries", "problem", "next_at", "last_at", "sent", "dropped")}
"""Columns that change by themselves: how far an export has come."""


def _of_the_full_one(table: sa.Table) -> sa.Select[Any]:
    """Every row of the full workspace, but for when its credentials were last used, because looking here uses one, and
    for the installation's key that its secrets are wrapped by."""
    moving = {"last_used_at", "seen_at", "kek", "wrapped", *_MOVING.get(table.name, ())}
    columns = [column for column in table.c if column.name not in moving]
    return sa.select(*columns).where(table.c.workspace == FULL)


def body_of(name: str) -> dict[str, Any]:
    """A manifest with tools."""
    waits = {"hold_timeout_s": 86_400}  # on a slow machine, too, nothing expires while these tests run
    return manifest(name, "http://127.0.0.1:9/v1", servers=_SERVERS, tools=TOOLS, approvals=waits)


def _insider(console: Console, workspace: str, email: str, code: str) -> Insider:
    answer = httpx2.post(f"{console.url}/v1/login", json={"code": code}, trust_env=False, timeout=_PATIENCE_S)
    assert answer.status_code == 200, answer.text
    cookie = str(answer.cookies[COOKIE])
    headers = {"Cookie": f"{COOKIE}={cookie}", "x-tenure-csrf": "1"}
    made = httpx2.post(
        f"{console.url}/v1/tokens", json={"name": "shell"}, headers=headers, trust_env=False, timeout=_PATIENCE_S
    )
    return Insider(workspace, email, cookie, made.json()["token"])


def _founded(console: Console, workspace: str, email: str) -> Insider:
    """A workspace whose only person is ``email``: whoever made it is gone from it."""
    console.client.post("/v1/workspaces", dict, {"name": workspace})
    made = console.client.post("/v1/tokens", dict, {"name": workspace, "workspace": workspace})
    with Client(console.url, made["token"]) as maker:
        maker.post("/v1/people", dict, {"email": email, "roles": ["owner", "operator", "approver", "auditor"]})
        link = maker.post(f"/v1/people/{email}/login-link", dict)
    found = _insider(console, workspace, email, link["code"])
    with Client(console.url, found.token) as client:
        client.request("DELETE", "/v1/people/operator@localhost", dict)
    return found


def until(found: Callable[[], Any]) -> Any:
    """As soon as it is true; the background work of the control plane is what is waited for."""
    flag = threading.Event()
    for _ in range(2400):
        if result := found():
            return result
        flag.wait(0.05)
    raise AssertionError("did not happen in time")


def _fill(console: Console, zoe: Insider, policies: Path) -> dict[str, str]:
    """Something of everything in the full workspace; returns what can be named."""
    agent, session = f"{MARK}-clerk", f"{MARK}-session"
    trace, _ = session_trace("default", session)  # as ``tests.sim.telemetry`` names it
    policies.mkdir(parents=True, exist_ok=True)
    (policies / f"{MARK}.cedar").write_text(f'@id("{MARK}") permit(principal, action, resource);\n')
    with Client(console.url, zoe.token) as client:
        loaded = client.post("/v1/policies/reload", dict)
        client.put(f"/v1/agents/{agent}", dict, body_of(agent))
        reason = f"{MARK} asks"
        client.post(f"/v1/agents/{agent}/transitions", dict, {"to": "approved", "reason": reason})
        until(lambda: client.get(f"/v1/agents/{agent}", dict)["state"] == "provisioned")
        client.post(f"/v1/agents/{agent}/transitions", dict, {"to": "staging", "reason": reason})
        changed = body_of(agent)
        changed["spec"]["instructions"] = f"Do what the {MARK} says."
        pending = client.put(f"/v1/agents/{agent}", dict, changed)["agent"]["pending_release"]
        instance = client.post(f"/v1/agents/{agent}/instances", dict, {"on_behalf_of": zoe.email})
        client.post(f"/v1/instances/{instance['instance']}/end", dict)  # else it would be given up for lost some time
        now = system_clock() - timedelta(seconds=30)
        kept: Mapping[str, Any] = {"agent": agent, "session": session, "workspace": FULL}
        wait = held(now, {"invoice": MARK, "amount_cents": 5}, **kept)
        call = tool_call(now, f"files/{MARK}", **kept)
        duty = {"tenure.decision": {"effect": "allow", "reason": MARK, "policies": [MARK], "obligations": ["notify"]}}
        release = client.get(f"/v1/agents/{agent}", dict)["release"]
        approved = tool_call(now, "payments/refund", data={"tenure.approval.id": MARK}, **kept, release=release)
        flagged = tool_call(now, "files/read_file", data=duty, **kept)
        given = {"invoice": MARK}
        principal = {"workspace": FULL, "agent": agent, "release": release, "instance": MARK, "session": session}
        told = {"digest": digest(given), "arguments": given, "principal": {**principal, "credential_epoch": 0}}
        left = {"tenure.mode": "offer", "tenure.draft": told}
        drafted = tool_call(now, "payments/refund", type="call.refused", data=left, **kept)
        for event in (
            chat(now, **kept),
            replace(drafted, id=f"{MARK}-draft"),
            call,
            flagged,
            approved,
            refused(now, **kept),
            wait,
            tripped(now, agent),
        ):
            console.send(replace(event, workspace=FULL, session=session, agent=agent))
        outcome = Event(
            id=stable_id(MARK),
            type="import.outcome",
            time=now,
            workspace=FULL,
            actor=f"agent:{agent}",
            agent=agent,
            session=session,
            data={"tenure.source": f"{MARK}-bench", "tenure.task": "t", "tenure.trial": 0, "tenure.success": True},
        )
        client.post("/v1/imports/events", dict, [msgspec.to_builtins(outcome)])
        client.post("/v1/people", dict, {"email": f"ann@{MARK}.example", "roles": ["viewer"]})
        client.put(f"/v1/secrets/{MARK}-secret", dict, {"value": MARK, "hosts": [f"{MARK}.example"]})
        place = f"https://{MARK}.example"
        told = {"authorize_url": place, "token_url": place, "client_id": MARK, "hosts": [f"{MARK}.example"]}
        client.put(f"/v1/connectors/{MARK}-crm", dict, told)
        client.post("/v1/services", dict, {"name": f"{MARK}-ci", "roles": ["viewer"]})
        key = client.post(f"/v1/services/{MARK}-ci/keys", dict, {"name": "ci", "scopes": ["agents:read"]})
        public = ECKey.generate_key("P-256").as_dict(private=False)
        agent_key = client.post(f"/v1/agents/{agent}/keys", dict, {"jwk": public, "name": MARK})
        program, login = _let_in(console, client, agent)
        client.put("/v1/autonomy", dict, {"level": "autonomous", "reason": f"{MARK} goes on"})
        cap = {"of": "calls", "amount": 10**6, "per": "day", "only": "", "reason": f"{MARK} must not run away"}
        client.put(f"/v1/limits/{MARK}-cap", dict, cap)
        handed = {"to": zoe.email, "agents": [agent], "note": MARK}
        offer = client.post("/v1/handovers", list[dict[str, Any]], handed)[0]["id"]
        signing = "whsec_" + base64.b64encode(MARK.encode() * 8).decode()
        client.put(f"/v1/secrets/{MARK}-sign", dict, {"value": signing, "hosts": [f"{MARK}.example"]})
        hook = {"kind": "webhook", "url": f"https://{MARK}.example/", "secret": f"{MARK}-sign", "topics": ["record"]}
        client.put(f"/v1/notify/destinations/{MARK}-hook", dict, hook)
        client.put(f"/v1/exports/{MARK}-export", dict, {"kind": "otlp", "url": "http://127.0.0.1:9"})
        client.put(f"/v1/alerts/rules/{MARK}-alarm", dict, {"measure": "cost", "way": "above", "bound": 1})
        message = hashlib.sha256(f"{MARK}-message".encode()).hexdigest()[:32]
        with console.app.state.world.begin() as conn:
            body = {"lines": [MARK], "path": "/", "data": {}}
            about = (message, FULL, f"{MARK}-hook", "", "record", "gateway.dropped", agent, "", "", MARK, body)
            alarm = (
                hashlib.sha256(f"{MARK}-alert".encode()).hexdigest()[:32],
                FULL,
                f"{MARK}-alarm",
                agent,
                Severity.WARNING,
                MARK,
                1.0,
                now,
                now,
            )
            alerts_store.save(conn, Alert(*alarm, over_at=now, note=MARK))
            notify_store.add(conn, Delivery(*about, created_at=now, state=DeliveryState.DEAD, problem=MARK))
        until_then = (system_clock() + timedelta(days=1)).isoformat()
        away = {"stand_in": f"ann@{MARK}.example", "ends_at": until_then, "reason": f"{MARK} is away"}
        stand_in = client.post("/v1/approvals/stand-ins", dict, away)["id"]
        steps = [{"after_s": 0, "ask": [f"ann@{MARK}.example"]}]
        climbing = {"steps": steps, "deadline_s": 600, "tools": [f"{MARK}/*"], "reason": MARK}
        client.put(f"/v1/approvals/ladders/{MARK}-ladder", dict, climbing)
        scim = client.post("/scim/v2/Users", dict, {"userName": f"ivo@{MARK}.example"})["id"]
        card = {"name": MARK, "description": MARK, "url": f"http://{MARK}.example/", "protocolVersion": "0.3.0"}
        trusted = {"agent": agent, "issuer": f"https://{MARK}.example", "subject": MARK}
        client.put(f"/v1/trust/{MARK}-rule", dict, trusted)
        shadow = {"channel": "source", "name": f"{MARK}-shadow", "where": MARK, "what": MARK, "signs": ["builds-agent"]}
        seen = {"sightings": [shadow | {"marks": [f"name:{MARK}-shadow"], "hints": {"client": f"{MARK}-shadow"}}]}
        finding = client.post("/v1/discovery/sightings", dict, seen)["found"][0]["id"]
        external = client.post("/v1/external-agents", dict, {"card": card, "name": f"{MARK}-elsewhere"})["name"]
        headers = {"Cookie": f"{COOKIE}={zoe.cookie}"}
        own = httpx2.get(f"{console.url}/v1/account", headers=headers, trust_env=False, timeout=_PATIENCE_S).json()
        passkey = hashlib.sha256(MARK.encode()).hexdigest()
        with console.app.state.world.begin() as conn:
            kept_key = Passkey(passkey, FULL, zoe.email, MARK, "", 0, system_clock())
            account_store.add_passkey(conn, kept_key)
            precedent_store.insert(conn, _precedent(agent, zoe))
        token = client.get("/v1/tokens", dict)["tokens"][0]["id"]
        until(lambda: client.get("/v1/approvals", list))
        until(lambda: client.get("/v1/drafts", list))
        until(lambda: client.get("/v1/notices", list))
        until(lambda: _drawn(client, "tool:files/delete_file"))  # the last that an edge comes of
        until(lambda: client.get("/v1/autonomy/earned", list))
        until(lambda: [one for one in client.get("/v1/breakers", list) if one["tripped"]])
        until(lambda: any(e["type"] == "breaker.tripped" for e in client.get("/v1/audit", dict)["entries"]))
        approval = client.get("/v1/approvals", list)[0]["id"]
        session_id = next(iter(client.get("/v1/sessions", dict)["sessions"]))
        files = [{"name": f"{MARK}.cedar", "text": f'@id("{MARK}") permit(principal, action, resource);'}]
        fork = client.post(f"/v1/traces/{trace}/forks", dict, {"step": 1, "policy": files})["id"]
        until(lambda: client.get(f"/v1/forks/{fork}", dict)["state"] != "running")
    assert session_id
    return {
        "agent": agent,
        "approval": approval,
        "draft": f"{MARK}-draft",
        "call": call.id,
        "digest": pending,
        "email": zoe.email,
        "external": external,
        "finding": finding,
        "fork": fork,
        "rule": f"{MARK}-rule",
        "instance": instance["instance"],
        "agent token": instance["token"],
        "issuer": f"{MARK}-issuer",
        "key": key["id"],
        "login": login,
        "program": program,
        "limit": f"{MARK}-cap",
        "offer": offer,
        "directory user": scim,
        "destination": f"{MARK}-hook",
        "export": f"{MARK}-export",
        "delivery": message,
        "alert": alarm[0],
        "alarm": f"{MARK}-alarm",
        "passkey": passkey,
        "stand-in": stand_in,
        "ladder": f"{MARK}-ladder",
        "precedent": MARK,
        "thumbprint": agent_key["thumbprint"],
        "secret": f"{MARK}-secret",
        "connector": f"{MARK}-crm",
        "service": f"{MARK}-ci",
        "session id": own["sessions"][0]["id"],
        "session": session,
        "token": token,
        "trace": trace,
        "version": loaded["version"],
        "workspace": FULL,
    }


def _drawn(client: Client, target: str) -> bool:
    """Whether the graph has taken in a call of it."""
    return any(one["target"] == target and one["calls"] for one in client.get("/v1/graph", dict)["edges"])


def _precedent(agent: str, by: Insider) -> Precedent:
    """A rule that waits for somebody to publish it."""
    now = system_clock()
    terms = {"up_to": {}, "free": [], "days": 1, "lifts": [MARK]}
    cedar = f'@id("precedent/{MARK}") permit(principal, action, resource == Tool::"files/{MARK}");'
    tests = '{"tests": [{"name": "t", "tool": "files/read_file", "expect": "allow"}]}'
    return Precedent(
        MARK, FULL, MARK, agent, f"files/{MARK}", terms, cedar, tests, PrecedentState.PROPOSED,
        f"person:{by.email}", now, MARK, now + timedelta(days=1),
    )  # fmt: skip


def _let_in(console: Console, client: Client, agent: str) -> tuple[str, str]:
    """(a program of the workspace, the login that its person allowed it)."""
    back = f"https://{MARK}.example/cb"
    program = client.post("/v1/programs", dict, {"name": MARK, "redirects": [back]})["id"]
    verifier = "v" * 64
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    asked = {"response_type": "code", "client_id": program, "redirect_uri": back, "code_challenge": challenge}
    asked |= {"code_challenge_method": "S256", "resource": f"{console.app.state.world.config.gateway_url}/mcp"}
    body = {"request": urlencode(asked), "allow": True, "agent": agent, "scopes": ["tool:*"]}
    location = client.post("/v1/oauth/answer", dict, body)["location"]
    code = parse_qs(urlsplit(location).query)["code"][0]
    form = {"grant_type": "authorization_code", "client_id": program, "code": code, "code_verifier": verifier}
    httpx2.post(f"{console.url}/oauth/token", data=form, trust_env=False).raise_for_status()
    return program, client.get("/v1/logins", dict)["logins"][0]["id"]


@contextmanager
def tenants(folder: Path) -> Iterator[Tenants]:
    """A control plane with its data in ``folder``."""
    with running(folder) as console:
        own = _insider(console, OWN, "operator@localhost", console.login_code)
        zoe = _founded(console, FULL, f"zoe@{MARK}.example")
        hal = _founded(console, OTHER, "hal@heron.example")
        ids = _fill(console, zoe, folder / "policies" / FULL)
        world: World = console.app.state.world
        with world.begin() as tx:  # nobody tends the instance, and nothing may change by itself while we look
            tx.execute(sa.update(metadata.tables["instance"]).values(heartbeat_at=system_clock() + timedelta(days=1)))
        for stranger in (own, hal):
            with Client(console.url, stranger.token) as client:
                client.put("/v1/agents/otter", dict, body_of("otter"))
        yield Tenants(console, ids, zoe, {"own": own, "other": hal})


def twin(value: str) -> str:
    """Another name of the same shape, which nothing has."""
    if value.startswith("sha256:"):
        return "sha256:" + hashlib.sha256(value.encode()).hexdigest()
    if len(value) == 64:
        return hashlib.sha256(value.encode()).hexdigest()
    if len(value) == 32 and "-" not in value:
        return new_id()
    return value.replace(MARK, "quail")
