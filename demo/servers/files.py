"""An MCP server over stdio for the files of one folder: ``python -m demo.servers.files FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("files", log_level="ERROR", instructions="Reads and writes the files of one folder.")
root = Path()


def _inside(name: str) -> Path:
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise ToolError(f"{name} is outside the folder")
    return path


@server.tool()
def list_files() -> list[str]:
    """Names of all files in the folder."""
    return sorted(path.name for path in root.iterdir() if path.is_file())


@server.tool()
def read_file(name: str) -> str:
    """The text of a file."""
    return _inside(name).read_text("utf-8")


@server.tool()
def delete_file(name: str) -> str:
    """Deletes a file for good."""
    _inside(name).unlink()
    return f"{name} deleted"


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    server.run("stdio")
