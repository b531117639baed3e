"""Lines of the log: one JSON object each, no secret in any, and none that stops anything."""

from __future__ import annotations

import io
import json
import sys

import pytest

from tenure.base import log


def _told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_says_what_happened_where_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    log.get("policy").warning("refused\nby\x1b[0m", files=3, at=object)
    [line] = _told(capsys)
    assert line.pop("time")
    assert line.pop("at") == repr(object)
    assert line == {"room": "policy", "event": "refused\nby\x1b[0m", "level": "warning", "files": 3}


@pytest.mark.req("R094")
def test_what_is_under_a_name_that_holds_secrets_is_blanked(capsys: pytest.CaptureFixture[str]) -> None:
    log.get("identity").info("logged in", session_token="abc", Authorization="abc", who="ann")
    assert "abc" not in (told := capsys.readouterr().err)
    assert json.loads(told)["who"] == "ann"


def test_what_is_below_the_level_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("error")
    try:
        log.get("a").warning("not this")
        try:
            int("no number")
        except ValueError:
            log.get("a").exception("but this")
    finally:
        log.configure()
    [line] = _told(capsys)
    assert line["event"] == "but this"
    assert "ValueError: invalid literal" in str(line["exception"])


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_nothing_that_others_wrote_steers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    log.get("a").info("seen", agent="x\x1b]0;title\x07")
    assert "\x1b]" not in terminal.getvalue()
    assert "seen" in terminal.getvalue()


def test_a_line_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    log.get("a").info("nobody hears this")
