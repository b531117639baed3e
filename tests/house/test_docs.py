"""Docs that can fail: an undocumented event, setting, command or route turns a test red."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from scripts import agentic, generate_docs
from tenure.app.wiring import ROOMS
from tenure.gateway.events import EVENTS as GATEWAY_EVENTS

SOURCE = Path(generate_docs.ROOT) / "src" / "tenure"


@pytest.mark.parametrize("path", sorted(generate_docs.PAGES), ids=lambda path: path.name)
def test_generated_pages_are_up_to_date(path: Path) -> None:
    assert path.exists(), "run `make docs`"
    assert path.read_text() == generate_docs.PAGES[path](), f"{path.name} is out of date: run `make docs`"


def test_every_event_type_that_the_code_makes_is_documented() -> None:
    documented = {kind for room in ROOMS for kind in room.events} | set(GATEWAY_EVENTS)
    made: dict[str, str] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Event":
                for keyword in node.keywords:
                    if keyword.arg == "type" and isinstance(keyword.value, ast.Constant):
                        made[str(keyword.value.value)] = str(path)
    assert made, "the search found no Event at all: it no longer fits the code"
    assert set(made) <= documented, {kind: made[kind] for kind in set(made) - documented}


def test_every_command_and_setting_has_words() -> None:
    for page in (generate_docs.commands_page(), generate_docs.settings_page(), generate_docs.events_page()):
        for line in page.splitlines():
            if line.startswith("| `"):
                assert not re.search(r"\|\s*\|(?!.*\|.*\|.*\|)", line.rsplit("|", 2)[0] + "|"), f"no words: {line}"


@pytest.mark.parametrize("item", agentic.ITEMS)
def test_every_item_of_the_agentic_top_ten_has_an_attack_and_its_benign_twin(item: str) -> None:
    proof = agentic.proofs(generate_docs.ROOT / "tests")[item]
    assert proof.attacks
    assert proof.twins


def test_no_mark_names_an_item_that_does_not_exist() -> None:
    assert set(agentic.proofs(generate_docs.ROOT / "tests")) == set(agentic.ITEMS)
