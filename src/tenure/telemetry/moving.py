"""The traces of a former place into the one that ``TENURE_TRACES`` names: ``python -m tenure.telemetry.moving PLACE``.

What ``tenure move-traces`` becomes, so that no other command loads an engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import typer

from tenure.base.config import Config, load
from tenure.base.db import Database
from tenure.base.subjects import Keyring
from tenure.client.cli import handle_errors
from tenure.kernel.errors import Refused
from tenure.telemetry.traces.engines import open_engine
from tenure.telemetry.traces.moving import move


def run(config: Config, former: str, say: Callable[[str], None]) -> int:
    """Moves, and says how far it is every ten seconds; how many Events it were. Raises Refused and Failed as ``move``
    and ``open_engine`` do, and Refused for a file that is not there or a place that is the same."""
    there = replace(config, traces=former)
    if there.traces_file is not None and not there.traces_file.is_file():
        raise Refused("no_trace_store", f"{there.traces_file} is no file.", fix="Name the former file.", status=404)
    if _place(there) == _place(config):
        fix = "Set TENURE_TRACES to where traces are to be kept from now on."
        raise Refused("same_trace_store", f"{former} is where traces are kept.", fix=fix, status=409)
    database = Database(config.database)
    keyring = Keyring(database, config)
    with closing(database), closing(open_engine(there, keyring)) as old, closing(open_engine(config, keyring)) as new:
        events, told = 0, time.monotonic()
        for count, reached in move(old, new):
            events += count
            if time.monotonic() - told > 10:
                told = time.monotonic()
                say(f"{events:,} Events; at number {reached:,} of {old.cursor:,}")
    return events


def _place(config: Config) -> str:
    return str(config.traces_file.resolve()) if config.traces_file is not None else config.traces


@handle_errors
def main(former: str) -> None:
    """The command."""
    events = run(load(), former, lambda line: print(line, flush=True))
    print(f"{events:,} Events moved. Start Tenure; the former place stays as it is.")


if __name__ == "__main__":
    typer.run(main)
