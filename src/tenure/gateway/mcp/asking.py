"""The person in front of an agent is shown the page of a call that waits for them: MCP's elicitation by URL.

The client is given an address and nothing else. What it answers says that the address was opened or not, by nobody can
say whom, and decides nothing: the person logs in on the page and decides there, and the call goes on by that alone
(docs/decisions/0031-who-answers-an-elicitation.md). Up to 2025-11-25 the client is asked on the stream of the call,
which waits meanwhile, or refused with -32042 where there is no stream; in 2026-07-28 the question is the answer to the
call, which the client then makes again (https://modelcontextprotocol.io/specification/2026-07-28/client/elicitation).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import OrderedDict
from dataclasses import dataclass, replace
from urllib.parse import quote

import msgspec

from tenure.gateway.mcp import codec
from tenure.gateway.mcp.codec import Message
from tenure.gateway.mcp.line import Line
from tenure.kernel.errors import Failed
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import ApprovalFact
from tenure.kernel.values import Principal

ACTIONS = ("accept", "decline", "cancel")
_METHOD = "elicitation/create"
_KEY = "tenure/approval"
_STATE = "tenure.approval."
_WITHIN = ("requestState", "inputResponses")  # of a question that the server behind asked, which ours must not lose
_SHOWN_KEPT = 4096


class _State(msgspec.Struct):
    approval: str
    params: JsonObject


def restored(message: Message) -> tuple[Message, str]:
    """A request as it was before it was answered with our question, and the approval that was asked about; empty where
    none was. It is the client's own word: all that follows from it is that the client is not asked once more."""
    state = message.params.get("requestState")
    if not isinstance(state, str) or not state.startswith(_STATE):
        return message, ""
    try:
        packed = base64.urlsafe_b64decode(state.removeprefix(_STATE))
        kept = msgspec.json.decode(packed, type=_State)
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError):
        return message, ""
    own = {key: value for key, value in message.params.items() if key not in _WITHIN}
    own |= {key: kept.params[key] for key in _WITHIN if key in kept.params}
    return replace(message, params=own), kept.approval


@dataclass(slots=True)
class Invitation:
    """What one call does about it. ``approval``: whose page it is; ``instead``: the question is the answer to the call;
    ``said``: what the client answered (of ``ACTIONS``), ``asked`` until then."""

    asking: Asking
    message: Message
    line: Line
    person: str
    returned: str
    approval: str = ""
    instead: bool = False
    said: str = ""
    task: asyncio.Task[None] | None = None

    def __call__(self, fact: ApprovalFact) -> bool:
        """Told of the approval that the call waits for, at each look at the facts. Says whether waiting is over."""
        if fact.id == self.approval or fact.person.lower() != self.person:
            return False
        if self.task is not None:
            self.task.cancel()  # the page of another approval, which this call does not wait for any more
        self.approval = fact.id
        if fact.id == self.returned or not self.asking.first(self.line.session, fact.id):
            return False
        self.said = "asked"
        if self.message.modern or self.line.put is None:
            self.instead = True
            return True
        self.task = asyncio.create_task(self._ask(fact))
        return False

    async def _ask(self, fact: ApprovalFact) -> None:
        try:
            answer = await self.line.ask(_METHOD, self._question(fact.resource), self.asking.within_s)
        except Failed:
            return  # which is nothing to the call: somebody may still decide it
        result = answer.get("result")
        action = result.get("action") if isinstance(result, dict) else None
        self.said = action if isinstance(action, str) and action in ACTIONS else self.said

    def _question(self, resource: str) -> JsonObject:
        text = f"{resource} waits for a person's approval, and you may give it. Log in on this page to see the call."
        url = f"{self.asking.console}/approvals/{quote(self.approval, safe='')}"
        asked: JsonObject = {"mode": "url", "message": text, "url": url}
        return asked if self.message.modern else {**asked, "elicitationId": self.approval}

    async def end(self, *, decided: bool) -> None:
        """The call waits no more. What is still asked is withdrawn; a client that was sent to the page hears that the
        call was decided, there or elsewhere."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        if decided and self.approval and not self.message.modern and self.line.put is not None:
            told = {"elicitationId": self.approval}
            self.line.put(codec.notification("notifications/elicitation/complete", told))

    def answer(self, resource: str) -> bytes | None:
        """The answer to the call, where the question itself is that."""
        if not self.instead:
            return None
        asked = self._question(resource)
        if not self.message.modern:
            data = {"elicitations": [asked], codec.META_APPROVAL: self.approval}
            return codec.error_message(self.message.id, {"code": -32042, "message": asked["message"], "data": data})
        within = {key: self.message.params[key] for key in _WITHIN if key in self.message.params}
        state = base64.urlsafe_b64encode(msgspec.json.encode(_State(self.approval, within))).decode()
        result: JsonObject = {
            "resultType": "input_required",
            "inputRequests": {_KEY: {"method": _METHOD, "params": asked}},
            "requestState": f"{_STATE}{state}",
            "_meta": {codec.META_APPROVAL: self.approval},
        }
        return codec.result_message(self.message.id, codec.modern_result(result))


class Asking:
    """One for the process. It knows which session was sent to which page, so that nobody is asked about one call again
    and again; sessions of 2026-07-28, which there are not, tell it themselves."""

    def __init__(self, console: str, within_s: float) -> None:
        """``console``: where people reach the control plane; ``within_s``: how long a client is waited for."""
        self.console = console
        self.within_s = within_s
        self._shown: OrderedDict[tuple[str, str], None] = OrderedDict()

    def of(self, message: Message, principal: Principal, line: Line, returned: str) -> Invitation | None:
        """For a call that is made for a person whose client opens pages; None for any other."""
        if principal.on_behalf_of is None or not self.console:
            return None
        given = message.meta.get(codec.META_CAPABILITIES) if message.modern else line.capabilities
        elicits = given.get("elicitation") if isinstance(given, dict) else None
        if not isinstance(elicits, dict) or not isinstance(elicits.get("url"), dict):
            return None
        return Invitation(self, message, line, principal.on_behalf_of.lower(), returned)

    def first(self, session: str, approval: str) -> bool:
        """Whether this session was not yet sent to this page."""
        if not session:
            return True
        if (session, approval) in self._shown:
            return False
        while len(self._shown) >= _SHOWN_KEPT:
            self._shown.popitem(last=False)
        self._shown[session, approval] = None
        return True
