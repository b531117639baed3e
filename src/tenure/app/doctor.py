"""``tenure doctor``: what is wrong with an installation, and how to mend it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tenure.base import config as configuration
from tenure.base.box import bubblewrap, confined
from tenure.base.config import Config
from tenure.client import Client
from tenure.client.cli import credential
from tenure.kernel.errors import Failed, Refused

_LEAST_FREE = 1 << 30
_MIGRATIONS = Path(configuration.__file__).parent / "migrations" / "versions"
_SECRETS = ("gateway.token", "operator.token")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``level`` is ok, note or problem; ``fix`` says how to mend it."""

    check: str
    level: str
    found: str
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def examine(config: Config) -> Iterator[Finding]:
    """Looks at one thing after another; never raises for what it finds."""
    version = ".".join(map(str, sys.version_info[:3]))
    modern = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if modern else "problem", version, "" if modern else "Install Python 3.11 or later.")
    yield _sqlite()
    yield _sandbox(config)
    yield _confinement()
    yield from _folder(config)
    yield from _traces(config)
    yield from _processes(config)
    yield from _trace_store(config)
    yield from _notifications(config)
    yield _four_eyes(config)
    yield from unowned(config)


def _sqlite() -> Finding:
    good = sqlite3.sqlite_version_info >= (3, 35)
    return Finding(
        "sqlite", "ok" if good else "problem", sqlite3.sqlite_version, "" if good else "SQLite 3.35 or later is needed."
    )


def _sandbox(config: Config) -> Finding:
    problem = bubblewrap.trouble()
    if config.sandbox == "off":
        return Finding("sandbox", "note", "off: MCP servers that the gateway starts can do what its user can")
    if not problem:
        return Finding("sandbox", "ok", "bubblewrap works: MCP servers that the gateway starts are kept in")
    level = "problem" if config.sandbox == "required" else "note"
    text = f"{problem}: MCP servers that the gateway starts can do what its user can"
    return Finding("sandbox", level, text, "Install bubblewrap, or allow unprivileged user namespaces.")


def _confinement() -> Finding:
    problem = confined.trouble()
    if not problem:
        return Finding("confinement", "ok", "it works: `tenure run --confine` keeps an agent to the gateway")
    text = f"{problem}: `tenure run --confine` starts nothing here"
    return Finding("confinement", "note", text, "Install bubblewrap, or allow unprivileged user namespaces.")


def _folder(config: Config) -> Iterator[Finding]:
    folder = config.data_dir
    if folder.exists() and not folder.is_dir():
        yield Finding("data folder", "problem", f"{folder} is a file", "Choose a folder with TENURE_DATA.")
        return
    if not folder.is_dir():
        yield Finding("data folder", "note", f"{folder} does not exist yet", "`tenure up` makes it.")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("data folder", "problem", f"{folder} cannot be written", "chown it to the user that runs Tenure.")
        return
    yield Finding("data folder", "ok", str(folder.resolve()))
    free = shutil.disk_usage(folder).free
    yield Finding(
        "disk",
        "ok" if free > _LEAST_FREE else "problem",
        f"{free / (1 << 30):.1f} GiB free",
        "" if free > _LEAST_FREE else "Below 1 GiB the trace store stops taking: make room.",
    )
    for name in _SECRETS:
        path = folder / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding(name, "problem", "others on this machine can read it", f"chmod 600 {path}")
    yield from _schema(config)


def _traces(config: Config) -> Iterator[Finding]:
    """Where traces are kept, as far as it can be told without opening it."""
    file = config.traces_file
    if file is not None:
        if file.is_file() and _head(file)[8:12] != b"DUCK":
            fix = "Restore it from a backup, or move it away to begin anew."
            yield Finding("trace store", "problem", f"{file} is damaged", fix)
        return
    if importlib.util.find_spec("clickhouse_connect") is None:
        found = "TENURE_TRACES names ClickHouse, and its client is not installed"
        yield Finding("trace store", "problem", found, "pip install 'tenure[clickhouse]'")
    if config.traces_key and config.traces_key not in os.environ:
        found = f"TENURE_TRACES_KEY names the variable {config.traces_key}, which is not set here"
        yield Finding("trace store", "note", found, "It must be set for the control plane.")
    parts = urlsplit(config.traces)
    if parts.scheme != "chdb":
        host, port = parts.hostname or "localhost", parts.port or (8443 if parts.scheme == "clickhouses" else 8123)
        if _taken(host, port):
            yield Finding("trace store", "ok", f"ClickHouse, {host}:{port} listens")
        else:
            fix = "Start ClickHouse, or correct TENURE_TRACES. Calls go on, and Events wait in the event log."
            yield Finding("trace store", "problem", f"nothing listens at {host}:{port}", fix)


def _head(file: Path) -> bytes:
    with file.open("rb") as handle:
        return handle.read(12)


def _schema(config: Config) -> Iterator[Finding]:
    if not config.database.startswith("sqlite:///"):
        return
    path = Path(config.database.removeprefix("sqlite:///"))
    if not path.exists():
        yield Finding("control database", "note", f"{path} does not exist yet", "`tenure up` makes it.")
        return
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        yield Finding(
            "control database", "problem", f"{path} cannot be read: {error}", "Restore the data folder from a backup."
        )
        return
    known = {file.name.partition("_")[0] for file in _MIGRATIONS.glob("*.py")}
    if verdict != "ok":
        yield Finding("control database", "problem", verdict, "Restore the data folder from a backup.")
    elif revision and revision[0] not in known:
        yield Finding(
            "control database",
            "problem",
            f"written by a newer Tenure (schema {revision[0]})",
            "Start that version, or another data folder.",
        )
    else:
        yield Finding("control database", "ok", f"schema {revision[0] if revision else 'none'}, intact")


def _processes(config: Config) -> Iterator[Finding]:
    running = False
    try:
        with Client(config.control_url, timeout=3) as client:
            health: dict[str, str] = client.get("/v1/health", dict[str, str])
        running = True
        yield Finding("control plane", "ok", f"{config.control_url} answers, version {health['version']}")
    except (Failed, Refused) as error:
        if _taken(config.host, config.control_port):
            yield Finding(
                "control plane",
                "problem",
                f"another program answers on port {config.control_port}: {error.message}",
                "Stop it, or set TENURE_CONTROL_PORT.",
            )
        else:
            yield Finding("control plane", "note", f"nothing listens at {config.control_url}", "Start it: `tenure up`.")
    if _taken(config.host, config.gateway_port):
        yield Finding("gateway", "ok" if running else "note", f"{config.gateway_url} listens")
        yield from _gateway_record(config)
    else:
        level = "problem" if running else "note"
        yield Finding("gateway", level, f"nothing listens at {config.gateway_url}", "Start it: `tenure up`.")


def _gateway_record(config: Config) -> Iterator[Finding]:
    """What the gateway says of its own spool."""
    try:
        with Client(config.gateway_url, timeout=3) as client:
            health: dict[str, Any] = client.get("/healthz", dict[str, Any])
    except (Failed, Refused, ValueError) as error:  # it cannot decide calls now, or is another program
        yield Finding("gateway", "problem", f"it decides no calls: {error}", "Is the control plane up? `tenure up`.")
        return
    events, recorder = health.get("events") or {}, health.get("recorder", "ok")
    lost = sum(int(events.get(name, 0)) for name in ("dropped", "refused", "damaged"))
    if recorder != "ok":
        fix = "Make room on the disk of the folder `spool`; calls go on meanwhile."
        yield Finding("record", "problem", str(recorder), fix)
    if lost:
        yield Finding("record", "note", f"{lost} Events lost since the gateway was started", "See /recording.")


def _trace_store(config: Config) -> Iterator[Finding]:
    """What the control plane says of the trace store, to whoever may ask."""
    try:
        with Client(config.control_url, credential(os.environ), timeout=3) as client:
            record: dict[str, Any] = client.get("/v1/recording", dict[str, Any])
    except (Failed, Refused):  # nobody to ask as, or nobody to ask: said elsewhere
        return
    if record["problem"]:
        found = f"{record['problem']} {record['behind']} Events wait in the event log."
        embedded = config.traces_file is not None
        fix = "Make room in the data folder, or see its disk." if embedded else "See whether ClickHouse answers."
        yield Finding("trace store", "problem", found, fix)
    elif record["renewal"]:
        yield Finding("trace store", "note", record["renewal"])
    elif record["lost"]:
        yield Finding("record", "note", f"{record['lost']} Events lost in the last day", "See /recording.")


def _notifications(config: Config) -> Iterator[Finding]:
    """Whether those who are to be told are, as far as whoever asks may see it."""
    try:
        with Client(config.control_url, credential(os.environ), timeout=3) as client:
            found: list[dict[str, Any]] = client.get("/v1/notify/destinations", list[dict[str, Any]])
    except (Failed, Refused):  # as above
        return
    fix = "Look: `tenure notify log --state dead`; send again: `tenure notify replay ID`."
    for one in found:
        if one["problem"]:
            yield Finding("notifications", "problem", f"{one['name']} cannot be told: {one['problem']}", fix)
        elif one["dead"]:
            yield Finding("notifications", "note", f"{one['dead']} messages to {one['name']} were given up", fix)
    if found and not config.public_url:
        text = f"links in messages lead to {config.control_url}, which others may not reach"
        yield Finding("notifications", "note", text, "Set TENURE_PUBLIC_URL.")
    if not found:
        fix = "Tell somebody: `tenure notify add`."
        yield Finding("notifications", "note", "nobody is told when a call waits or a breaker trips", fix)
    elif not any(one["problem"] or one["dead"] for one in found):
        yield Finding("notifications", "ok", f"{len(found)} destinations, all told")


def _four_eyes(config: Config) -> Finding:
    """Whether who asks for an agent may grant it, too: a choice, so no fault either way."""
    if not config.four_eyes:
        found = "whoever asks for an agent may grant it, too (TENURE_FOUR_EYES names workspaces where not)"
        return Finding("four eyes", "ok", found)
    where = "every workspace" if config.takes_two("") else config.four_eyes
    return Finding("four eyes", "ok", f"nobody grants what they asked for themselves in {where}")


def unowned(config: Config) -> Iterator[Finding]:
    """Agents whose owner has left or has not said for long that they answer for it, as far as whoever asks may see."""
    try:
        with Client(config.control_url, credential(os.environ), timeout=3) as client:
            found: list[dict[str, Any]] = client.get("/v1/concerns", list[dict[str, Any]])
    except (Failed, Refused):  # as above
        return
    for one in found:
        if one["kind"] not in {"left", "unconfirmed"}:
            continue
        ends = f"; it is suspended at {one['due'][:16].replace('T', ' ')} UTC" if one["due"] else ""
        ends = "; it was suspended for it" if one["suspended_at"] else ends
        level = "problem" if one["kind"] == "left" else "note"
        fix = "Take it over or hand it on: `tenure owners take`, `tenure owners offer`."
        if one["kind"] == "unconfirmed":
            fix = f"{one['owner']} says so with `tenure owners confirm {one['agent']}`, or hands it on."
        yield Finding("owners", level, f"agent {one['agent']}: {one['words']} ({one['owner']}){ends}", fix)


def _taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        try:
            return probe.connect_ex((host, port)) == 0
        except OSError:  # a name that leads nowhere
            return False
