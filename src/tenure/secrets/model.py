"""Secrets and their versions as values, and the seal that each is kept under. Pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tenure.base.bounds import Bounds
from tenure.base.sealing import wipe
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact, ServerFact, Upstream

NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
MAX_VALUE = 64 << 10
OVERLAP = timedelta(hours=1)
"""How long the version before is still believed, unless somebody says otherwise."""
MAX_OVERLAP = timedelta(days=30)
_NONCE_BYTES = 12
_TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of a workspace, but for its value. ``version`` is the current one, counted from 1; ``until``: how long
    the one before is believed, None when there is none. ``used_at``: when a gateway last sent it, None for never."""

    workspace: str
    name: str
    bounds: Bounds
    version: int
    created_at: datetime
    created_by: str
    changed_at: datetime
    changed_by: str
    until: datetime | None = None
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Connector:
    """An upstream at which each person lets agents in: its authorization server, what Tenure is called there
    (``client_secret`` names a secret, or is empty), and the ``hosts`` that people's tokens may be sent to."""

    workspace: str
    name: str
    authorize_url: str
    token_url: str
    client_id: str
    client_secret: str = ""
    scopes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    set_at: datetime | None = None
    set_by: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """How a person stands at an upstream: since when they let agents in, until when the token is good (None: it does
    not say), when to refresh it (None: cannot be), and why it serves no longer (``problem``, else empty)."""

    workspace: str
    connector: str
    email: str
    version: int
    connected_at: datetime
    refreshed_at: datetime | None = None
    expires_at: datetime | None = None
    refresh_at: datetime | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """The name that the access token is kept under."""
        return f"{self.connector}/{self.email}"

    @property
    def refresh_name(self) -> str:
        """The name that the refresh token is kept under, which no gateway is told."""
        return f"{self.name}/refresh"


@dataclass(frozen=True, slots=True)
class Ending:
    """Tokens that nobody is let in by any more, and that an upstream is still to revoke; how often it was asked, and
    when it is asked next. What is needed for that is kept here: the connector may be gone."""

    id: str
    workspace: str
    connector: str
    email: str
    authorize_url: str
    token_url: str
    client_id: str
    client_secret: str
    attempts: int
    due_at: datetime

    @property
    def name(self) -> str:
        """The name that the tokens are kept under."""
        return f"ending/{self.id}"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value as it is kept: encrypted with a data key of its own, which is wrapped by the key ``kek`` names."""

    kek: str
    wrapped: str
    nonce: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class Use:
    """What an agent's manifest wants with a secret: to ``send`` it to an address, or to ``start`` a command with it.
    ``where`` is the field of the manifest that says so."""

    secret: str
    agent: str
    where: str
    send: str = ""
    start: tuple[str, ...] = ()

    def fits(self, bounds: Bounds) -> bool:
        """Whether the secret may go there."""
        return bounds.send_to(self.send) if self.send else bounds.hand_to(self.start)

    @property
    def place(self) -> str:
        """Where it would go, in words."""
        return self.send or " ".join(self.start)


def check_name(name: str) -> str:
    """Raises Refused unless it can name a secret."""
    if not re.fullmatch(NAME, name):
        text = f"{name[:100]!r} cannot be a name here."
        raise Refused("bad_name", text, fix="Use lower-case letters, digits and inner hyphens, at most 63.", status=422)
    return name


def check_value(value: str) -> bytearray:
    """The bytes of a value. Raises Refused for one that is empty, too long, or holds what no header or environment can
    carry; the refusal does not repeat it."""
    data = bytearray(value, "utf-8", "surrogatepass")
    problem = ""
    if not value.strip():
        problem = "is empty"
    elif len(data) > MAX_VALUE:
        problem = f"is longer than {MAX_VALUE} bytes"
    elif any(char < " " and char not in "\t\r\n" for char in value) or any("\ud800" <= c <= "\udfff" for c in value):
        problem = "holds control characters or broken Unicode"
    if problem:
        raise Refused("bad_value", f"The value {problem}.", fix="Send the credential as text.", status=422)
    return data


def _about(workspace: str, name: str, version: int) -> bytes:
    return f"{workspace}\n{name}\n{version}".encode()


def seal(value: bytes | bytearray, key: bytes | bytearray, about: tuple[str, str, int]) -> tuple[bytes, bytes]:
    """(nonce, ciphertext) of a value under a data key that seals nothing else, for this workspace, name and version
    only (AES-256-GCM)."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce, AESGCM(key).encrypt(nonce, value, _about(*about))


def opened(sealed: Sealed, key: bytes | bytearray, about: tuple[str, str, int]) -> bytearray:
    """What ``seal`` was given; wipe it after use. Raises Failed for what was changed or is of another secret."""
    value = bytearray(len(sealed.ciphertext) - _TAG_BYTES)
    try:
        AESGCM(key).decrypt_into(sealed.nonce, sealed.ciphertext, _about(*about), value)
    except (InvalidTag, ValueError):
        wipe(value)
        raise Failed("secret_damaged", f"What is kept of the secret {about[1]} was changed.") from None
    return value


def uses(agent: AgentFact) -> list[Use]:
    """Every secret that an agent's models and servers name."""
    return _named(agent, lambda place: place.credential_secret, lambda server: server.env_secrets.values())


def uses_of_others(agent: str, manifest: JsonObject) -> list[Use]:
    """The secret that a manifest names for those who call the agent, for each of its addresses."""
    served = manifest["spec"].get("a2a", {})
    secret = served.get("credential_secret", "")
    return [Use(secret, agent, "a2a", send=served[name]) for name in ("url", "rest_url") if secret and name in served]


def variables_of(agent: AgentFact) -> list[Use]:
    """Every variable of the gateway's environment that an agent's models and servers name, as ``uses``."""
    return _named(agent, lambda place: place.credential_env, lambda server: server.env_from)


def _named(
    agent: AgentFact,
    sent: Callable[[Upstream | ServerFact], str | None],
    started_with: Callable[[ServerFact], Iterable[str]],
) -> list[Use]:
    """The uses of what is ``sent`` to an agent's models and servers, and of what its servers are ``started_with``."""
    found = [
        Use(name, agent.name, f"model {model.asked}", send=model.upstream.base_url)
        for model in agent.models
        if (name := sent(model.upstream))
    ]
    for server in agent.servers:
        if server.url and (name := sent(server)):
            found.append(Use(name, agent.name, f"server {server.name}", send=server.url))
        found += [Use(name, agent.name, f"server {server.name}", start=server.command) for name in started_with(server)]
    return found
