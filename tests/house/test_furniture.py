"""Every slice has the same furniture, every package says what may not live there, every exemption gives its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

import tenure.app.server  # noqa: F401 (loads every room, so that the metadata knows every table)
from tenure.base.db import metadata

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "tenure"
PACKAGES = sorted(path.parent for path in SOURCE.rglob("__init__.py"))
SLICES = sorted(path.parent for path in SOURCE.glob("*/room.py") if path.parent.name != "base")
FILES = sorted([*SOURCE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "demo").rglob("*.py")])
SHARED_TABLES = {"event_cursor", "flow_lease"}  # places in the log and leases: of the installation, not of a workspace


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_says_what_it_is(package: Path) -> None:
    assert re.match(r'"""\S.{20,}', (package / "__init__.py").read_text()), f"{package} has no docstring that says so"


@pytest.mark.parametrize("folder", SLICES, ids=lambda path: path.name)
def test_a_slice_has_its_furniture(folder: Path) -> None:
    assert (folder / "README.md").exists()
    assert (folder / "model.py").exists()


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_every_row_belongs_to_a_workspace(table: sa.Table) -> None:
    assert "workspace" in table.c or table.name in SHARED_TABLES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_exemption_gives_its_reason(path: Path) -> None:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        exempt = re.search(r"#\s*(noqa|type:\s*ignore)(.*)$", line)
        if exempt and not re.match(r".*ignore", str(path.name)):
            assert re.search(r"(noqa|ignore).*[(\[].*\)\s*$|#.*#\s*\S|\(.{5,}\)", exempt[0]), (
                f"{path}:{number}: {line.strip()}"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_is_not_crowded(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 450, f"{path} has {lines} lines: is it still one room?"


def test_the_repository_speaks_of_tenure_only() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in FILES
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if unfinished.search(line)
    ]
    assert found == []
