"""What a client decided alone, on disk until a gateway takes it; and which tools may go on without one."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAX_BYTES = 4 << 20


class Spool:
    """Two files in ``folder``, for this user only. Several processes may use it at once."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max = max_bytes

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._folder / "alone.jsonl"

    def add(self, record: dict[str, Any]) -> bool:
        """Keeps a record; False when there is no room or no disk for it: then it is lost, and the caller must not act
        as if it were kept."""
        line = json.dumps(record, default=str).encode() + b"\n"
        try:
            with self._locked() as path:
                size = path.stat().st_size if path.exists() else 0
                if size + len(line) > self._max:
                    return False
                handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(handle, line)
                    os.fsync(handle)
                finally:
                    os.close(handle)
        except OSError:
            return False
        return True

    def hand_in(self, send: Callable[[dict[str, Any]], bool]) -> int:
        """Gives each record to ``send`` and forgets those it took; returns how many. Told twice after a crash, never
        lost: their ids make the second telling harmless."""
        if not (self._folder / "alone.jsonl").exists():
            return 0
        with self._locked() as path:
            lines = path.read_bytes().splitlines() if path.exists() else []
            taken = 0
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:  # torn by a crash
                    taken += 1
                    continue
                if not send(record):
                    break
                taken += 1
            rest = lines[taken:]
            if rest:
                fresh = path.with_suffix(".new")
                fresh.write_bytes(b"\n".join(rest) + b"\n")
                fresh.chmod(0o600)
                fresh.replace(path)
            else:
                path.unlink(missing_ok=True)
        return taken

    def learn(self, tool: str, mode: str) -> None:
        """Remembers the fail mode that a gateway last told for a tool."""
        path = self._folder / "fail_modes.json"
        known = self._modes()
        if known.get(tool, "closed") == mode:
            return
        try:
            with self._locked():
                fresh = path.with_suffix(".new")
                fresh.write_text(json.dumps({**known, tool: mode}))
                fresh.replace(path)
        except OSError:
            return  # not remembered is closed

    def may_go_on(self, tool: str) -> bool:
        """Whether the workspace declared ``fail_mode: open`` for a tool, as far as it was ever heard."""
        return self._modes().get(tool) == "open"

    def _modes(self) -> dict[str, str]:
        try:
            found = json.loads((self._folder / "fail_modes.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
