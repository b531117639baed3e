"""The two families of error. An assertion is for our own bugs and is neither of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refused(Exception):  # noqa: N818 (a refusal is an answer, not a malfunction)
    """The caller's fault. ``message`` says what was wrong and ``fix`` what would be right.

    ``status`` is the HTTP status that an API answers with; ``code`` a stable snake_case word for programs;
    ``details`` JSON-ready facts (for a manifest: path, problem and hint of every fault, not only the first).
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        fix: str = "",
        status: int = 400,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix
        self.status = status
        self.details: Mapping[str, Any] = details or {}


class Failed(Exception):  # noqa: N818 (named for who is at fault, as Refused is)
    """The world's fault (a database, a disk, an upstream). ``retry`` says whether trying again can help."""

    def __init__(self, code: str, message: str, *, retry: bool = False, status: int = 503) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry = retry
        self.status = status
