"""``/a2a``: calls of other agents. Read, decided, sent on with the ids exchanged, answered, recorded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tenure.base.scan.texts import clean
from tenure.gateway import delegation
from tenure.gateway.a2a import codec, messages
from tenure.gateway.a2a.answers import (
    EVENTS,
    denied,
    faulty,
    longer,
    refuse_redirect,
    refused,
    retry_after,
    returned,
    set_aside,
    upstream_fault,
    withheld,
)
from tenure.gateway.a2a.ownership import Callback, Ownership, opened, seal
from tenure.gateway.a2a.push import Notifications, check_callback
from tenure.gateway.a2a.wire import MEDIA, Ask, Fault, error_body, error_event, fault_of, prefer_wait, wrong
from tenure.gateway.http import Request, Response
from tenure.gateway.keychain import sent
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.returned import WITHHELD, Withheld, told
from tenure.gateway.turned_away import TurnedAway
from tenure.gateway.upstream import Client, Reply, UpstreamError
from tenure.gateway.verdict import NoLongerAllowed, Verdict
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact, PeerFact, PeerGrant
from tenure.kernel.values import Call, CallKind, Principal
from tenure.policy.model import redactions

WELL_KNOWN = "/.well-known/agent-card.json"
_ANSWER_MAX = 64 << 20
_MAX_WAIT_S = 600.0
_RETRY_AFTER_S = 2
_SENT_ON = (
    "content-type",
    "accept",
    "a2a-version",
    "a2a-extensions",
    "x-a2a-extensions",
    "user-agent",
    "last-event-id",
)


class _Run:
    """One call on its way: what is known of it so far, told to the record exactly once."""

    __slots__ = (
        *("ask", "begun", "call", "facts", "first_event", "name", "prefer", "principal", "server", "started", "told"),
        *("verdict", "watched"),
    )

    def __init__(self, name: str, ask: Ask, call: Call, principal: Principal) -> None:
        self.facts: dict[str, Any] = {}
        self.prefer: float | None = None
        self.watched = False
        self.name = name
        self.ask = ask
        self.call = call
        self.principal = principal
        self.started = datetime.now(UTC)
        self.begun = time.perf_counter()
        self.verdict: Verdict | None = None
        self.first_event: float | None = None
        self.server = ""
        self.told = False

    @property
    def decided(self) -> Verdict:
        """The Verdict."""
        assert self.verdict is not None  # noqa: S101 (asked only after decide)
        return self.verdict


class A2aHandler:
    """Everything under ``/a2a``. ``address`` is where agents reach the gateway; ``ttl_s`` how long an agent may work on
    what another handed to it; ``stream_max`` how long a stream may be, in bytes."""

    def __init__(
        self,
        pipeline: Pipeline,
        turned_away: TurnedAway,
        client: Client,
        address: str,
        *,
        ttl_s: float = 900.0,
        stream_max: int = 256 << 20,
    ) -> None:
        self._pipeline = pipeline
        self._turned_away = turned_away
        self._client = client
        self._address = address
        self._ttl_s = ttl_s
        self._stream_max = stream_max
        self._notifications = Notifications(pipeline, client)

    async def handle(self, request: Request) -> Response:
        """The answer to one request, in the binding that it came by, whatever comes of it."""
        name, _, below = request.path.removeprefix("/a2a").removeprefix("/").partition("/")
        rest = bool(below) or request.method != "POST"
        principal: Principal | None = None
        try:
            if below.startswith("callbacks/"):
                return await self._notifications.handle(request, name, below.removeprefix("callbacks/"))
            principal = self._pipeline.identify(request, f"a2a/{name}" if name else "a2a")
            if not name or below == WELL_KNOWN[1:]:
                return self._cards(request, principal, name)
            ask = self._read(request, f"/{below}" if below else "")
        except Refused as error:
            if error.code != "credential_revoked" and not error.code.startswith("delegation_"):
                self._turned_away.note(request, error.status, error.code.lower(), error.message, principal)
            return refused(error, rest=rest)
        if ask.problem is not None:
            problem = ask.problem
            self._turned_away.note(request, problem.status, problem.code.lower(), problem.message, principal)
            return faulty(fault_of(problem), ask)
        return await self._call(request, name, ask, principal)

    def explain(self, request: Request, status: int, code: str, message: str) -> bytes:
        """The body of the answer to a request that could not be read, in the binding of its path."""
        self._turned_away.note(request, status, code, message)
        rest = "/" in request.path.removeprefix("/a2a/")
        return error_body(Fault("INVALID_REQUEST", message, {"code": code}), None, rest=rest)

    @staticmethod
    def _read(request: Request, below: str) -> Ask:
        if not below:
            if request.method != "POST":
                raise wrong("METHOD_NOT_FOUND", f"{request.method} is not possible here.", "POST JSON-RPC to it.")
            ask = codec.read_rpc(request.body)
        else:
            ask = codec.read_rest(request.method, below, request.query, request.body)
        if ask.problem is None:
            try:
                codec.check(ask)
            except Refused as error:
                ask.problem = error
        return ask

    # -- cards
    def _agent(self, principal: Principal) -> AgentFact | None:
        snapshot = self._pipeline.facts.current
        return snapshot.agents.get(f"{principal.workspace}/{principal.agent}") if snapshot is not None else None

    def _peer(self, principal: Principal, name: str) -> PeerFact | None:
        snapshot = self._pipeline.facts.current
        return snapshot.peers.get(f"{principal.workspace}/{name}") if snapshot is not None else None

    def _cards(self, request: Request, principal: Principal, name: str) -> Response:
        """The card of one agent that this agent was granted, or what there is to be called: only what its credential
        reaches."""
        if request.method not in ("GET", "HEAD"):
            raise wrong("METHOD_NOT_FOUND", "An agent card is read with GET.")
        agent = self._agent(principal)
        may = self._pipeline.reach.may(principal, agent)
        granted = [grant.name for grant in agent.agents] if agent is not None else []
        if may is not None and not name:  # who names one reads its card, calls, and is told why that is refused
            granted = [peer for peer in granted if may(CallKind.AGENT, peer)]
        found = [(peer, fact) for peer in granted if (fact := self._peer(principal, peer)) is not None]
        headers = (("cache-control", "private, max-age=30"),)
        if not name:
            rows = [self._listed(peer, fact) for peer, fact in found]
            return Response(200, msgspec.json.encode({"agents": rows}), headers)
        card = next((fact.card for peer, fact in found if peer == name), None)
        if card is None:
            known = ", ".join(peer for peer, _ in found) or "none"
            raise wrong("UNKNOWN_AGENT", f"There is no agent {name[:100]} to call.", f"There are: {known}.")
        return Response(200, card.encode(), headers)

    def _listed(self, name: str, fact: PeerFact) -> JsonObject:
        card = msgspec.json.decode(fact.card)
        url = f"{self._address}/a2a/{name}{WELL_KNOWN}"
        return {"name": name, "description": card.get("description", ""), "card": url, "governed": fact.governed}

    # -- calls
    async def _call(self, request: Request, name: str, ask: Ask, principal: Principal) -> Response:
        pipeline = self._pipeline
        call = pipeline.call(CallKind.AGENT, name[:200], messages.arguments(ask), principal, request.headers)
        if not ask.operation.sends:
            call = replace(call, reads=True)  # what follows a message changes nothing that it did not
        run = _Run(name, ask, call, principal)
        run.prefer = prefer_wait(request.headers.get("prefer", ""))
        try:
            run.verdict = await pipeline.decide(
                call,
                principal,
                prefer_wait=run.prefer,
                max_wait=_MAX_WAIT_S,
                content=messages.bound(ask),
                # What follows a message that was let through, about a task that it made, needs no person's word again.
                approved=not ask.operation.sends,
            )
        except asyncio.CancelledError:
            run.verdict = pipeline.judge(call, principal)  # the client went while a person was asked
            if not run.verdict.allowed:
                self._tell(run, {"error.type": "client_disconnected"})
            raise
        if not run.verdict.allowed:
            return self._refusal(run)
        agent = run.verdict.agent
        grant = next((grant for grant in agent.agents if grant.name == name), None) if agent is not None else None
        peer = self._peer(principal, name)
        if grant is None or peer is None:
            text = f"Agent {name} cannot be called now: it is not in service, or serves no A2A."
            return self._failed(run, Fault("UNAVAILABLE", text), "peer_unavailable")
        url = peer.rest_url if ask.rest else peer.url
        if url is None:
            text = f"Agent {name} does not speak {'HTTP+JSON' if ask.rest else 'JSON-RPC'}; see its card."
            return self._failed(run, Fault("UNSUPPORTED_OPERATION", text), "no_such_binding")
        return await self._act(request, run, peer, grant, url)

    async def _act(self, request: Request, run: _Run, peer: PeerFact, grant: PeerGrant, url: str) -> Response:
        ask, principal = run.ask, run.principal
        parts = urlsplit(url)
        run.server = parts.hostname or ""
        owns = Ownership(self._pipeline.keyring, principal, run.name)
        if what := redactions(run.decided.decision):
            messages.redact(ask, what)
        try:
            below, body = codec.mapped(ask, owns.inward, self._callback(run))
            path = f"{parts.path.rstrip('/')}{below}" if ask.rest else parts.path or "/"
            headers = self._headers(request, run, peer, grant)
            send = partial(
                self._client.send,
                f"{parts.scheme}://{parts.netloc}",
                ask.verb,
                f"{path}?{parts.query}" if parts.query and not ask.rest else path,
                body=body,
                admit=lambda: self._admit(run),
            )
        except Refused as error:
            return self._failed(run, fault_of(error), error.code.lower())
        try:
            keys = self._pipeline.facts.credentials
            present = partial(keys.to_send, peer.workspace, peer.credential_secret, peer.credential_env, url)
            reply = await sent(send, headers, present)
            refuse_redirect(reply)
            if reply.status < 300 and reply.header("content-type").partition(";")[0].strip() == EVENTS:
                return self._streaming(run, reply, owns)
            return await self._weighed(run, reply, await reply.read(_ANSWER_MAX), owns)
        except NoLongerAllowed as change:
            run.verdict = change.verdict
            return self._refusal(run)
        except UpstreamError as error:
            return self._failed(run, upstream_fault(error), error.kind)
        except asyncio.CancelledError:
            self._tell(run, {"error.type": "client_disconnected"})
            raise

    def _admit(self, run: _Run) -> None:
        self._pipeline.admit(run.call, run.principal, run.decided)
        self._check_service(run)

    def _check_service(self, run: _Run) -> None:
        if self._peer(run.principal, run.name) is None:
            raise UpstreamError("unavailable", "the agent is not in service any more")

    def _callback(self, run: _Run) -> JsonObject | None:
        """What stands for the agent's own address for notifications; None where there is none."""
        config = codec.push_config(run.ask)
        if config is None:
            return None
        agent = run.decided.agent
        url, token, auth = check_callback(config, agent.callbacks if agent is not None else ())
        principal = run.principal
        callback = Callback(
            ws=principal.workspace,
            agent=principal.agent,
            epoch=principal.credential_epoch,
            release=principal.release,
            instance=principal.instance,
            session=principal.session,
            peer=run.name,
            url=url,
            tp=f"00-{run.call.trace_id}-{run.call.span_id}-01",
            token=token,
            auth=auth,
            obo=principal.on_behalf_of,
            chain=principal.chain,
            epochs=principal.chain_epochs,
            bounds=principal.bounds,
            task=principal.task,
            issued=principal.issued_at,
            key=principal.key,
        )
        return seal(self._pipeline.keyring, callback, f"{self._address}/a2a/{run.name}")

    def _original(self, url: str) -> JsonObject:
        """What the agent had set, where a peer tells of the address that it was given."""
        found = opened(self._pipeline.keyring, url.rpartition("/callbacks/")[2], None)
        return found.config() if found is not None else {}

    def _headers(self, request: Request, run: _Run, peer: PeerFact, grant: PeerGrant) -> list[tuple[str, str]]:
        headers = [(name, request.headers[name]) for name in _SENT_ON if name in request.headers]
        headers.append(("accept-encoding", "identity"))
        headers.append(("traceparent", f"00-{run.call.trace_id}-{run.call.span_id}-01"))
        if peer.governed:
            expires = time.time() + self._ttl_s
            token = delegation.hand_over(self._pipeline.keyring, run.principal, grant, run.call, expires)
            headers.append((delegation.HEADER, token))
        return headers

    # -- answers
    async def _weighed(self, run: _Run, reply: Reply, answer: bytes, owns: Ownership) -> Response:
        """A whole answer, where a policy reads what comes back: handed on as it is, redacted, or withheld."""
        returned_by = self._pipeline.returned
        if not returned_by.matters(run.call, run.principal):
            return self._whole(run, reply, answer, owns)
        value = messages.parsed(answer)
        verdict = await returned_by.decide(
            run.call, run.principal, run.decided, answer if value is None else value, run.prefer, _MAX_WAIT_S
        )
        run.facts |= told(verdict)
        if what := redactions(verdict.decision):
            answer = answer if value is None else msgspec.json.encode(clean(value, what))
        response = self._whole(run, reply, answer, owns)
        if verdict.allowed:
            return response
        return faulty(withheld(run.name, verdict.decision, run.call.id), run.ask, run.call.id, done=response.done)

    def _whole(self, run: _Run, reply: Reply, answer: bytes, owns: Ownership) -> Response:
        ask = run.ask
        fault = None
        if reply.status in (401, 403, 407):  # that is between the gateway and the peer
            fault = Fault("UPSTREAM_FAILED", f"Agent {run.name} does not let the gateway in ({reply.status}).")
        elif not codec.is_answer(answer, ask):
            text = f"Agent {run.name} answered with something else than A2A promises ({reply.status})."
            fault = Fault("INVALID_AGENT_RESPONSE" if reply.status < 300 else "UPSTREAM_FAILED", text)
        if fault is not None:
            return self._failed(run, fault, "garbage" if reply.status < 300 else str(reply.status))
        self._pipeline.provenance.answered(run.principal, run.name, lambda: messages.parsed(answer))
        body = answer
        if answer.strip():
            body = codec.answered(answer, ask, owns.outward, self._original, f"{self._address}/a2a/{run.name}")

        def done() -> None:
            heard = messages.Told()
            heard.hear(body, ask)
            self._tell(run, heard.attributes() | run.facts, status=reply.status)

        kind = reply.header("content-type") or MEDIA
        return Response(reply.status, body, returned(reply, run.call.id), kind, done)

    def _streaming(self, run: _Run, reply: Reply, owns: Ownership) -> Response:
        ask, address = run.ask, f"{self._address}/a2a/{run.name}"
        heard = messages.Told()
        run.watched = self._pipeline.returned.matters(run.call, run.principal)
        problem: dict[str, Any] = {"error.type": "client_disconnected"}

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal problem
            standing, events, size = run.decided, codec.Events(), 0
            try:
                while chunk := await reply.next_chunk():
                    standing = self._pipeline.standing(run.call, run.principal, standing)
                    self._check_service(run)
                    size = longer(size, chunk, self._stream_max)
                    out = [self._event(run, event, owns, heard, address) for event in events.feed(chunk)]
                    if out:
                        yield b"".join(out)
                problem = {}
            except NoLongerAllowed as change:
                # Stopped in the middle: nothing more of it reaches an agent that may not act any longer.
                problem = {"error.type": "stopped", "error.message": change.verdict.decision.reason}
                yield error_event(denied(change.verdict.decision, run.call.id, None), ask)
                raise UpstreamError("stopped", change.verdict.decision.reason) from None
            except Withheld as cut:
                problem = told(cut.verdict) | {"error.type": WITHHELD}
                yield error_event(withheld(run.name, cut.verdict.decision, run.call.id), ask)
                raise UpstreamError("withheld", str(cut)) from None
            except (UpstreamError, ValueError) as error:
                failure = error if isinstance(error, UpstreamError) else UpstreamError("garbage", str(error))
                problem = {"error.type": failure.kind, "error.message": str(failure)[:1000]}
                yield error_event(upstream_fault(failure), ask)
                raise failure from None
            finally:
                reply.close()

        def done() -> None:
            reply.close()
            self._tell(run, heard.attributes() | problem, status=reply.status)

        return Response(reply.status, chunks(), returned(reply, run.call.id), reply.header("content-type"), done)

    def _event(self, run: _Run, event: bytes, owns: Ownership, heard: messages.Told, address: str) -> bytes:
        """One event as the client gets it. Raises ValueError for one whose data is not what A2A promises."""
        data = codec.event_data(event)
        if data is None:
            return event + b"\n\n"
        if run.first_event is None:
            run.first_event = time.perf_counter() - run.begun
        if run.watched:
            # A piece of a stream can be neither redacted nor held: either cuts it.
            verdict = self._pipeline.returned.weigh(run.call, run.principal, run.decided, messages.parsed(data))
            if not verdict.allowed or redactions(verdict.decision):
                raise Withheld(verdict)
        self._pipeline.provenance.answered(run.principal, run.name, lambda: messages.parsed(data))
        new = codec.answered(data, run.ask, owns.outward, self._original, address)
        heard.hear(new, run.ask)
        return codec.event_with(event, new)

    def _refusal(self, run: _Run) -> Response:
        verdict = run.decided
        if verdict.mode:
            return set_aside(run.ask, run.call, verdict, lambda: self._tell(run, {}))
        fault = denied(verdict.decision, run.call.id, verdict.approval_id)
        more = retry_after(_RETRY_AFTER_S if verdict.pending else verdict.retry_s)
        return faulty(fault, run.ask, run.call.id, more, done=lambda: self._tell(run, {}))

    def _failed(self, run: _Run, fault: Fault, kind: str) -> Response:
        facts = {"error.type": kind, "error.message": fault.message[:1000]}
        return faulty(fault, run.ask, run.call.id, done=lambda: self._tell(run, facts))

    def _tell(self, run: _Run, seen: Mapping[str, Any], *, status: int | None = None) -> None:
        """Records the call, once."""
        if run.told:
            return
        run.told = True
        data = messages.asked(run.ask) | {"gen_ai.agent.name": run.name}
        if run.server:
            data["server.address"] = run.server
        data.update(seen)
        if status is not None:
            data["http.response.status_code"] = status
            if status >= 400:
                data.setdefault("error.type", str(status))
        if run.first_event is not None:
            data["gen_ai.response.time_to_first_chunk"] = run.first_event
        took = int((time.perf_counter() - run.begun) * 1e6)
        self._pipeline.record(run.call, run.principal, run.decided, run.started, took, data)
