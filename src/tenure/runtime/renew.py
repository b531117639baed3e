"""Keeps the token of a running instance fresh: a new one when half of its life is over, and at once when one is asked
for. While the control plane is away it goes on asking; the token that there is stays good until its own end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tenure.client import Client
from tenure.kernel.errors import Failed, Refused

_AGAIN_S = 1.0


class Renewer:
    """``take(token)`` is called with every new token, from a thread. ``issued_at`` and ``expires_at`` are those of the
    token that there is, in Unix seconds by the control plane's clock; ``ttl_s`` is asked for (None: as it sees fit)."""

    def __init__(  # noqa: PLR0917 (the parts of one thing)
        self,
        connect: Callable[[], Client],
        instance: str,
        ttl_s: int | None,
        issued_at: float,
        expires_at: float,
        take: Callable[[str], None],
    ) -> None:
        self._connect = connect
        self._path = f"/v1/instances/{instance}/token"
        self._ttl_s = ttl_s
        self._issued_at, self._life_s = issued_at, expires_at - issued_at
        self._take = take
        self._now = threading.Event()
        self._done = threading.Event()
        self.renewals = 0

    def start(self) -> None:
        """Begins, in a thread that ends with the process."""
        threading.Thread(target=self._run, daemon=True).start()

    def renew(self, before: float) -> None:
        """A token that was issued up to ``before`` is to be replaced now."""
        if self._issued_at <= before:
            self._now.set()

    def stop(self) -> None:
        """No further ones."""
        self._done.set()
        self._now.set()

    def _run(self) -> None:
        wait_s = self._life_s / 2
        while True:
            self._now.wait(wait_s)
            self._now.clear()
            if self._done.is_set():
                return
            try:
                with self._connect() as client:
                    told = client.post(self._path, dict[str, Any], {"ttl_s": self._ttl_s})
            except (Failed, Refused):  # the order to end comes another way, if this is one
                wait_s = min(_AGAIN_S, self._life_s / 8)
                continue
            self._issued_at = datetime.fromisoformat(told["issued_at"]).timestamp()
            self._life_s = datetime.fromisoformat(told["expires_at"]).timestamp() - self._issued_at
            self._take(str(told["token"]))
            self.renewals += 1
            wait_s = self._life_s / 2
