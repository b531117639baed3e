"""Debian's Chromium, driven by Playwright: a fresh context for each test, and no error on its console goes unseen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]


def chromium() -> str:
    """Where Chromium is; a machine without one skips what needs it."""
    found = os.environ.get("TENURE_CHROMIUM") or shutil.which("chromium")
    if not found:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """A running Chromium."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Window:
    """A fresh browser context with one page, and what went wrong in it.

    ``expected`` are pieces of messages that a test provokes on purpose, as the 404 of a page that does not exist.
    """

    context: BrowserContext
    page: Page
    expected: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fails on any console error, uncaught exception or refused resource that was not expected."""
        found = [text for text in self.problems if not any(part in text for part in self.expected)]
        assert not found, f"the browser complained: {found}"


@contextmanager
def window(browser: Browser, **options: Any) -> Iterator[Window]:
    """A fresh context; what its console complained of fails the test at the end. ``options`` as ``new_context``."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(15_000)
    opened = Window(context, page)

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            opened.problems.append(f"{message.text} ({page.url})")

    page.on("console", heard)
    page.on("pageerror", lambda error: opened.problems.append(str(error)))
    try:
        yield opened
        opened.check()
    finally:
        context.close()
