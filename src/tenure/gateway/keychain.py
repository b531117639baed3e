"""The credentials of upstreams, in memory only, and where each may go.

Values come sealed with the facts and are attached when the bytes go out. Where a credential may go is worked out once
for each address; from then on a call reads a dict.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tenure.base import log
from tenure.base.bounds import Bounds
from tenure.gateway.wire import Reply, UpstreamError
from tenure.kernel.snapshot import SecretFact, ServerFact

_log = log.get("gateway")
_UNKNOWN_KEY = frozenset({401, 403})
"""How an upstream says that it does not know a credential; it has not acted then."""
_AGAIN = 2
_KEPT = 10_000  # places worked out; far more than manifests name


@dataclass(frozen=True, slots=True)
class Credential:
    """What is sent. ``before`` is the value that it replaced while that is still believed, else empty: an upstream that
    does not know the new one yet is asked again with it. ``key`` names it for the record."""

    value: str
    before: str = ""
    key: str = ""

    def __repr__(self) -> str:
        return f"Credential({self.key})"


class NoCredentialError(UpstreamError):
    """A credential that is not at hand, or may not go where it is wanted; nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__("no_credential", message)


async def sent(
    send: Callable[..., Awaitable[Reply]],
    headers: Iterable[tuple[str, str]],
    present: Callable[[], Credential | None],
    name: str = "authorization",
    prefix: str = "Bearer ",
) -> Reply:
    """What ``send`` replies to ``headers`` and the ``present`` credential in the header ``name``. While a value is
    being replaced, an upstream that does not know it is asked again: with the one before, or with the one that has come
    since, and with the new one once more, because the upstream may change its mind between two questions."""
    credential = present()
    if credential is None:
        return await send(list(headers))
    shown = credential.value
    reply = await send([*headers, (name, prefix + shown)])
    for _ in range(_AGAIN):
        if reply.status not in _UNKNOWN_KEY or not (other := _other(shown, present)):
            break
        reply.close()
        shown = other
        reply = await send([*headers, (name, prefix + shown)])
    return reply


def _other(shown: str, present: Callable[[], Credential | None]) -> str:
    """Another value that the upstream may know; empty when there is none."""
    try:
        now = present()
    except NoCredentialError:
        return ""
    if now is None:
        return ""
    return now.value if now.value != shown else now.before


class Keychain:
    """``variables``: where each variable of ``environ`` may go. Keys are ``<workspace>/<secret>`` and
    ``<workspace>/<connector>/<address>``."""

    def __init__(self, variables: Mapping[str, Bounds], environ: Mapping[str, str] = os.environ) -> None:
        self._variables = variables
        self._environ = {name: environ[name].strip() for name in variables if name in environ}
        self._facts: Mapping[str, SecretFact] = {}
        self._values: dict[str, str] = {}
        self._ready: dict[tuple[str, str], Credential] = {}
        self._used: set[str] = set()

    def take(self, facts: Mapping[str, SecretFact], values: Mapping[str, str]) -> None:
        """New facts and the values that came with them, by mark. Values that no fact names any more are dropped."""
        if facts is self._facts and not values:
            return
        named = {mark for fact in facts.values() for mark in (fact.mark, fact.previous) if mark}
        self._values = {mark: value for mark, value in {**self._values, **values}.items() if mark in named}
        self._facts = facts
        self._ready.clear()

    def mark(self, key: str) -> str:
        """What nothing but the current version of a secret has; empty for one that is not known here."""
        fact = self._facts.get(key)
        return fact.mark if fact is not None else ""

    def to_send(self, workspace: str, secret: str, variable: str | None, url: str) -> Credential | None:
        """What goes to ``url``: the workspace's secret, else the variable; None where neither is named or the variable
        is not set. Raises NoCredentialError."""
        if not secret and not variable:
            return None
        key = f"{workspace}/{secret}" if secret else variable or ""
        found = self._ready.get((key, url))
        if found is not None:
            self._used.add(key)
            return found
        bounds = self._bounds(key, secret)
        if not bounds.send_to(url):
            raise NoCredentialError(f"{_named(secret, key)} may not be sent to {url}")
        if not secret and key not in self._environ:
            _log.warning("upstream_key_missing", variable=variable)
            return None
        return self._keep((key, url), self._credential(key, secret))

    def of_person(self, workspace: str, connector: str, person: str, url: str) -> Credential | None:
        """The token by which a person has let agents in at ``url``; None when they have not.

        Raises NoCredentialError."""
        key = f"{workspace}/{connector}/{person}"
        fact = self._facts.get(key)
        if fact is None:
            return None
        found = self._ready.get((key, url))
        if found is not None:
            self._used.add(key)
            return found
        if not Bounds(fact.hosts).send_to(url):
            raise NoCredentialError(f"the token of the connector {connector} may not be sent to {url}")
        return self._keep((key, url), self._credential(key, connector))

    def environment(self, workspace: str, fact: ServerFact) -> dict[str, str]:
        """The variables and secrets that a command is started with. Raises NoCredentialError."""
        found = {}
        for name in fact.env_from:
            if not self._bounds(name, "").hand_to(fact.command):
                raise NoCredentialError(f"{_named('', name)} may not be handed to {_words(fact.command)}")
            if name in self._environ:
                found[name] = self._environ[name]
        for name, secret in fact.env_secrets.items():
            key = f"{workspace}/{secret}"
            if not self._bounds(key, secret).hand_to(fact.command):
                raise NoCredentialError(f"{_named(secret, key)} may not be handed to {_words(fact.command)}")
            found[name] = self._credential(key, secret, header=False).value
            self._used.add(key)
        return found

    def marks(self, workspace: str, secrets: Iterable[str]) -> tuple[str, ...]:
        """What changes when one of these secrets has another value."""
        return tuple(self.mark(f"{workspace}/{secret}") for secret in secrets)

    def taken(self) -> set[str]:
        """The keys of what was sent since this was asked last, but for variables."""
        used, self._used = self._used, set()
        return {key for key in used if "/" in key}

    def _bounds(self, key: str, secret: str) -> Bounds:
        if not secret:
            return self._variables.get(key, Bounds())
        fact = self._facts.get(key)
        if fact is None:
            raise NoCredentialError(f"there is no secret {secret}")
        return Bounds(fact.hosts, fact.programs)

    def _credential(self, key: str, secret: str, *, header: bool = True) -> Credential:
        if not secret:
            value, before = self._environ[key], ""
        else:
            fact = self._facts[key]
            value, before = self._values.get(fact.mark, ""), self._values.get(fact.previous, "")
            value, before = (value, before) if value else (before, "")
            if not value:
                raise NoCredentialError(f"the secret {secret} is not at hand; the control plane cannot open it now")
        if header and not (value.isprintable() and value.isascii()):
            raise NoCredentialError(f"{_named(secret, key)} holds what no header can carry")
        return Credential(value, before if not header or (before.isprintable() and before.isascii()) else "", key)

    def _keep(self, at: tuple[str, str], credential: Credential) -> Credential:
        if len(self._ready) >= _KEPT:
            self._ready.clear()
        self._ready[at] = credential
        self._used.add(at[0])
        return credential


def _named(secret: str, key: str) -> str:
    return f"the secret {secret}" if secret else f"the variable {key}"


def _words(command: Sequence[str]) -> str:
    return " ".join(command)[:200]
