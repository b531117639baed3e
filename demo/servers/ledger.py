"""An MCP server over streamable HTTP for a ledger in SQLite: ``python -m demo.servers.ledger DATABASE PORT``."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer(
    "ledger", log_level="ERROR", instructions="A ledger of invoices and payments. All amounts are integer cents."
)
database = ""

SCHEMA = """
CREATE TABLE IF NOT EXISTS invoice (
  number TEXT PRIMARY KEY, vendor TEXT NOT NULL, amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  paid INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS payroll (person TEXT PRIMARY KEY, salary_cents INTEGER NOT NULL);
INSERT OR IGNORE INTO payroll VALUES ('A. Ek', 6120000), ('B. Roth', 5480000);
"""
TABLES = ("invoice", "payroll")


def _connect() -> closing[sqlite3.Connection]:
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    return closing(connection)


@server.tool()
def record_invoice(number: str, vendor: str, amount_cents: int) -> str:
    """Records an invoice. Recording it twice changes nothing."""
    with _connect() as connection, connection:
        connection.execute(
            "INSERT OR IGNORE INTO invoice (number, vendor, amount_cents) VALUES (?, ?, ?)",
            (number, vendor, amount_cents),
        )
    return f"{number} recorded"


@server.tool()
def pay_invoice(number: str, amount_cents: int) -> str:
    """Pays a recorded invoice. This moves money and cannot be undone."""
    with _connect() as connection, connection:
        done = connection.execute(
            "UPDATE invoice SET paid = 1 WHERE number = ? AND amount_cents = ? AND paid = 0", (number, amount_cents)
        )
    if done.rowcount != 1:
        raise ToolError(f"no unpaid invoice {number} over {amount_cents} cents")
    return f"{number} paid: {amount_cents} cents"


@server.tool()
def query(table: str) -> list[dict[str, str | int]]:
    """All rows of a table: invoice or payroll."""
    if table not in TABLES:
        raise ToolError(f"there is no table {table}; there are {' and '.join(TABLES)}")
    with _connect() as connection:
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1")]  # noqa: S608 (a name of TABLES)


def main() -> None:
    """Serves until it is ended."""
    global database  # noqa: PLW0603 (tools are plain functions; the file they work on is given once, at the start)
    database = sys.argv[1]
    with _connect() as connection, connection:
        connection.executescript(SCHEMA)
    server.run("streamable-http", port=int(sys.argv[2]), stateless_http=True, json_response=True)


if __name__ == "__main__":
    main()
