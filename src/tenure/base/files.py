"""Small files that must be whole and private: secrets, keys, checkpoints. Written aside, synced, then put in place."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tenure.kernel.errors import Failed


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Failed("file_not_written", f"{path} cannot be written: {error.strerror}") from error


def _aside(path: Path, data: bytes) -> Path:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return aside


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def private_folder(path: Path) -> Path:
    """The folder, made if need be, open to its owner alone. Raises Failed when it cannot be made."""
    with _failures(path):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def create(path: Path, data: bytes) -> bool:
    """Writes a new file of mode 0600; False, and nothing changed, when there is one already. Of two that create it at
    once exactly one succeeds, and no reader ever sees half a file. Raises Failed when it cannot be written."""
    with _failures(path):
        aside = _aside(path, data)
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
        finally:
            aside.unlink()
        _sync_folder(path.parent)
    return True


def replace(path: Path, data: bytes) -> None:
    """Puts a file of mode 0600 in the place of the one that is there, if any: a reader sees the old one or the new one,
    also after a power cut. Raises Failed when it cannot be written."""
    with _failures(path):
        aside = _aside(path, data)
        try:
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
