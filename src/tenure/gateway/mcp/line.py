"""The way back to the client while one of its requests is worked on: what it is told, and what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field

from tenure.gateway.mcp import codec
from tenure.gateway.mcp.session import ASKS, DEFAULT_LEVEL, hears
from tenure.kernel.errors import Failed
from tenure.kernel.ids import new_id
from tenure.kernel.json import Json, JsonObject

PROCESS = new_id()
"""This process, in the ids of questions and events: what was asked by another cannot be answered here."""


def asked_elsewhere(identity: Json) -> bool:
    """Whether a question with this id was asked by another gateway process."""
    process, mark, rest = identity.partition(".") if isinstance(identity, str) else ("", "", "")
    return bool(mark) and len(process) == len(rest) == len(PROCESS) and process != PROCESS


@dataclass(slots=True)
class Line:
    """``put`` hands a message to the client's event stream and says whether there was room; None where the client
    takes no stream. ``waiting`` holds what is asked, by session and id, until the client's POST answers it."""

    put: Callable[[bytes], bool] | None = None
    token: Json = None
    session: str = ""
    capabilities: JsonObject = field(default_factory=dict)
    level: str | None = DEFAULT_LEVEL
    waiting: MutableMapping[tuple[str, str | int], asyncio.Future[JsonObject]] = field(default_factory=dict)

    def tell(self, method: str, params: JsonObject) -> None:
        """Passes a notification about this request on. Progress is for those who asked for it, a log message for those
        who want its level; a client that reads too slowly misses some."""
        if method == "notifications/progress" and isinstance(self.token, str | int):
            params = {**params, "progressToken": self.token}
        elif method != "notifications/message" or (self.level and not hears(self.level, params.get("level"))):
            return
        if self.put is not None:
            self.put(codec.notification(method, params))

    async def ask(self, method: str, params: JsonObject, timeout_s: float) -> JsonObject:
        """The client's whole response to a request on its stream. Raises Failed (``client_cannot``,
        ``client_silent``)."""
        if self.put is None or not self.session or ASKS.get(method) not in self.capabilities:
            raise Failed("client_cannot", f"The agent's client takes no {method}.")
        identity = f"{PROCESS}.{new_id()}"
        future: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self.waiting[self.session, identity] = future
        try:
            if not self.put(codec.request_message(identity, method, params)):
                raise Failed("client_silent", f"The agent's client does not read; {method} was not asked.")
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            self._withdraw(identity)
            raise Failed("client_silent", f"The agent's client did not answer {method} in {timeout_s:g} s.") from None
        except asyncio.CancelledError:
            self._withdraw(identity)
            raise
        finally:
            self.waiting.pop((self.session, identity), None)

    def _withdraw(self, identity: str) -> None:
        if self.put is not None:
            self.put(codec.notification("notifications/cancelled", {"requestId": identity, "reason": "not needed"}))
