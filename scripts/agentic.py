"""``docs/owasp-agentic.md``: what stops each item of the OWASP Top 10 for agents, from the marks of the tests."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ITEMS = {
    "ASI01": ("Agent goal hijack", "Orders that the scanner's rules do not know pass it."),
    "ASI02": ("Tool misuse and exploitation", "What a tool does with good arguments is the tool's."),
    "ASI03": ("Identity and privilege abuse", ""),
    "ASI04": ("Agentic supply chain vulnerabilities", "Prompts and resources of MCP servers are not pinned yet."),
    "ASI05": ("Unexpected code execution", "A process that nothing demands to confine is not confined."),
    "ASI06": ("Memory and context poisoning", "Agents' own memories are not governed yet; what enters a context is."),
    "ASI07": ("Insecure inter-agent communication", "Agents that talk past the gateway are not seen."),
    "ASI08": ("Cascading failures", ""),
    "ASI09": ("Human-agent trust exploitation", "What an agent tells people outside of Tenure is not read."),
    "ASI10": ("Rogue agents", "Slow drift within all limits is not told from honest work yet."),
}
"""Each item's name, and what of it is left open."""


@dataclass
class Proofs:
    """The tests of one item: attacks by the control that stops them, and their benign twins."""

    attacks: list[tuple[str, str]] = field(default_factory=list)
    twins: list[str] = field(default_factory=list)


def proofs(tests: Path) -> dict[str, Proofs]:
    """What the marks ``asi(item, control)`` and ``twin(item)`` in a folder of tests say."""
    found: dict[str, Proofs] = defaultdict(Proofs)
    for path in sorted(tests.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            test = f"{path.relative_to(tests.parent)}::{node.name}"
            for mark in node.decorator_list:
                if not isinstance(mark, ast.Call):
                    continue
                words = [str(ast.literal_eval(word)) for word in mark.args if isinstance(word, ast.Constant)]
                match ast.unparse(mark.func):
                    case "pytest.mark.asi":
                        found[words[0]].attacks.append((words[1], test))
                    case "pytest.mark.twin":
                        found[words[0]].twins.append(test)
    return found


def page(tests: Path) -> str:
    """The page, but for the note that it is generated."""
    found = proofs(tests)
    lines = ["# OWASP Top 10 for Agentic Applications 2026", ""]
    lines += [
        "What stops each item here, the attack that a test makes on it, and its benign twin: what must pass all the"
    ]
    lines += ["same. From the marks `@pytest.mark.asi(...)` and `@pytest.mark.twin(...)`.", ""]
    lines += ["| item | what stops it | attack | benign twin | left open |", "|---|---|---|---|---|"]
    for item, (name, left) in ITEMS.items():
        proof = found.get(item, Proofs())
        for number, (control, test) in enumerate(proof.attacks):
            first = number == 0
            twins = "<br>".join(f"`{twin}`" for twin in proof.twins) if first else ""
            lines.append(
                f"| {f'{item} {name}' if first else ''} | {control} | `{test}` | {twins} | {left if first else ''} |"
            )
    return "\n".join(lines) + "\n"
