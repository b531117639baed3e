"""Upstream MCP servers: started when first needed, shared by the agents of a workspace whose manifests describe the
same server, started again with a growing pause when they die, and stopped when no agent needs them any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from tenure.base import log
from tenure.gateway.keychain import Keychain
from tenure.gateway.mcp import codec
from tenure.gateway.mcp.catalogue import Catalogue
from tenure.gateway.mcp.connection import CHANGES, Connection, Limits, News, negotiate
from tenure.gateway.mcp.line import Line
from tenure.gateway.mcp.pool import Pool
from tenure.gateway.mcp.purse import Purse
from tenure.gateway.mcp.sandbox import Sandbox
from tenure.gateway.mcp.schemas import load
from tenure.gateway.mcp.session import within
from tenure.gateway.mcp.stdio import StdioConnection
from tenure.gateway.mcp.streamable import StreamableConnection
from tenure.gateway.mcp.tools import Tool, param_headers
from tenure.gateway.mcp.watch import Watch
from tenure.gateway.upstream import Client
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.fingerprint import Fingerprint
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import ServerFact

_log = log.get("gateway.mcp")
Key: TypeAlias = tuple[Any, ...]
_NO_SUCH_METHOD = -32601


def identity_of(workspace: str, fact: ServerFact, agent: str = "", person: str = "") -> Key:
    """What makes two descriptions the same server. The name and what is granted are not in it: they are each agent's
    own. What it may ask is: it is told so when the connection is made. One that is not shared is its ``agent``'s, one
    that a ``person`` has let agents in at is that person's."""
    person = person.lower() if fact.connector else ""
    settings = tuple(sorted(fact.env.items()))
    kept_in = (fact.network, fact.write)
    place = (fact.command, fact.cwd, fact.url)
    owner = "" if fact.shared else agent
    secrets = (fact.credential_env, fact.credential_secret, tuple(sorted(fact.env_secrets.items())), fact.connector)
    return (workspace, owner, place, settings, fact.env_from, kept_in, secrets, fact.asks, person)


class Server:
    """One upstream server, whatever state it is in."""

    def __init__(  # noqa: PLR0917 (what all servers of a gateway share, and what is its own)
        self, fact: ServerFact, limits: Limits, client: Client, sandbox: Sandbox, pool: Pool, purse: Purse
    ) -> None:
        self._fact = fact
        self._purse = purse
        self._given: tuple[str, ...] = ()
        self._retiring: set[asyncio.Task[None]] = set()
        self._sandbox = sandbox
        self._pool = pool
        self._busy = 0
        self.used = 0.0
        """When it was last used (the event loop's time)."""
        self._limits = limits
        self._client = client
        self._connection: Connection | None = None
        self._starting: asyncio.Task[Connection] | None = None
        self._failures = 0
        self._since = 0.0
        self._not_before = 0.0
        self._problem = ""
        self._tools = Catalogue()
        self._listed = float("-inf")
        self._others: dict[str, tuple[float, tuple[JsonObject, ...]]] = {}
        self._listing = asyncio.Lock()
        self._stopped = False
        # over HTTP there is nothing to start, so even those who only listen are connected again
        self.watch = Watch(self._connected, self._present, limits, eager=fact.url is not None)
        """Who is told of its changes, and what it is subscribed to for them."""

    @property
    def asks(self) -> tuple[str, ...]:
        """What it may ask of an agent's client."""
        return self._fact.asks

    @property
    def name(self) -> str:
        """What one of its agents calls it."""
        return self._fact.name

    @property
    def idle(self) -> bool:
        """Whether its process can be ended without anybody losing anything but its own memory."""
        return self._busy == 0 and self._starting is None and not self.watch.pinned

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self.used = asyncio.get_running_loop().time()
            self._pool.ring()

    async def rest(self) -> None:
        """Ends the process until somebody needs it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        self.watch.asleep()

    def turn(self) -> None:
        """Where a secret that its process was started with has another value now: the next request starts a new
        process, and the old one ends when what runs in it has been answered."""
        old = self._connection
        if not isinstance(old, StdioConnection) or self._given == self._purse.marks():
            return
        _log.info("mcp_server_turns", server=self._fact.name)
        self._connection = None
        self._lost(old)
        task = asyncio.create_task(old.retire())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def current(self, name: str) -> Tool | None:
        """A tool of the list as last seen; None when the list has to be asked for anew, or lacks it."""
        fresh = asyncio.get_running_loop().time() - self._listed <= self._limits.list_age_s
        return self._tools.get(name) if fresh and self._present() is not None else None

    def described(self, name: str) -> Fingerprint | None:
        """What a tool is described as now, as far as is known here; None for one that is not."""
        tool = self._tools.get(name)
        return tool.fingerprint if tool is not None else None

    async def tools(self, *, wanted: str | None = None) -> Catalogue:
        """Its tools by name. The list is asked for anew when it is old, was announced to have changed, or lacks
        ``wanted``. Raises Failed."""
        with self._using():
            try:
                return await self._fresh(await self._connected(), wanted)
            except Failed as error:
                if error.code != "upstream_session_lost":
                    raise
            return await self._fresh(await self._connected(), wanted)

    async def _fresh(self, connection: Connection, wanted: str | None) -> Catalogue:
        async with self._listing:
            begun = asyncio.get_running_loop().time()
            age = begun - self._listed
            if age > self._limits.list_age_s or (wanted is not None and wanted not in self._tools and age > 1.0):
                # what is announced to have changed while the list is on its way is asked for again
                self._listed = begun
                try:
                    self._tools = await self._list(connection)
                except BaseException as error:
                    busy = isinstance(error, Failed) and error.code == "upstream_timeout"
                    if not busy or age == float("inf"):
                        self._listed = float("-inf")
                        raise
        return self._tools

    async def listing(self, method: str, key: str) -> tuple[JsonObject, ...]:
        """What the server answers ``method`` (``prompts/list`` and its like) with under ``key``, kept as long as a list
        of tools is. Empty for a server that does not know the method. Raises Failed."""
        with self._using():
            try:
                return await self._fresh_listing(await self._connected(), method, key)
            except Failed as error:
                if error.code != "upstream_session_lost":
                    raise
            return await self._fresh_listing(await self._connected(), method, key)

    async def _fresh_listing(self, connection: Connection, method: str, key: str) -> tuple[JsonObject, ...]:
        async with self._listing:
            now = asyncio.get_running_loop().time()
            since, items = self._others.get(method, (float("-inf"), ()))
            if now - since > self._limits.list_age_s:
                items = tuple(await self._pages(connection, method, key))
                self._others[method] = (now, items)
        return items

    async def request(
        self,
        method: str,
        params: JsonObject,
        *,
        line: Line,
        traceparent: str = "",
        admit: Callable[[], None] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """The whole response message to a request of an agent. One that may have reached a tool is never sent twice.
        Raises Failed."""
        with self._using():
            for attempt in (1, 2):
                connection = await self._connected()
                headers: JsonObject | None = None
                if method == "tools/call":
                    known = self._tools.get(params["name"])
                    if known is not None and known.header_params:
                        headers = param_headers(known, params.get("arguments") or {})
                try:
                    return await connection.request(
                        method,
                        {**params, "_meta": self._meta(params, connection.version, traceparent, line)},
                        timeout_s=timeout_s or self._limits.call_s,
                        admit=admit,
                        line=line,
                        headers=headers,
                    )
                except Failed as error:
                    if error.code != "upstream_session_lost" or attempt == 2:
                        raise
        raise AssertionError("the second attempt returned nothing")

    def _meta(self, params: JsonObject, version: str, traceparent: str, line: Line) -> JsonObject:
        """What goes with a request: the client's ``_meta``, with its capabilities cut to what this server may ask for.
        A client of an older revision has told them, and the level of log messages it wants, to its session."""
        given = params.get("_meta")
        meta: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
        if line.put is None:
            meta.pop("progressToken", None)  # nobody could be told
        if version in codec.MODERN_VERSIONS:
            meta[codec.META_CAPABILITIES] = within(
                meta.get(codec.META_CAPABILITIES, line.capabilities), self._fact.asks
            )
            if line.level is not None and line.put is not None:
                meta.setdefault(codec.META_LOG_LEVEL, line.level)
        return codec.upstream_meta(meta, version=version, traceparent=traceparent)

    def _present(self) -> Connection | None:
        connection = self._connection
        return connection if connection is not None and connection.alive else None

    async def _connected(self) -> Connection:
        connection = self._present()
        if connection is not None:
            return connection
        if self._stopped:
            raise Failed("upstream_unavailable", "The gateway has stopped this server: no agent needs it any more.")
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        # shielded: a caller that gives up does not take the start away from the others
        return await asyncio.shield(self._starting)

    def _started(self, task: asyncio.Task[Connection]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()

    async def _start(self) -> Connection:
        loop = asyncio.get_running_loop()
        await self._lay_down(loop.time())
        pause = self._not_before - loop.time()
        if pause > self._limits.backoff_wait_s:
            text = f"{self._problem} It has failed {self._failures} times and is started again in {pause:.0f} s."
            raise Failed("upstream_unavailable", text, retry=True)
        await asyncio.sleep(max(0.0, pause))
        connection: StdioConnection | StreamableConnection
        news = News(self._heard, lambda: self._lost(connection))
        if self._fact.url is not None:
            connection = StreamableConnection(self._fact, self._limits, self._client, news, self._purse.bearer)
        else:
            await self._pool.take(self)
            self._given = self._purse.marks()
            connection = StdioConnection(self._fact, self._limits, news, self._sandbox, self._purse.environment())
        try:
            async with asyncio.timeout(self._limits.start_s):
                if isinstance(connection, StdioConnection):
                    await connection.open()
                # a process says nothing of which call it asks about, so it is not told that it may ask
                asks = self._fact.asks if self._fact.url is not None else ()
                await negotiate(connection, self._limits, modern_first=self._fact.url is not None, asks=asks)
                self._listed = loop.time()  # before: what is announced meanwhile is not in the list
                self._tools = await self._list(connection)
        except (Failed, TimeoutError) as error:
            await connection.close()
            problem = error.message if isinstance(error, Failed) else f"Not ready in {self._limits.start_s:g} s."
            self._fail(loop.time(), problem)
            raise Failed("upstream_unavailable", f"The server could not be started: {problem}", retry=True) from error
        except BaseException:
            await connection.close()
            raise
        self._connection, self._since = connection, loop.time()
        _log.info("mcp_server_started", server=self._fact.name, version=connection.version, tools=len(self._tools))
        self.watch.connected()
        return connection

    async def _lay_down(self, now: float) -> None:
        """Buries a dead connection, and makes the next start wait if the server did not live long."""
        dead, self._connection = self._connection, None
        if dead is None:
            return
        await dead.close()
        if self._fact.url is None:
            _log.warning("mcp_server_died", server=self._fact.name, lived_s=round(now - self._since, 1))
            if now - self._since < self._limits.steady_s:
                self._fail(now, "It died soon after its start.")
            else:
                self._failures = 0

    def _fail(self, now: float, problem: str) -> None:
        low, high = self._limits.backoff_s
        self._problem = problem
        self._not_before = now + min(high, low * 2.0 ** min(self._failures, 16))
        self._failures += 1
        _log.warning("mcp_server_failed", server=self._fact.name, problem=problem, failures=self._failures)

    def _heard(self, method: str, params: JsonObject) -> None:
        if method in CHANGES:
            self._listed = float("-inf")
            self._others.clear()
        self.watch.tell(method, params)

    def _lost(self, connection: Connection) -> None:
        if self._connection not in (connection, None):
            return  # another one has taken over
        self._listed = float("-inf")  # it may have announced something meanwhile
        self._others.clear()
        self._pool.leave(self)
        self.watch.lost()

    async def _list(self, connection: Connection) -> Catalogue:
        await load()  # what reads them
        definitions = await self._pages(connection, "tools/list", "tools")
        try:
            return Catalogue(definitions, self._tools)
        except Refused as error:
            raise Failed("upstream_garbage", error.message) from error

    async def _pages(self, connection: Connection, method: str, key: str) -> list[JsonObject]:
        """Everything that a list method offers, page by page."""
        out: list[JsonObject] = []
        cursor: str | None = None
        for _ in range(self._limits.pages):
            meta = codec.upstream_meta({}, version=connection.version)
            params: dict[str, Any] = {"_meta": meta} if meta else {}
            if cursor is not None:
                params["cursor"] = cursor
            answer = await connection.request(method, params, timeout_s=self._limits.start_s)
            told = answer.get("error")
            if told is not None and told["code"] == _NO_SUCH_METHOD:
                break
            result = answer.get("result")
            offered = result.get(key) if isinstance(result, dict) else None
            if not isinstance(offered, list) or not all(isinstance(item, dict) for item in offered):
                raise Failed("upstream_garbage", str(told["message"])[:300] if told else f"{method} gave no list.")
            out += offered[: self._limits.tools - len(out)]
            cursor = result.get("nextCursor") if isinstance(result, dict) else None
            if not isinstance(cursor, str) or len(out) >= self._limits.tools:
                break
        return out

    async def stop(self) -> None:
        """Ends the connection and the process, for good."""
        self._stopped = True
        await self.watch.stop()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()


class Servers:
    """All upstream servers of a gateway."""

    def __init__(
        self,
        client: Client,
        limits: Limits,
        sandbox: Sandbox | None = None,
        credentials: Keychain | None = None,
    ) -> None:
        self._client = client
        self._sandbox = sandbox or Sandbox()
        self._credentials = credentials or Keychain({}, {})
        self._limits = limits
        self._pool = Pool(limits.processes, limits.backoff_wait_s)
        self._servers: dict[Key, Server] = {}

    def get(self, workspace: str, fact: ServerFact, agent: str = "", person: str = "") -> Server:
        """The server that ``fact`` of ``agent`` describes, as ``person`` reaches it; it need not run yet."""
        key = identity_of(workspace, fact, agent, person)
        server = self._servers.get(key)
        if server is None:
            purse = Purse(self._credentials, workspace, fact, person)
            server = Server(fact, self._limits, self._client, self._sandbox, self._pool, purse)
            self._servers[key] = server
        return server

    async def retain(self, needed: Iterable[Key]) -> None:
        """Stops every server whose key is not in ``needed``, which names no persons."""
        keep = set(needed)
        gone = [self._servers.pop(key) for key in list(self._servers) if (*key[:-1], "") not in keep]
        await asyncio.gather(*(server.stop() for server in gone))

    def turn(self) -> None:
        """Has servers started anew whose secrets have other values now."""
        for server in self._servers.values():
            server.turn()

    async def stop(self) -> None:
        """Stops all."""
        await self.retain(())
