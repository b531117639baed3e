"""Which tools each agent has used through this gateway: a first-ever use is flagged (D10).

Kept in a file beside the spool, so that a restart does not make old tools new. A file that cannot be written costs at
most a second flag, never a call.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tenure.base import log
from tenure.kernel.values import Principal

_log = log.get("gateway")


class FirstUse:
    """``path``: one JSON array [workspace, agent, resource] a line, append only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[tuple[str, str, str]] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="first-use")  # a disk that hangs holds no call up
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    workspace, agent, resource = json.loads(line)
                except ValueError:  # a line torn by a crash
                    continue
                self._seen.add((workspace, agent, resource))

    def known(self, principal: Principal, resource: str) -> bool:
        """Whether the agent has used ``resource`` before."""
        return (principal.workspace, principal.agent, resource) in self._seen

    def note(self, principal: Principal, resource: str) -> bool:
        """Whether this is the first use of ``resource`` by the agent; the next one is not."""
        key = (principal.workspace, principal.agent, resource)
        if key in self._seen:
            return False
        self._seen.add(key)
        self._thread.submit(self._keep, key)
        return True

    def _keep(self, key: tuple[str, str, str]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(key) + "\n")
        except OSError as error:
            _log.warning("first_use_not_kept", problem=str(error))

    def close(self) -> None:
        """Lets go of what the disk has not taken."""
        self._thread.shutdown(wait=False, cancel_futures=True)
