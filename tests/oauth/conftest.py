"""An agent in staging with a registered key, and what it may send to the token endpoint."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import warnings
from dataclasses import dataclass, field
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from tenure.base import events
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, LifecycleState, Role
from tenure.oauth import service
from tenure.oauth.model import ASSERTION_TYPE, Answer, ClientKey, Form
from tenure.oauth.service import Knock
from tenure.registry import service as registry
from tests.sim.manifests import manifest

ANYBODY = Actor("default", "person:root@example.com", frozenset(Role))
S = LifecycleState
Key = ECKey | OKPKey | RSAKey | OctKey


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(claims: dict[str, Any] | bytes, key: Key, **header: Any) -> str:
    """A compact JWS of anything, by any key; a header of None is left out."""
    head = {name: value for name, value in header.items() if value is not None}
    registry_ = jws.JWSRegistry(algorithms=[head["alg"]], strict_check_header=False)
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of what this is to be tried with
        return jws.serialize_compact(head, payload, key, registry=registry_)


def by_hand(header: dict[str, Any], claims: dict[str, Any], secret: bytes | None = None) -> str:
    """A JWS that no library would make: with no signature, or with HMAC under ``secret``."""
    head = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    mac = hmac.new(secret, head.encode(), hashlib.sha256).digest() if secret is not None else b""
    return f"{head}.{b64(mac)}"


@dataclass
class Clerk:
    """The agent ``clerk`` outside: its key pair and what it sends."""

    world: World
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", auto_kid=True))
    client_id: str = "spiffe://tenure/default/agent/clerk"
    registered: ClientKey | None = None

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a true assertion with some changed; a change to ... takes one away."""
        now = int(self.world.clock().timestamp())
        true = {"iss": self.client_id, "sub": self.client_id, "aud": self.endpoint, "iat": now, "exp": now + 60}
        return {name: value for name, value in (true | {"jti": new_id()} | changes).items() if value is not ...}

    @property
    def endpoint(self) -> str:
        """The token endpoint, as the metadata have it."""
        return str(service.metadata(self.world.config)["token_endpoint"])

    def assertion(self, **changes: Any) -> str:
        """A true assertion but for ``changes`` of its claims."""
        return signed(self.claims(**changes), self.key, alg="ES256", kid=self.key.kid)

    def form(self, assertion: str, **more: str) -> Form:
        """A request for a token of its own."""
        fields = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        return Form(tuple((fields | more).items()))

    def ask(self, assertion: str | None = None, *, proof: str = "", address: str = "10.0.0.1", **more: str) -> Answer:
        """Asks for a token."""
        sent = self.assertion() if assertion is None else assertion
        return service.token(self.world, self.form(sent, **more), Knock(proof=proof, address=address))

    def proof(self, key: ECKey, *, url: str = "", method: str = "POST", header: Any = None, **changes: Any) -> str:
        """A DPoP proof of ``key`` but for ``changes`` of its claims."""
        now = int(self.world.clock().timestamp())
        true = {"jti": new_id(), "htm": method, "htu": url or self.endpoint, "iat": now}
        claims = {name: value for name, value in (true | changes).items() if value is not ...}
        head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)} | (header or {})
        return signed(claims, key, **head)

    def told(self, kind: str) -> list[Event]:
        """The Events of one type, in order."""
        with self.world.read() as conn:
            return [logged.event for logged in events.read(conn, 0) if logged.event.type == kind]


def employ(world: World, name: str) -> None:
    """An agent in staging."""
    registry.apply(world, ANYBODY, manifest(name, "http://127.0.0.1:1/v1"))
    for state in (S.APPROVED, S.CREATED, S.PROVISIONED, S.STAGING):
        registry.transition(world, ANYBODY, name, state, "a test")


@pytest.fixture
def clerk(world: World) -> Clerk:
    """It has one key, which is registered."""
    identity.bootstrap(world)
    employ(world, "clerk")
    clerk = Clerk(world)
    clerk.registered = service.add_key(world, ANYBODY, "clerk", clerk.key.as_dict(private=False), name="laptop")
    return clerk
