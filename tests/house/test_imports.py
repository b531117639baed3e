"""The import rules of the house (docs/ARCHITECTURE.md), held against the code as it stands."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "tenure"

# From the ground up. Rooms of one floor are brothers: they do not import each other.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"kernel"}),
    frozenset({"base", "client"}),
    frozenset({"sdk"}),
    frozenset({"registry", "identity", "trust", "telemetry", "audit", "revocation", "sequences"}),
    frozenset(
        {
            "oauth",
            "policy",
            "approvals",
            "tools",
            "limits",
            "memory",
            "runtime",
            "discovery",
            "graph",
            "scim",
            "secrets",
            "drafts",
            "behaviour",
        }
    ),
    frozenset(
        {"evaluation", "attribution", "drift", "breaker", "economics", "credentials", "owners", "notify", "autonomy"}
        | {"precedents", "comparison", "paths", "corrections", "exports", "alerts", "search"}
    ),
    frozenset({"releases", "certification", "retention", "forks"}),
    frozenset({"gateway", "ui"}),
    frozenset({"app"}),
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
SLICES = frozenset().union(*FLOORS[3:7])
INSIDE = {"model": 0, "store": 1, "service": 2, "flow": 3, "react": 4, "api": 4, "cli": 4, "room": 5}
# The client is what the CLI and the console speak through: it and base know nothing of each other's insides.
NO_IO = frozenset(
    {"socket", "ssl", "subprocess", "sqlite3", "asyncio", "httpx2", "sqlalchemy", "duckdb", "os", "pathlib"}
)
# What many installations never use: it is loaded where it is used first.
WAIT = frozenset(
    {"apprise", "grpc", "jinja2", "jsonschema", "referencing", "sqlalchemy.dialects.postgresql", "webauthn"}
)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("tenure", include_external_packages=True)


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def _imports(graph: grimp.ImportGraph) -> list[tuple[str, str]]:
    inside = [module for module in graph.modules if module.startswith("tenure.")]
    return [
        (importer, imported)
        for importer in inside
        for imported in graph.find_modules_directly_imported_by(importer)
        if imported.startswith("tenure.")
    ]


def test_every_room_stands_on_a_floor() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert rooms <= set(FLOOR), f"rooms on no floor: {rooms - set(FLOOR)}"


def test_imports_go_down_and_brothers_do_not_import_each_other(graph: grimp.ImportGraph) -> None:
    wrong = [
        f"{importer} -> {imported}"
        for importer, imported in _imports(graph)
        if _room(importer) != _room(imported)
        and FLOOR[_room(imported)] >= FLOOR[_room(importer)]
        and (_room(importer), _room(imported)) != ("app", "app")
    ]
    assert wrong == []


def test_across_slices_only_model_and_service_are_imported(graph: grimp.ImportGraph) -> None:
    wrong = [
        f"{importer} -> {imported}"
        for importer, imported in _imports(graph)
        if _room(imported) in SLICES
        and _room(importer) != _room(imported)
        and imported.split(".")[2:3] not in ([], ["model"], ["service"])
        and _room(importer) != "app"
    ]
    assert wrong == []


def test_the_top_floor_reaches_into_slices_by_room_cli_model_and_service_only(graph: grimp.ImportGraph) -> None:
    allowed: tuple[list[str], ...] = ([], ["room"], ["cli"], ["model"], ["service"])
    wrong = [
        f"{importer} -> {imported}"
        for importer, imported in _imports(graph)
        if _room(importer) == "app" and _room(imported) in SLICES and imported.split(".")[2:3] not in allowed
    ]
    assert wrong == []


def test_inside_a_slice_the_furniture_is_stacked_in_order(graph: grimp.ImportGraph) -> None:
    wrong = []
    for importer, imported in _imports(graph):
        upper, lower = importer.split("."), imported.split(".")
        if upper[1] == lower[1] and upper[1] in SLICES and len(upper) > 2 and len(lower) > 2:
            above, below = INSIDE.get(upper[2]), INSIDE.get(lower[2])
            if above is not None and below is not None and above <= below:
                wrong.append(f"{importer} -> {imported}")
    assert wrong == []


def test_values_and_codecs_do_no_io(graph: grimp.ImportGraph) -> None:
    pure = [
        module
        for module in graph.modules
        if module.startswith("tenure.kernel.") or module.rpartition(".")[2] in {"model", "codec"}
    ]
    assert len(pure) > 10
    wrong = {
        module: touched
        for module in pure
        if module.startswith("tenure.") and module not in ("tenure.kernel.ids", "tenure.ui.model")
        if (touched := {name.split(".")[0] for name in graph.find_modules_directly_imported_by(module)} & NO_IO)
    }
    assert wrong == {}


def test_the_gateway_reaches_no_database_even_indirectly(graph: grimp.ImportGraph) -> None:
    for forbidden in ("sqlalchemy", "duckdb", "alembic", "psycopg", "fastapi"):
        if forbidden in graph.modules:
            chains = graph.find_shortest_chains("tenure.gateway", forbidden, as_packages=True)
            assert chains == set(), f"the gateway reaches {forbidden}: {chains}"


@pytest.mark.parametrize("kind", ["cli", "ui"])
def test_the_console_and_the_commands_speak_http_only(graph: grimp.ImportGraph, kind: str) -> None:
    for module in graph.modules:
        if not module.startswith("tenure."):
            continue
        if (kind == "cli" and module.endswith(".cli")) or (kind == "ui" and module.startswith("tenure.ui")):
            for imported in graph.find_modules_directly_imported_by(module):
                last = imported.split(".")[2:3]
                assert not (_room(imported) in SLICES and last in (["service"], ["store"])), f"{module} -> {imported}"
                assert imported.split(".")[0] not in {"sqlalchemy", "duckdb"}, f"{module} -> {imported}"


def test_no_import_hides_inside_a_function_but_of_a_library_that_may_wait_for_its_first_use() -> None:
    hidden = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                hidden += [
                    f"{path.relative_to(SOURCE)}:{inner.lineno}"
                    for inner in ast.walk(node)
                    if isinstance(inner, ast.Import | ast.ImportFrom) and not _may_wait(inner)
                ]
    assert hidden == []


def _may_wait(node: ast.Import | ast.ImportFrom) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return all(any(f"{name}.".startswith(f"{one}.") for one in WAIT) for name in names)


@pytest.mark.parametrize("process", ["tenure.app.server", "tenure.gateway.__main__"])
def test_a_process_starts_without_what_many_never_use(process: str) -> None:
    program = f"import sys, {process}; print(*({set(WAIT)!r} & sys.modules.keys()))"
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
