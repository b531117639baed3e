"""Keys that wrap data keys: from a file of the data folder, from the environment, or of a transit engine (OpenBao or
Vault), which never gives its key away."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx2
import msgspec
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from tenure.base import files
from tenure.base.config import Config
from tenure.base.sealing import KEY_BYTES
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id

_VERSION_S = 60.0  # how long the newest version of a transit key is believed without asking
_TRANSIT_S = 5
_TROUBLE = (httpx2.HTTPError, httpx2.InvalidURL, OSError, LookupError, TypeError, ValueError)
_versions: dict[str, tuple[float, int]] = {}


class _Kept(msgspec.Struct, frozen=True):
    id: str
    key: str


class Keys(Protocol):
    """What wraps and unwraps data keys. Its calls raise Failed when the key cannot be had."""

    source: str

    def current(self) -> str:
        """The name of the key that wraps now."""

    def known(self, kek: str) -> bool:
        """Whether the key of this name still unwraps."""

    def wrap(self, keys: Sequence[bytes | bytearray]) -> tuple[str, list[str]]:
        """The name of the key that wrapped them, and each of them wrapped."""

    def unwrap(self, wrapped: Sequence[tuple[str, str]]) -> list[bytearray]:
        """The data keys, of (name of the key, wrapped): ``wipe`` them after use."""


def keys_of(config: Config, environ: Mapping[str, str] = os.environ) -> Keys:
    """The keys that TENURE_SECRETS_KEY means. Raises Refused for a variable that holds none."""
    kind, _, rest = config.secrets_key.partition(":")
    if kind == "transit":
        mount, _, name = rest.rpartition("/")
        return TransitKeys(mount, name, environ)
    return LocalKeys(rest, _of_variable(rest, environ)) if kind == "env" else LocalKeys("file", _of_file(config))


# -- a file, or a variable
def _path(config: Config) -> Path:
    return config.data_dir / "keys" / "secrets.json"


def _of_file(config: Config) -> list[_Kept]:
    try:
        return msgspec.json.decode(_path(config).read_bytes(), type=list[_Kept])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise Failed("secrets_key_unreadable", "The key of the secrets in the data folder cannot be read.") from error


def _fresh() -> _Kept:
    return _Kept(new_id(), base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())


def ensure(config: Config) -> None:
    """Makes the first key of the file, unless there is one or it is not what keeps the secrets."""
    if config.secrets_key == "file":
        files.private_folder(_path(config).parent)
        files.create(_path(config), msgspec.json.encode([_fresh()]))


def renew(config: Config) -> str:
    """Wraps with a new key from now on, and says its name; older ones still unwrap. To be called alone.

    Raises Refused for a key of the environment: whoever sets the variable puts the new key before the old one."""
    keys = keys_of(config)
    if isinstance(keys, TransitKeys):
        return keys.renew()
    if config.secrets_key != "file":
        raise Refused(
            "key_elsewhere",
            f"The key of the secrets comes from {config.secrets_key.removeprefix('env:')}.",
            fix="Set it to the new key, a comma and the old one, and start Tenure again.",
            status=409,
        )
    fresh = _fresh()
    files.replace(_path(config), msgspec.json.encode([*_of_file(config), fresh]))
    return fresh.id


def has_old(config: Config, needed: frozenset[str]) -> bool:
    """Whether the file holds keys that ``forget`` would drop."""
    return config.secrets_key == "file" and any(key.id not in needed for key in _of_file(config)[:-1])


def forget(config: Config, needed: frozenset[str]) -> bool:
    """Drops keys of the file that wrap nothing any more, but for the newest. To be called alone."""
    if config.secrets_key != "file":
        return False
    kept = _of_file(config)
    left = [key for key in kept[:-1] if key.id in needed] + kept[-1:]
    if left == kept:
        return False
    files.replace(_path(config), msgspec.json.encode(left))
    return True


def _of_variable(variable: str, environ: Mapping[str, str]) -> list[_Kept]:
    """The keys of a variable: base64 of 32 bytes each, the newest first; they are named after their digest."""
    found = []
    for text in reversed([part.strip() for part in environ.get(variable, "").split(",") if part.strip()]):
        try:
            raw = base64.b64decode(text, validate=True)
        except ValueError:
            raw = b""
        if len(raw) != KEY_BYTES:
            raise Refused(
                "bad_secrets_key",
                f"{variable} does not hold a key.",
                fix="Give it 32 random bytes in base64: openssl rand -base64 32",
            )
        found.append(_Kept(hashlib.sha256(b"tenure secrets key\n" + raw).hexdigest()[:32], text))
    return found


class LocalKeys:
    """Keys that are at hand, the newest last. AES key wrap (RFC 3394)."""

    def __init__(self, source: str, keys: Sequence[_Kept]) -> None:
        self.source = source
        self._keys = {key.id: base64.b64decode(key.key) for key in keys}

    def current(self) -> str:
        """See Keys."""
        if not self._keys:
            raise Failed("secrets_key_missing", f"There is no key of the secrets ({self.source}).")
        return next(reversed(self._keys))

    def known(self, kek: str) -> bool:
        """See Keys."""
        return kek in self._keys

    def wrap(self, keys: Sequence[bytes | bytearray]) -> tuple[str, list[str]]:
        """See Keys."""
        name = self.current()
        return name, [base64.b64encode(aes_key_wrap(self._keys[name], bytes(key))).decode() for key in keys]

    def unwrap(self, wrapped: Sequence[tuple[str, str]]) -> list[bytearray]:
        """See Keys."""
        found = []
        for name, text in wrapped:
            if name not in self._keys:
                raise Failed("secrets_key_missing", "The key that this secret was kept under is gone.")
            try:
                found.append(bytearray(aes_key_unwrap(self._keys[name], base64.b64decode(text))))
            except (InvalidUnwrap, ValueError):
                raise Failed("secret_damaged", "What is kept of a secret's key was changed.") from None
        return found


# -- a transit engine
class TransitKeys:
    """A key of a transit engine at VAULT_ADDR, asked with VAULT_TOKEN. Names of its keys end with the version."""

    def __init__(self, mount: str, name: str, environ: Mapping[str, str]) -> None:
        self.source = f"transit:{mount}/{name}"
        self._mount = mount
        self._name = name
        self._url = environ.get("VAULT_ADDR") or environ.get("BAO_ADDR") or "https://127.0.0.1:8200"
        self._authorities = environ.get("VAULT_CACERT")
        self._headers = {
            "X-Vault-Request": "true",
            "X-Vault-Token": environ.get("VAULT_TOKEN") or environ.get("BAO_TOKEN") or "",
        }
        if namespace := environ.get("VAULT_NAMESPACE"):
            self._headers["X-Vault-Namespace"] = namespace

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """What the engine answers. Raises one of ``_TROUBLE``, also for a redirect: keys go nowhere else."""
        verify = ssl.create_default_context(cafile=self._authorities) if self._authorities else True
        # No proxy that the environment names may see keys pass.
        with httpx2.Client(headers=self._headers, timeout=_TRANSIT_S, trust_env=False, verify=verify) as client:
            answer = client.request(method, f"{self._url.rstrip('/')}/v1/{self._mount}/{path}", json=body)
            answer.raise_for_status()
            return answer.json() if answer.content else {}

    def _failed(self, error: Exception) -> Failed:
        what = type(error).__name__  # never the text: it may repeat what was sent
        return Failed("secrets_key_unavailable", f"The key {self.source} cannot be used ({what}).", retry=True)

    def _called(self, _version: int) -> str:
        return f"{self.source}:v{_version}"

    def current(self) -> str:
        """See Keys."""
        at = f"{self._url} {self.source}"
        kept = _versions.get(at)
        if kept is None or time.monotonic() - kept[0] > _VERSION_S:
            try:
                told = self._ask("GET", f"keys/{self._name}")
                kept = _versions[at] = (time.monotonic(), int(told["data"]["latest_version"]))
            except _TROUBLE as error:
                raise self._failed(error) from None
        return self._called(kept[1])

    def renew(self) -> str:
        """Makes a new version of the key. See Keys."""
        try:
            self._ask("POST", f"keys/{self._name}/rotate", {})
        except _TROUBLE as error:
            raise self._failed(error) from None
        _versions.clear()
        return self.current()

    def known(self, kek: str) -> bool:
        """See Keys."""
        return kek.startswith(f"{self.source}:v")

    def wrap(self, keys: Sequence[bytes | bytearray]) -> tuple[str, list[str]]:
        """See Keys."""
        batch = [{"plaintext": base64.b64encode(key).decode()} for key in keys]
        try:
            told = self._ask("POST", f"encrypt/{self._name}", {"batch_input": batch})
            texts = [str(item["ciphertext"]) for item in told["data"]["batch_results"]]
            version = max(int(text.split(":")[1].removeprefix("v")) for text in texts)
        except _TROUBLE as error:
            raise self._failed(error) from None
        return self._called(version), texts

    def unwrap(self, wrapped: Sequence[tuple[str, str]]) -> list[bytearray]:
        """See Keys."""
        if not all(self.known(name) for name, _ in wrapped):
            raise Failed("secrets_key_missing", "The key that this secret was kept under is another one.")
        batch = [{"ciphertext": text} for _, text in wrapped]
        try:
            told = self._ask("POST", f"decrypt/{self._name}", {"batch_input": batch})
            return [bytearray(base64.b64decode(item["plaintext"])) for item in told["data"]["batch_results"]]
        except _TROUBLE as error:
            raise self._failed(error) from None
