"""Every command, run by somebody of another workspace with this workspace's ids: the answer is the one for an id that
exists nowhere, and nothing changes. The commands come from the command line itself; one whose arguments nobody has
said how to fill fails here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from joserfc.jwk import ECKey
from typer.testing import CliRunner

from tenure.app.main import whole
from tests.sim.tenants import FULL, MARK, Insider, Tenants, body_of, tenants, twin

# Arguments by the command they belong to, or by their own name for all commands.
ARGUMENTS: dict[str, str | list[str]] = {
    "agent": "{agent}",
    "agents remove-card name": "{external}",
    "ident": "{approval}",
    "batch": "{approval}",
    "approval": "{approval}",
    "words": MARK,
    "approvals stand-in add stand_in": "eve@heron.example",
    "approvals ladder put name": "{ladder}",
    "approvals ladder remove name": "{ladder}",
    "approvals stand-in end ident": "{stand-in}",
    "precedents show ident": "{precedent}",
    "precedents publish ident": "{precedent}",
    "precedents revoke ident": "{precedent}",
    "call": "{call}",
    "drafts show ident": "{draft}",
    "drafts execute ident": "{draft}",
    "drafts discard ident": "{draft}",
    "drafts elsewhere ident": "{draft}",
    "decision": "approve",
    **{f"discover {verb} ident": "{finding}" for verb in ("show", "claim", "register", "block", "ignore", "reopen")},
    "owners show ident": "{offer}",
    "owners accept ident": "{offer}",
    "owners decline ident": "{offer}",
    "owners withdraw ident": "{offer}",
    "agents": "{agent}",
    "name": "{agent}",
    "scope": "agent",
    "to": "suspended",
    "limits remove name": "{limit}",
    "notify remove name": "{destination}",
    "alerts show ident": "{alert}",
    "alerts see ident": "{alert}",
    "alerts off name": "{alarm}",
    "alerts remove name": "{alarm}",
    "alerts put file": "{folder}/agent.yaml",
    "alerts try file": "{folder}/agent.yaml",
    "exports remove name": "{export}",
    "notify replay ident": "{delivery}",
    "notify test name": "{destination}",
    "trace_id": "{trace}",
    "other": "{trace}",
    "call_id": "{call}",
    "email": "{email}",
    "file": "{folder}/public.jwk",
    "listing": "{folder}/agents.json",
    "agents keys revoke key": "{thumbprint}",
    "token_id": "{token}",
    "service": "{service}",
    "rule": "{rule}",
    "connectors remove name": "{connector}",
    "connectors disconnect name": "{connector}",
    "secrets allow name": "{secret}",
    "secrets remove name": "{secret}",
    "secrets rotate name": "{secret}",
    "key_id": "{key}",
    "login_id": "{login}",
    "program_id": "{program}",
    "programs add name": " ",
    "path": "{folder}/policy.cedar",
    "policy diff first": "{version}",
    "policy diff second": "{folder}/policy.cedar",
    "tool": "payments/refund",
    "resource": "files/read_file",
    "source": "{folder}/agent.yaml",
    "policy show name": "{version}",
    "revoke instance ident": "{instance}",
    "digest": "{digest}",
    "kid": "{key}",
    "retention erase subject": "nobody",  # that an erasure does not cross is in tests/retention
    "revoke workspace name": "{workspace}",
    "run command": ["--", "true"],
    "workspaces create name": "Not A Name",
}
OPTIONS: dict[str, list[str]] = {
    "agent": ["--agent", "{agent}"],
    "from_step": ["--from-step", "1"],
    "session": ["--session", "{session}"],
    "destination": ["--destination", "{destination}"],
    "email": ["--email", "{email}"],
    "reason": ["--reason", "mine now"],
    "step": ["--step", "5m:operator"],
    "deadline": ["--deadline", "1s"],
    "until": ["--until", "2026-01-01"],
    "issuer": ["--issuer", "nonsense"],
    "subject": ["--subject", "nonsense"],
    "role": ["--role", "viewer"],
    "workspace": ["--workspace", "{workspace}"],
    "yes": ["--yes"],
    "scope": ["--scope", "agents:read"],
    "trials": ["--trials", "1"],
    "shape": ["--format", "okta"],
    "redirect": ["--redirect", "https://heron.example/cb"],
    "json": ["--json"],
    "up_to": ["--up-to", "amount_cents=50"],
    "only": ["--only", "{approval}"],
    "host": ["--host", "heron.example"],
    "files": ["--file", "{folder}/agent.yaml"],
    "version": ["--to", "{version}"],
    "to": ["--to", "{folder}/private.jwk"],
}
ELSEWHERE = {
    "hook": "asks a gateway, with an agent's own token",
    "up": "starts an installation and asks none",
    "doctor": "looks at files of this machine",
    "move-traces": "works on files of this machine, while Tenure is stopped",
    "graph blast": "asks GET /v1/graph/blast, which is tested beside this, for a node of any kind",
    "discover processes": "looks at this machine, and sends POST /v1/discovery/sightings, which is tested beside this",
    "discover configs": "as discover processes",
    "discover source": "as discover processes",
    "discover cards": "asks the addresses it is given, and sends what discover processes sends",
    "version": "asks nobody",
    "feed": "never ends; its route is tested beside this",
    "import tau-bench": "sends POST /v1/imports/events, which is tested beside this, out of a file",
    "import corrections": "as import tau-bench",
    "import who-and-when": "as import tau-bench",
    "replay tau-bench": "starts instances as `run` does, and speaks to a gateway",
    "drill rotation": "starts instances as `run` does, and sends what `rotate` and `keys rotate` send",
    "workspaces create": "makes a workspace of its own",
    "notify add": "adds one of its own, under any name",
    "exports put": "adds one of its own, under any name",
    "autonomy set": "sets the floor of its own workspace",
    "limits set": "sets one of its own, under any name",
    "services add": "makes one of its own, under any name",
    "connectors put": "sets up one of its own, under any name",
    "secrets put": "keeps one of its own, under any name",
    "people add": "adds to its own people, under any address",
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    with tenants(tmp_path_factory.mktemp("tenants")) as running:
        yield running


@pytest.fixture(scope="module")
def kept(two: Tenants) -> dict[str, list[str]]:
    """The full workspace before anybody asked anything."""
    return two.kept()


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _commands(inner, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS: dict[str, Any] = dict(_commands(typer.main.get_command(whole())))


def _words(name: str, command: Any, ids: Mapping[str, str], folder: Path) -> list[str]:
    words = name.split()
    for param in command.params:
        given: str | list[str] | None
        if param.param_type_name == "argument":
            given = ARGUMENTS.get(f"{name} {param.name}", ARGUMENTS.get(str(param.name)))
            assert given is not None, f"tenure {name}: say in ARGUMENTS what stands for {param.name}"
            words += [given] if isinstance(given, str) else given
        else:
            key = str(param.name).removeprefix("as_")
            given = OPTIONS.get(key)
            assert given is not None or not param.required, f"tenure {name}: say in OPTIONS what stands for --{key}"
            if given and (name != "run" or key == "agent"):
                words[len(name.split()) : len(name.split())] = given
    return [word.format(folder=folder, **{key.split()[-1]: value for key, value in ids.items()}) for word in words]


def _run(words: list[str], two: Tenants, who: Insider) -> Any:
    env: dict[str, str | None] = {name: None for name in os.environ if name.startswith("TENURE_")}
    env |= {"TENURE_URL": two.console.url, "TENURE_TOKEN": who.token, "COLUMNS": "400"}
    return CliRunner().invoke(whole(), words, env=env)


def _alike(result: Any, ids: Mapping[str, str]) -> tuple[int, str]:
    text = result.output
    for kind, value in sorted(ids.items(), key=lambda item: -len(item[1])):
        text = text.replace(value, f"<{kind}>")
    return result.exit_code, re.sub(r'"(since|took_s|set_at)": ("[^"]*"|[\d.e-]+)', r'"\1": 0', text)


def _folder(tmp_path: Path, ids: Mapping[str, str]) -> Path:
    manifest = body_of("intruder") | {"metadata": {"name": "intruder", "workspace": ids["workspace"]}}
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(manifest))))
    public = ECKey.generate_key("P-256").as_dict(private=False)
    (tmp_path / "public.jwk").write_text(json.dumps(public))
    (tmp_path / "policy.cedar").write_text("permit(principal, action, resource);\n")
    return tmp_path


@pytest.mark.parametrize("who", ["own", "other"])
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(ELSEWHERE)))
def test_no_command_tells_or_changes_anything(two: Tenants, kept: Any, tmp_path: Path, name: str, who: str) -> None:
    ids = dict(two.ids)
    answers = []
    for asked in (ids, {kind: twin(value) for kind, value in ids.items()}):
        words = _words(name, COMMANDS[name], asked, _folder(tmp_path, asked))
        answers.append(_alike(_run(words, two, two.strangers[who]), asked))
    text = re.sub(r"\s+", " ", answers[0][1])
    assert MARK not in text
    assert "Traceback" not in text
    if any(marked in word for word in words for marked in ("quail", "sha256:")):
        assert answers[0] == answers[1]
    assert two.kept() == kept


def test_the_same_words_work_for_who_belongs_there(two: Tenants, tmp_path: Path) -> None:
    """The questions above are the right ones."""
    for name in ("agents show", "agents history", "approvals show", "traces show", "services keys", "workspaces list"):
        words = _words(name, COMMANDS[name], two.ids, _folder(tmp_path, two.ids))
        result = _run(words, two, two.zoe)
        assert result.exit_code == 0, (words, result.output)
        assert MARK in result.output or name == "services keys"
    assert FULL in _run(["workspaces", "list"], two, two.zoe).output


def test_what_is_tested_elsewhere_exists() -> None:
    assert set(ELSEWHERE) <= set(COMMANDS)
