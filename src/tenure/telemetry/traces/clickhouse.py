"""The engine beyond one machine: ClickHouse, spoken to over HTTP, or run in this process by chDB.

ClickHouse has no transaction over two tables, so the place in the event log is not kept beside the rows: it is derived
from them. A batch is one INSERT in the order of its numbers, of which the server keeps all or, cut in the middle of a
very large one, a beginning; the greatest number is therefore always that up to which nothing is missing. What two
control planes insert at once is the same row twice, by its number: the table's engine drops one when it merges, and
until then every question is asked of the merged rows (``final``).
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tenure.base.events import Logged
from tenure.base.subjects import Keyring
from tenure.kernel.errors import Failed, Refused
from tenure.telemetry.traces import sums
from tenure.telemetry.traces.dialect import Dialect
from tenure.telemetry.traces.finding import Finding
from tenure.telemetry.traces.looks import Looks
from tenure.telemetry.traces.questions import Questions
from tenure.telemetry.traces.renewing import Renewal, newer, renewed
from tenure.telemetry.traces.rows import COLUMNS, ROWS_SINCE, SCHEMA_VERSION, micros, rows_of
from tenure.telemetry.traces.sums import Bounds, Sums

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TRACES_AT_ONCE = 5_000
"""Traces whose content is let go in one mutation."""
PIECE = 5_000
"""Events that are brought from an older version in one INSERT."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TYPES = {"BIGINT": "Int64", "VARCHAR": "String", "BLOB": "String", "DECIMAL(24, 12)": "Decimal(24, 12)"}
_TYPES["DECIMAL(38, 12)"] = "Decimal(38, 12)"
_FEW = frozenset({"type", "workspace", "agent", "release", "status", "policy_version", "gone", "resource", "model"})
_LOOKED_UP = ("id", "trace_id", "session", "agent", "subject")
_SETTINGS: dict[str, Any] = {
    "final": 1,
    "use_skip_indexes_if_final": 1,
    "use_skip_indexes_if_final_exact_mode": 0,  # both rows of one number have the same values
    "async_insert": 0,  # it would answer before the rows are there, and cut batches anew
    "max_insert_threads": 1,  # one block after the other
    "mutations_sync": 2,
}
_OF_AGENTS = "workspace || '/' || agent IN ?"
_TEXT = """nullIf(multiIf(JSONType(data, '{0}') = 'String', JSONExtractString(data, '{0}'),
                          JSONType(data, '{0}') = 'Null', '', JSONExtractRaw(data, '{0}')), '')"""

DIALECT = Dialect(
    among="{} IN ?",
    among_numbers="{} IN ?",
    earliest="argMin({}, seq)",
    latest="argMax({}, seq)",
    text=_TEXT,
    number="JSONExtract(data, '{}', 'Nullable(Int64)')",
    inner="nullIf(JSONExtractString(data, '{}', '{}'), '')",
    inner_number="JSONExtract(data, '{}', '{}', 'Nullable(Int64)')",
    matches="match({}, '{}')",
    day="intDiv({}, 86400000000)",
    mark="toInt64(bitShiftRight(sipHash64({}), 1))",
)


def connect(address: str, password: str = "", *, timeout: int = 30) -> Client:
    """A client of the server (or folder) that ``address`` names, in the database that it names, which is made where it
    is not there. ``timeout`` in seconds. Raises Refused when ClickHouse's client is not installed, Failed when the
    server does not answer or does not let us in."""
    try:
        driver = importlib.import_module("clickhouse_connect")
    except ImportError:
        raise Refused(
            "clickhouse_missing",
            "TENURE_TRACES names ClickHouse, and its client is not installed.",
            fix="pip install 'tenure[clickhouse]'",
            status=409,
        ) from None
    parts = urlsplit(address)
    database = parts.path.rpartition("/")[2] or "tenure"
    if not _NAME.fullmatch(database):
        raise Refused("bad_setting", f"{database!r} cannot be the name of a database.", fix="Use letters and digits.")
    options: dict[str, Any] = {"settings": _SETTINGS}
    if parts.scheme == "chdb":
        options |= {"interface": "chdb", "path": f"{parts.netloc}{parts.path.rpartition('/')[0]}"}
    else:
        options |= {
            "interface": "https" if parts.scheme == "clickhouses" else "http",
            "host": parts.hostname or "localhost",
            "port": parts.port or (8443 if parts.scheme == "clickhouses" else 8123),
            "username": unquote(parts.username or "default"),
            "password": password,
            "connect_timeout": timeout,
            "send_receive_timeout": 10 * timeout,
            "autogenerate_session_id": False,  # a session answers one query at a time
            "form_encode_query_params": True,  # ids stay out of the addresses that proxies write down
            "dedicated_pool": True,
        }
    with speaking(_without_secret(address)):
        client: Client = driver.get_client(**options)
        if database not in {row[0] for row in client.query("SHOW DATABASES").result_rows}:
            client.command(f"CREATE DATABASE IF NOT EXISTS {database}")
        client.database = database
    return client


def _without_secret(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def speaking(place: str) -> Iterator[None]:
    """Whatever ClickHouse, or the way to it, has to say is Failed: to be tried again."""
    errors = importlib.import_module("clickhouse_connect.driver.exceptions")
    try:
        yield
    except errors.ClickHouseError as error:
        text = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise Failed("trace_store_unavailable", f"The trace store at {place}: {text}", retry=True) from None


class ClickHouseStore(Questions, Looks, Finding):
    """Every Event as a row of a table of ClickHouse; the table is made when it is not there. Several control planes may
    use one at the same time.

    ``reach`` makes the client. A server that does not answer is asked again with the next verb, so that what does not
    need traces starts without it; until it has answered, ``cursor`` is 0. Raises Refused when a newer version of Tenure
    made the table.
    """

    dialect = DIALECT

    def __init__(self, reach: Callable[[], Client], keyring: Keyring, address: str) -> None:
        self._reach = reach
        self._reached: Client | None = None
        self._keyring = keyring
        self.place = _without_secret(address)
        self.problem = ""
        self._cursor = 0
        self._summed = 0  # at least
        self._older = 0  # the version of the table, while it is not this one
        self._lock = threading.Lock()
        self._door = threading.Lock()
        try:
            self._cursor = self._derived()
        except Failed as error:
            self.problem = error.message

    @property
    def _client(self) -> Client:
        with self._door:
            if self._reached is None:
                client = self._reach()
                try:
                    with speaking(self.place):
                        self._prepare(client)
                except BaseException:
                    client.close()
                    raise
                self._reached = client
            return self._reached

    def _prepare(self, client: Client) -> None:
        """Makes what is not there. A table says in its comment which version made it, so that with the table its
        version changes."""
        greatest = "SimpleAggregateFunction(max, Int64)"
        client.command(
            f"CREATE TABLE IF NOT EXISTS store (cursor {greatest}) ENGINE = AggregatingMergeTree ORDER BY tuple()"
        )
        for name in ("summed", "floor_us"):
            client.command(f"ALTER TABLE store ADD COLUMN IF NOT EXISTS {name} {greatest}")
        for table in sums.TABLES:
            client.command(_table_of(table))
        self._make(client, "event")
        version = self._version(client)
        if version > SCHEMA_VERSION:
            raise newer(self.place, version)
        if version < ROWS_SINCE:
            self._make(client, "event_next")
            self._older = version
        else:
            if version < SCHEMA_VERSION:
                client.command(f"ALTER TABLE event MODIFY COMMENT '{SCHEMA_VERSION}'")
            client.command("DROP TABLE IF EXISTS event_next SYNC")  # whoever was to do it was killed

    def _make(self, client: Client, table: str) -> None:
        indexes = [f"INDEX by_{name} {name} TYPE bloom_filter(0.01)" for name in _LOOKED_UP]
        columns = [f"{name} {_type(name, kind)}" for name, kind in COLUMNS.items()]
        lines = ", ".join([*columns, *indexes, "INDEX by_time time_us TYPE minmax"])
        client.command(
            f"""CREATE TABLE IF NOT EXISTS {table} ({lines}) ENGINE = ReplacingMergeTree ORDER BY seq
            SETTINGS fsync_after_insert = 1, fsync_part_directory = 1 COMMENT '{SCHEMA_VERSION}'"""
        )

    def _version(self, client: Client) -> int:
        sql = "SELECT comment FROM system.tables WHERE database = currentDatabase() AND name = 'event'"
        return int(client.query(sql).result_rows[0][0])

    def close(self) -> None:
        with self._lock, self._door:
            if self._reached is not None:
                self._reached.close()
                self._reached = None

    # -- from an older version

    @property
    def renewal(self) -> Renewal | None:
        if not self._older:
            return None
        [(done, total)] = self._ask("SELECT (SELECT count() FROM event_next), (SELECT count() FROM event)")
        return Renewal(self._older, int(done), int(total))

    def renew(self) -> bool:
        with self._lock:
            if not self._older:
                return False
            try:
                with speaking(self.place):
                    self._renew(self._client, self._older)
            except Failed as error:
                self.problem = error.message
                raise
            self.problem = ""
            return True

    def _renew(self, client: Client, version: int) -> None:
        if self._version(client) != version:  # another control plane was done first
            self._older = 0
            return
        [(reached,)] = client.query("SELECT max(seq) FROM event_next").result_rows
        found = client.query(
            f"SELECT * FROM event WHERE seq > {int(reached)} ORDER BY seq LIMIT {PIECE}",  # noqa: S608 (numbers of ours)
            column_formats={"content": "bytes"},
        )
        older = [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]
        if older:
            client.insert("event_next", renewed(older, self._keyring), column_names=list(COLUMNS))
            return
        client.command("EXCHANGE TABLES event AND event_next")
        self._older = 0
        client.command("DROP TABLE event_next SYNC")

    # -- writing

    @property
    def cursor(self) -> int:
        """What was derived last; ``add`` derives it anew."""
        return self._cursor

    def _derived(self) -> int:
        """The greatest number there is, or was before Events were dropped."""
        [(rows, dropped)] = self._ask("SELECT (SELECT max(seq) FROM event), (SELECT max(cursor) FROM store)")
        return max(int(rows or 0), int(dropped or 0))

    def add(self, batch: Sequence[Logged]) -> None:
        with self._lock:
            try:
                self._add(batch)
            except Failed as error:
                self.problem = error.message
                raise
            self.problem = ""

    def _add(self, batch: Sequence[Logged]) -> None:
        # Whether an INSERT that was not answered took place, and what another control plane added, is known only there.
        self._cursor = self._derived()
        new = [logged for logged in batch if logged.seq > self._cursor]
        if not new:
            return
        self._is_renewed()
        fresh = rows_of(new, self._keyring)
        self._insert("event", fresh, list(COLUMNS))
        self._cursor = fresh[-1][0]

    def sum_up(self) -> bool:
        """Two control planes make the same sums, which are kept once, as rows are; sums count when the place up to
        which there are any has moved behind them."""
        with self._lock:
            if self._older or self._cursor < self._summed + sums.AT_ONCE:
                return False
            after = self._summed = self._bounds().summed
            upto = after + sums.AT_ONCE
            if self._cursor < upto:
                return False
            for table in sums.TABLES:
                self._do(table.made(self.dialect), [upto, after, upto])
            self._insert("store", [(upto,)], ["summed"])
            self._summed = upto
            return True

    def _bounds(self) -> Bounds:
        [(summed, floor)] = self._all("SELECT max(summed), max(floor_us) FROM store")
        return Bounds(int(summed or 0), int(floor or 0))

    # -- letting go

    def expire(self, before: datetime, agents: Collection[str]) -> int:
        return self._forget("expired", f"time_us < ? AND {_OF_AGENTS}", [micros(before), list(agents)])

    def expire_others(self, before: datetime, but: Collection[str]) -> int:
        return self._forget("expired", f"time_us < ? AND NOT coalesce({_OF_AGENTS}, 0)", [micros(before), list(but)])

    def thin(self, since: datetime, until: datetime, share: int) -> int:
        first = micros(since)
        found = self._all(
            """SELECT trace_id FROM event WHERE time_us >= ? AND trace_id IS NOT NULL GROUP BY trace_id
            HAVING max(time_us + coalesce(duration_us, 0)) < ? AND min(time_us) >= ? AND max(content IS NOT NULL)
               AND min(status = 'allowed' AND error IS NULL AND source IS NULL)
               AND NOT max(startsWith(type, 'approval.'))
               AND match(trace_id, '^[0-9a-f]{32}$')
               AND reinterpretAsUInt32(reverse(unhex(right(trace_id, 6)))) % 100 >= ?
            ORDER BY trace_id LIMIT ?""",
            [first, micros(until), first, share, TRACES_AT_ONCE],
        )
        names = [row[0] for row in found]
        return self._forget("sampled", "time_us >= ? AND trace_id IN ?", [first, names]) if names else 0

    def _forget(self, why: str, where: str, values: Sequence[Any]) -> int:
        """Forgets the content of Events; ``why`` is what is said of them from then on."""
        where = f"content IS NOT NULL AND {where}"
        with self._lock:
            [(count,)] = self._all(f"SELECT count() FROM event WHERE {where}", values)  # noqa: S608 (only our own column names)
            if count:
                self._do(
                    f"ALTER TABLE event UPDATE content = NULL, subject = NULL, words = NULL, gone = ? WHERE {where}",
                    [why, *values],
                )
            return int(count)

    def drop(self, before: datetime) -> int:
        with self._lock:
            values = [micros(before)]
            [(count,)] = self._all("SELECT count() FROM event WHERE time_us < ?", values)
            if count:
                # First, so that the place in the log is known when no row is left to derive it from, and what goes now
                # is counted no more.
                self._insert("store", [(self._derived(), *values)], ["cursor", "floor_us"])
                self._do("ALTER TABLE event DELETE WHERE time_us < ?", values)
                for table in sums.TABLES:
                    self._do(f"ALTER TABLE {table.name} DELETE WHERE on_day < ?", [values[0] // sums.DAY])
            return int(count)

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]], columns: list[str]) -> None:
        with speaking(self.place):
            self._client.insert(table, rows, column_names=columns)

    def _do(self, sql: str, values: Sequence[Any]) -> None:
        text, bound = _bound(sql, values)
        with speaking(self.place):
            self._client.command(text, parameters=bound)

    # -- reading

    def _beside(self, columns: Mapping[str, str]) -> str:
        lists = ", ".join(f"? AS {name}" for name in columns)
        return f"SELECT {', '.join(columns)} FROM system.one ARRAY JOIN {lists}"  # noqa: S608 (only our own column names)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Answers also while the table is brought to this version: what comes in is compared with it."""
        if self._older and ids:
            return {row[0] for row in self._ask("SELECT id FROM event WHERE id IN ?", [list(ids)])}
        return super().known(ids)

    def _is_renewed(self) -> None:
        renewal = self.renewal
        if renewal is not None:
            raise renewal.refusal()

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self._is_renewed()
        return self._ask(sql, values)

    def _ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        text, bound = _bound(sql, values)
        with speaking(self.place):
            found = self._client.query(text, parameters=bound, column_formats={"content": "bytes"})
            return [tuple(row) for row in found.result_rows]


def _table_of(table: Sums) -> str:
    columns = ", ".join(f"{name} {_type(name, kind)}" for name, kind in table.columns().items())
    return (
        f"CREATE TABLE IF NOT EXISTS {table.name} ({columns}) ENGINE = ReplacingMergeTree"
        f" ORDER BY (upto, {', '.join(table.key)})"
    )


def _type(name: str, kind: str) -> str:
    plain = _TYPES[kind.removesuffix(" NOT NULL")]
    whole = plain if kind.endswith("NOT NULL") else f"Nullable({plain})"
    return f"LowCardinality({whole})" if name in _FEW else whole


def _bound(sql: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """A query with ``?`` as ClickHouse has it, its values by name; they travel apart from the text."""
    names = iter(range(len(values)))
    text = re.sub(r"\?", lambda _: f"{{p{(number := next(names))}:{_type_of(values[number])}}}", sql)
    return text, {f"p{number}": value for number, value in enumerate(values)}


def _type_of(value: Any) -> str:
    if isinstance(value, list):
        return "Array(Int64)" if value and isinstance(value[0], int) else "Array(String)"
    return "Int64" if isinstance(value, int) else "String"
