"""Structured logs to standard error: one JSON object a line, or coloured text on a terminal.

No secret may be handed to a logger. As a second line of defence, values under names that hold secrets are blanked.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

_SECRET_NAMES = ("token", "secret", "password", "authorization", "api_key", "cookie", "credential")


def _blank_secrets(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in entry:
        if any(word in name.lower() for word in _SECRET_NAMES):
            entry[name] = "[blanked]"
    return entry


class _Lines:
    """Standard error, which may be a file on a full disk or closed: a line that cannot be written stops nothing."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def configure(level: str = "info") -> None:
    """Sets up logging for this process. ``level``: debug, info, warning or error."""
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer(sort_keys=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _blank_secrets,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", _Lines())),
        cache_logger_on_first_use=False,
    )


def get(room: str) -> Any:
    """A logger whose lines say which room they come from."""
    return structlog.get_logger(room=room)
