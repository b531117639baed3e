"""Vectors as the database keeps them: of each text once for each model."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import insert, metadata

vector_table = sa.Table(
    "search_vector",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("mark", sa.String(71), primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)
_V = vector_table.c


def vectors(connection: Connection, workspace: str, model: str) -> dict[str, bytes]:
    """Every vector of a workspace by the mark of its text."""
    found = connection.execute(sa.select(_V.mark, _V.vector).where(_V.workspace == workspace, _V.model == model))
    return {row.mark: row.vector for row in found}


def save(connection: Connection, workspace: str, model: str, found: Mapping[str, bytes]) -> None:
    """Keeps vectors; those that are there already stay."""
    rows = [{"workspace": workspace, "model": model, "mark": mark, "vector": vector} for mark, vector in found.items()]
    statement = insert(connection, vector_table)
    connection.execute(statement.on_conflict_do_nothing(index_elements=["workspace", "model", "mark"]), rows)


def marks(connection: Connection, workspace: str) -> set[tuple[str, str]]:
    """(model, mark) of every vector of a workspace."""
    found = connection.execute(sa.select(_V.model, _V.mark).where(_V.workspace == workspace))
    return {(row.model, row.mark) for row in found}


def drop_others(connection: Connection, workspace: str, model: str, wanted: Collection[str]) -> int:
    """Forgets the vectors of texts that are no more, and of other models; how many."""
    gone = [(name, mark) for name, mark in marks(connection, workspace) if name != model or mark not in wanted]
    for name, mark in gone:
        connection.execute(sa.delete(vector_table).where(_V.workspace == workspace, _V.model == name, _V.mark == mark))
    return len(gone)
