"""The keys that the gateways of an installation share: what one of them signed or sealed, another can check and open.

They lie in one private file of the data folder. Gateways get them with the Snapshot and keep them in memory.
"""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from tenure.base import files
from tenure.base.config import Config
from tenure.kernel.errors import Failed
from tenure.kernel.ids import new_id

OVERLAP = timedelta(days=30)
"""How long a replaced key is still believed: tasks and addresses for notifications that were made under it live on."""


class _Kept(msgspec.Struct, frozen=True):
    id: str
    key: str
    until: datetime | None = None
    waits: bool = False


def _path(config: Config) -> Path:
    return config.data_dir / "keys" / "gateways.json"


def _read(config: Config) -> list[_Kept]:
    try:
        return msgspec.json.decode(_path(config).read_bytes(), type=list[_Kept])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise Failed(
            "gateway_keys_unreadable", "The keys of the gateways in the data folder cannot be read."
        ) from error


def _new() -> _Kept:
    return _Kept(new_id(), base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("="))


def gateway_secrets(config: Config, now: datetime) -> dict[str, str]:
    """Id to key of every key that is believed. The newest signs, which has the greatest id; but for one that waits
    until every gateway has heard of it, which begins with ``~``."""
    return {
        kept.id: ("~" if kept.waits else "") + kept.key
        for kept in _read(config)
        if kept.until is None or kept.until > now
    }


def ensure(config: Config) -> None:
    """Makes the first key, unless there is one."""
    files.private_folder(_path(config).parent)
    files.create(_path(config), msgspec.json.encode([_new()]))


def prepare(config: Config) -> None:
    """Makes a new key that is believed and signs nothing yet. To be called alone."""
    kept = [key for key in _read(config) if not key.waits]
    files.replace(_path(config), msgspec.json.encode([*kept, msgspec.structs.replace(_new(), waits=True)]))


def rotate(config: Config, now: datetime) -> None:
    """Signs and seals with the key that was prepared from now on. To be called alone."""
    found = _read(config)
    waiting = [msgspec.structs.replace(key, waits=False) for key in found if key.waits]
    if not waiting:
        return
    kept = [msgspec.structs.replace(key, until=key.until or now + OVERLAP) for key in found if not key.waits]
    alive = [key for key in kept if key.until is not None and key.until > now]
    files.replace(_path(config), msgspec.json.encode([*alive, *waiting]))


def age(config: Config, now: datetime) -> timedelta:
    """How long the newest key signs already; its id tells when it was made (RFC 9562 section 5.7)."""
    newest = max((kept.id for kept in _read(config)), default="")
    return now - datetime.fromtimestamp(int(newest[:12], 16) / 1000, UTC) if newest else timedelta(0)
