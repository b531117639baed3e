"""What every command shares: which control plane it talks to, how it prints, how it fails.

Exit status: 0 done, 1 done but the answer is bad news (or a person said no), 2 Refused, 3 Failed.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import pydantic_core
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from tenure.client.http import UNREACHABLE, Client
from tenure.kernel.errors import Failed, Refused

P = ParamSpec("P")
T = TypeVar("T")

SETTINGS: Mapping[str, str] = {
    "TENURE_URL": "Control plane that commands talk to; unset means the one of this machine",
    "TENURE_TOKEN": "Credential that commands send; unset means `operator.token` in the data folder",
}
"""What commands read besides the settings in ``base.config``; ``docs/settings.md`` lists both."""

# In a pipe there is no edge to fit into: a table cut to 80 columns would lose what `grep` looks for.
console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 240)
_errors = Console(stderr=True, highlight=False)


def control_url(environ: Mapping[str, str] | None = None) -> str:
    """Where the control plane is: TENURE_URL, or the address and port that ``tenure up`` on this machine takes.

    Raises Refused for what is no address."""
    given = os.environ if environ is None else environ
    host, port = given.get("TENURE_HOST") or "127.0.0.1", given.get("TENURE_CONTROL_PORT") or "7700"
    url = (given.get("TENURE_URL") or f"http://{host}:{port}").rstrip("/")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise Refused(
            "bad_url",
            f"{url!r} is not the address of a control plane.",
            fix="Set TENURE_URL to one like http://127.0.0.1:7700, or unset it, TENURE_HOST and TENURE_CONTROL_PORT.",
        )
    return url


def credential(environ: Mapping[str, str] | None = None) -> str:
    """TENURE_TOKEN, or the operator's token in the data folder, or nothing (the control plane then says what to do).

    Raises Refused for a token file that this user may not read.
    """
    given = os.environ if environ is None else environ
    if token := given.get("TENURE_TOKEN"):
        return token
    file = Path(given.get("TENURE_DATA") or ".tenure") / "operator.token"
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Refused(
            "unreadable_credential",
            f"{file} cannot be read: {error.strerror}.",
            fix="Run the command as the user who ran `tenure up`, or set TENURE_TOKEN.",
        ) from error


def connect(timeout: float = 60.0) -> Client:
    """A client for the control plane that this shell means. Connects with the first request, not before."""
    return Client(control_url(), credential(), timeout=timeout)


def print_error(error: Refused | Failed) -> None:
    """``error: ...``, each fault of the details on a line of its own, and ``fix: ...``, on standard error."""
    _errors.print(f"error: {error.message}", style="red", markup=False, soft_wrap=True)
    if isinstance(error, Failed):
        if error.code == UNREACHABLE:
            _errors.print("fix: Start it with `tenure up`, or set TENURE_URL to where it is.", soft_wrap=True)
        elif error.retry:
            _errors.print("fix: Try again in a moment.", markup=False, soft_wrap=True)
        return
    faults = error.details.get("faults")
    for fault in faults if isinstance(faults, Sequence) else ():
        if isinstance(fault, Mapping):
            _errors.print(f"  {fault_line(fault)}", markup=False, soft_wrap=True)
    if error.fix:
        _errors.print(f"fix: {error.fix}", markup=False, soft_wrap=True)


def fault_line(fault: Mapping[str, Any]) -> str:
    """One fault as ``file:line: path: problem (hint)``, with the parts it has."""
    place = ":".join(str(fault[part]) for part in ("file", "line") if fault.get(part) not in (None, ""))
    text = ": ".join(part for part in (place, str(fault.get("path") or ""), str(fault.get("problem") or "")) if part)
    return f"{text} ({fault['hint']})" if fault.get("hint") else text


def handle_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Decorator of a command, under ``@app.command()``: prints Refused and Failed, exits with 2 and 3."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (Refused, Failed) as error:
            print_error(error)
            raise typer.Exit(2 if isinstance(error, Refused) else 3) from error

    return run


def emit(value: Any, as_json: bool, render: Callable[[], None]) -> None:
    """Prints ``value`` as JSON (dataclasses, pydantic models and times included), or lets ``render`` print it."""
    if as_json:
        sys.stdout.write(pydantic_core.to_json(value, indent=2).decode() + "\n")
        sys.stdout.flush()
    else:
        render()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints rows under headings, as plain text: no markup is read in what agents and people wrote."""
    grid = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for row in rows:
        grid.add_row(*(str(cell).replace("[", "\\[") for cell in row))
    console.print(grid)


def confirm(text: str, yes: bool) -> None:
    """Says what will happen and asks. ``yes`` skips the question. Exits with 1 when the person says no; raises Refused
    where nobody can be asked."""
    if yes:
        return
    console.print(text, markup=False)
    if not sys.stdin.isatty():
        raise Refused("not_confirmed", "Nobody is there to confirm this.", fix="Add --yes to go ahead without asking.")
    if not typer.confirm("Go ahead?"):
        raise typer.Exit(1)


def group(app: typer.Typer, name: str) -> typer.Typer:
    """The group of commands that another slice registered as ``name`` before, to add to it. Where it was not, because
    other commands are asked for (``app.commands``), one that nobody sees."""
    there = (
        one.typer_instance
        for one in app.registered_groups
        if one.typer_instance and name in (one.name, one.typer_instance.info.name)
    )
    return next(there, typer.Typer())
