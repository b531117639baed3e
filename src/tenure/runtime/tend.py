"""Tends a running instance from outside: says that it lives, hears that it must end, outlives the control plane's
restarts. Two ways lead to the order to stop, a stream that brings it at once and the answer to the next heartbeat;
either is enough."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from tenure.client import Client
from tenure.kernel.errors import Failed, Refused
from tenure.runtime.terms import HEARTBEAT_S

Connect = Callable[[], Client]
_AGAIN_S = 1.0


class Tender:
    """``stop(reason)`` is called once, from another thread, when the instance must end; ``renew(before)`` when a token
    from before that moment is to be replaced; ``say`` tells a person that the control plane cannot be reached, and that
    it can be again."""

    def __init__(
        self,
        connect: Connect,
        instance: str,
        stop: Callable[[str], None],
        say: Callable[[str], None],
        renew: Callable[[float], None],
    ) -> None:
        self._connect = connect
        self._path = f"/v1/instances/{instance}"
        self._stop = stop
        self._say = say
        self._renew = renew
        self._done = threading.Event()
        self._told = threading.Lock()
        self._cut_off = False

    def start(self) -> None:
        """Begins both ways, in threads that end with the process."""
        for work in (self._beat, self._watch):
            threading.Thread(target=work, daemon=True).start()

    def finish(self, exit_code: int) -> None:
        """Reports the end, as well as the control plane can be reached within a few seconds."""
        self._done.set()
        deadline = time.monotonic() + 3.0
        while True:
            try:
                with self._connect() as client:
                    client.post(f"{self._path}/end", dict[str, object], {"exit_code": exit_code})
            except Failed:
                if time.monotonic() < deadline:
                    time.sleep(0.3)
                    continue
                self._say("the control plane cannot be reached; it will find by itself that this instance has ended")
            except Refused as error:
                self._say(f"the end could not be reported: {error.message}")
            return

    def _order(self, reason: str) -> None:
        # Once finish() has begun, an order is only the echo of the end that it reports.
        if not self._done.is_set() and self._told.acquire(blocking=False):
            self._done.set()
            self._stop(reason)

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT_S if not self._cut_off else _AGAIN_S):
            try:
                with self._connect() as client:
                    answer = client.post(f"{self._path}/heartbeat", dict[str, object], {})
            except Failed as error:
                self._lost(error.message)
                continue
            except Refused as error:
                if error.status == 404:
                    self._order(error.message)
                else:
                    self._lost(error.message)
                continue
            if self._cut_off:
                self._cut_off = False
                self._say("the control plane is back")
            if answer["stop"]:
                self._order(str(answer["reason"]))

    def _lost(self, why: str) -> None:
        if not self._cut_off:
            self._cut_off = True
            self._say(f"{why.rstrip('.')}. The process goes on; what it may do is decided by the gateway.")

    def _watch(self) -> None:
        while not self._done.is_set():
            try:
                with self._connect() as client:
                    for event in client.stream(f"{self._path}/watch"):
                        if event.event == "renew":
                            self._renew(float(json.loads(event.data)["before"]))
                        elif event.event == "stop":
                            self._order(str(json.loads(event.data)["reason"]))
                            return
            except (Failed, Refused, ValueError):
                pass  # the heartbeats tell a person; here it is only tried again
            self._done.wait(_AGAIN_S)
