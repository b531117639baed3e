"""A command waits for nothing but what its first word needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tenure.app.commands import MODULES

_WHOLE = """
import json, typer
from importlib import import_module
from tenure.app.commands import MODULES
from tenure.app.main import app

def tree(command):
    inner = getattr(command, "commands", None)
    return None if inner is None else {name: tree(one) for name, one in inner.items()}

before, said = {}, {}
for one in MODULES:
    import_module(f"tenure.{one}").register(app)
    after = tree(typer.main.get_command(app))
    said[one] = [name for name in after if name not in before or after[name] != before[name]]
    before = after
print(json.dumps([said, before]))
"""
_PART = """
import json, sys, typer
from tenure.app.commands import register
from tenure.app.main import app
register(app, sys.argv[1])
print(json.dumps([sorted(typer.main.get_command(app).commands), sorted(sys.modules)]))
"""
_HEAVY = ("cedarpy", "fastapi", "uvicorn", "sqlalchemy", "duckdb", "grpc", "hyperscan")


def _run(code: str, *words: str) -> list[dict[str, list[str]]]:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=True, text=True)
    found: list[dict[str, list[str]]] = json.loads(done.stdout)
    return found


def test_each_module_has_the_words_that_it_is_found_by() -> None:
    said, commands = _run(_WHOLE)
    assert {name: set(words) for name, words in said.items()} == {name: set(words) for name, words in MODULES.items()}
    assert set(commands) == {word for words in MODULES.values() for word in words}


@pytest.mark.parametrize("word", ["hook", "version", "agents", "approvals", "traces", "run", "doctor"])
def test_a_command_loads_nothing_that_it_does_not_need(word: str) -> None:
    commands, modules = _run(_PART, word)
    assert word in commands
    roots = {name.partition(".")[0] for name in modules}
    assert word == "doctor" or not roots.intersection(_HEAVY)
    assert word != "hook" or not roots.intersection(("httpx2", "pydantic")), "coding agents wait for it at each call"
    needed = {one for one, words in MODULES.items() if word in words}
    assert {one for one in MODULES if f"tenure.{one}" in modules} == needed


def test_a_word_that_is_no_command_is_answered_with_all_that_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tenure.app.main", "agent", "list"], capture_output=True, check=False, text=True
    )
    assert done.returncode == 2
    assert "agents" in done.stderr
