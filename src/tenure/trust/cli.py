"""``tenure trust``: outside issuers and SPIFFE trust domains whose word is taken for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_trust = typer.Typer(no_args_is_help=True, help="Outside issuers whose word is taken for who an agent is.")


def register(app: typer.Typer) -> None:
    """Adds the commands of trust."""
    app.add_typer(_trust, name="trust")


@_trust.command("list")
@handle_errors
def trust_list(as_json: AsJson = False) -> None:
    """List the rules of trust."""
    with connect() as client:
        found = client.get("/v1/trust", dict[str, Any])["rules"]

    def render() -> None:
        rows = [(r["name"], r["agent"], r["issuer"], _asked(r), r["expires_at"][:10]) for r in found]
        if rows:
            table(("rule", "agent", "issuer", "of whom", "until"), rows)
        else:
            console.print("Nobody outside is trusted. Trust somebody: tenure trust add NAME --agent AGENT ...")

    emit(found, as_json, render)


def _asked(rule: dict[str, Any]) -> str:
    claims = " ".join(f"{name}={value}" for name, value in rule["claims"].items())
    return f"{rule['subject']} {claims}".strip()


@_trust.command("add")
@handle_errors
def trust_add(  # noqa: PLR0917 (each is an option on the command line)
    rule: Annotated[str, typer.Argument(help="What to call it: lower-case letters, digits and hyphens.")],
    agent: Annotated[str, typer.Option("--agent", help="The agent that such a token is.")],
    issuer: Annotated[str, typer.Option("--issuer", help="The `iss` of the tokens, or spiffe://example.org.")],
    subject: Annotated[str, typer.Option("--subject", help="Their `sub`; * stands for anything.")],
    audience: Annotated[str, typer.Option("--audience", help="Their `aud`; this installation if not given.")] = "",
    claim: Annotated[list[str] | None, typer.Option("--claim", help="NAME=VALUE that must hold; repeat.")] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="File of a SPIFFE trust bundle, a JWK set, or PEM certificates.")
    ] = None,
    days: Annotated[int, typer.Option("--days", help="How long the rule is good.", min=1, max=366)] = 365,
    as_json: AsJson = False,
) -> None:
    """Take the word of an outside issuer, or of a SPIFFE trust domain, for who an agent is."""
    claims = dict(_claim(one) for one in claim or [])
    body = {"agent": agent, "issuer": issuer, "subject": subject, "audience": audience, "claims": claims, "days": days}
    body["bundle"] = bundle.read_text("utf-8") if bundle else ""
    with connect() as client:
        made = client.put(f"/v1/trust/{quote(rule, safe='')}", dict[str, Any], body)
    emit(made, as_json, lambda: console.print(f"{made['issuer']} is trusted for agent {made['agent']}", markup=False))


def _claim(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise typer.BadParameter(f"--claim is NAME=VALUE, not {text}")
    return name, value


@_trust.command("remove")
@handle_errors
def trust_remove(
    rule: Annotated[str, typer.Argument(help="Its name, from `tenure trust list`.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take somebody's word no longer. Tokens that were issued by it end within minutes."""
    confirm(f"Agents no longer get in by the rule {rule}.", yes)
    with connect() as client:
        done = client.request("DELETE", f"/v1/trust/{quote(rule, safe='')}", dict[str, Any])
    emit(done, as_json, lambda: console.print(f"{rule} is trusted no longer", markup=False))
