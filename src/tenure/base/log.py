"""Structured logs to standard error: one JSON object a line, or coloured text on a terminal.

No secret may be handed to a logger. As a second line of defence, values under names that hold secrets are blanked.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_SECRET_NAMES = ("token", "secret", "password", "authorization", "api_key", "cookie", "credential")
_COLOURS = {"debug": 36, "info": 32, "warning": 33, "error": 31}
_least = logging.INFO


def configure(level: str = "info") -> None:
    """Sets up logging for this process. ``level``: debug, info, warning or error."""
    global _least  # noqa: PLW0603 (a process has one standard error)
    _least = logging.getLevelNamesMapping()[level.upper()]


def get(room: str) -> Logger:
    """A logger whose lines say which room they come from."""
    return Logger(room)


@dataclass(frozen=True, slots=True)
class Logger:
    """Writes a line for what happened (``event``) with its facts. Never raises."""

    room: str

    def debug(self, event: str, **facts: object) -> None:
        """What helps to find a fault."""
        self._write("debug", event, facts)

    def info(self, event: str, **facts: object) -> None:
        """What is as it should be."""
        self._write("info", event, facts)

    def warning(self, event: str, **facts: object) -> None:
        """What goes on all the same."""
        self._write("warning", event, facts)

    def error(self, event: str, *, exc_info: BaseException | None = None, **facts: object) -> None:
        """What did not go as it should; with the traceback of an exception if one is given."""
        if exc_info is not None:
            facts["exception"] = "".join(traceback.format_exception(exc_info)).rstrip()
        self._write("error", event, facts)

    def exception(self, event: str, **facts: object) -> None:
        """As ``error``, with the exception that is being handled."""
        self.error(event, exc_info=sys.exception(), **facts)

    def _write(self, level: str, event: str, facts: dict[str, object]) -> None:
        if logging.getLevelNamesMapping()[level.upper()] < _least:
            return
        entry = {"room": self.room, **_blanked(facts), "event": event, "level": level}
        entry["time"] = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        # A file on a full disk, or closed: a line that cannot be written stops nothing.
        with suppress(OSError, ValueError):
            sys.stderr.write(_coloured(entry) if sys.stderr.isatty() else json.dumps(entry, default=repr) + "\n")
            sys.stderr.flush()


def _blanked(facts: dict[str, object]) -> dict[str, object]:
    return {
        name: "[blanked]" if any(word in name.lower() for word in _SECRET_NAMES) else value
        for name, value in facts.items()
    }


def _coloured(entry: dict[str, Any]) -> str:
    rest = dict(entry)
    trace = rest.pop("exception", "")
    time, level, event = (rest.pop(name) for name in ("time", "level", "event"))
    facts = " ".join(f"\x1b[36m{name}\x1b[0m=\x1b[35m{_plain(value)}\x1b[0m" for name, value in rest.items())
    line = f"\x1b[2m{time[:19]}\x1b[0m [\x1b[{_COLOURS[level]}m{level:<7}\x1b[0m] \x1b[1m{event:<30}\x1b[0m {facts}\n"
    return f"{line}{trace}\n" if trace else line


def _plain(value: object) -> str:
    """Without what would steer the terminal: agents and peers choose some of these words."""
    text = str(value)
    return text if text.isprintable() else repr(text)
