"""Agents in the shapes of Entra Agent ID and Okta, held against what their makers publish (no live tenant)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from tenure.app.main import whole
from tenure.kernel.errors import Refused
from tenure.registry import directories
from tests.sim.manifests import manifest

BLUEPRINT = "65415bb1-9267-4313-bbf5-ae259732ee12"

# Microsoft Graph v1.0: what "Create agentIdentity" must contain, and the types of the properties of the resource. The
# resource is open; what we send is held to what is documented all the same.
AGENT_IDENTITY = {
    "type": "object",
    "required": ["displayName", "agentIdentityBlueprintId", "sponsors@odata.bind"],
    "additionalProperties": False,
    "properties": {
        "@odata.type": {"const": "#microsoft.graph.agentIdentity"},
        "displayName": {"type": "string", "minLength": 1, "maxLength": 256},
        "accountEnabled": {"type": "boolean"},
        "agentIdentityBlueprintId": {"type": "string", "minLength": 1},
        "tags": {"type": "array", "items": {"type": "string"}},
        "sponsors@odata.bind": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "pattern": r"^https://graph\.microsoft\.com/v1\.0/(users|groups)/[^/]+$"},
        },
    },
}
# Okta: the body of "Register an AI agent".
AI_AGENT = {
    "type": "object",
    "required": ["profile"],
    "additionalProperties": False,
    "properties": {
        "appId": {"type": "string"},
        "profile": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}, "description": {"type": "string"}},
        },
    },
}


def agent(name: str, state: str) -> dict[str, Any]:
    """An agent as the API tells it."""
    declared = manifest(name, "http://127.0.0.1:1/v1")
    return {
        "name": name,
        "workspace": "default",
        "state": state,
        "release": "sha256:" + "0" * 64,
        "sponsor": declared["spec"]["sponsor"],
        "owner": declared["spec"]["owner"],
        "manifest": declared,
    }


FLEET = [agent("clerk", "production"), agent("asleep", "suspended"), agent("gone", "retired")]


@pytest.mark.req("R032")
def test_what_is_exported_is_what_their_apis_take() -> None:
    entra = directories.to_entra(FLEET, BLUEPRINT)["value"]
    okta = directories.to_okta(FLEET, "0oab1234EXAMPLEID5d6")["data"]
    for body in entra:
        Draft202012Validator(AGENT_IDENTITY).validate(body)
    for body in okta:
        Draft202012Validator(AI_AGENT).validate(body)
    assert [(one["displayName"], one["accountEnabled"]) for one in entra] == [("clerk", True), ("asleep", False)]
    assert [one["profile"]["name"] for one in okta] == ["clerk", "asleep"]
    assert "tenure-release:sha256:" + "0" * 64 in entra[0]["tags"]


def test_what_their_apis_answer_is_read() -> None:
    """The answers are the published examples, with the people that $expand adds."""
    answer = {
        "@odata.type": "#microsoft.graph.agentIdentity",
        "id": "59e617e5-e447-4adc-8b88-00af644d7c92",
        "createdByAppId": "f98c895e-6ce2-4f5b-a31b-da7e48f25daa",
        "displayName": "My Agent Identity",
        "servicePrincipalType": "ServiceIdentity",
        "tags": [],
        "agentIdentityBlueprintId": BLUEPRINT,
        "sponsors": [{"id": "g", "displayName": "A group"}, {"userPrincipalName": "ada@example.com"}],
        "owners": [{"mail": "dana@example.com"}],
    }
    (draft,) = directories.from_entra({"value": [answer]}, "payments")
    assert (draft.ident, draft.enabled) == ("59e617e5-e447-4adc-8b88-00af644d7c92", True)
    assert draft.manifest["metadata"] == {"name": "my-agent-identity", "workspace": "payments"}
    assert draft.manifest["spec"] == {
        "purpose": "My Agent Identity",
        "owner": "dana@example.com",
        "sponsor": "ada@example.com",
    }
    listed = {
        "id": "wlpx9jQ16k9V8IFEL0g3",
        "status": "STAGED",
        "appId": "0oab1234EXAMPLEID5d6",
        "profile": {"name": "Demo Agent", "description": "Answers questions"},
    }
    (draft,) = directories.from_okta({"data": [listed]})
    assert (draft.manifest["metadata"]["name"], draft.enabled) == ("demo-agent", False)
    assert draft.manifest["spec"] == {"purpose": "Answers questions"}


def test_what_goes_out_comes_back() -> None:
    back = directories.from_entra(directories.to_entra(FLEET, BLUEPRINT))
    assert [(one.manifest["metadata"]["name"], one.enabled) for one in back] == [("clerk", True), ("asleep", False)]
    assert [one.manifest["metadata"]["name"] for one in directories.from_okta(directories.to_okta(FLEET))] == [
        "clerk",
        "asleep",
    ]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"value": {}},
        {"value": [1]},
        {"value": [{"displayName": ""}]},
        {"value": [{"displayName": "x" * 257}]},
        {"value": [{"displayName": "???"}]},
        {"value": [{"displayName": "A b"}, {"displayName": "a-B"}]},
        {"value": [{"@odata.type": "#microsoft.graph.user", "displayName": "Ada"}]},
    ],
)
def test_what_is_no_directory_is_refused(document: Any) -> None:
    with pytest.raises(Refused):
        directories.from_entra(document)
    with pytest.raises(Refused):
        directories.from_okta({"data": [{"profile": None}]})


def test_the_command_prints_the_beginning_of_manifests(tmp_path: Path) -> None:
    file = tmp_path / "agents.json"
    listed = [{"id": "wlp1", "status": "ACTIVE", "profile": {"name": "Demo"}}]
    file.write_text(json.dumps({"data": [*listed, {"id": "wlp2", "status": "INACTIVE", "profile": {"name": "Old"}}]}))
    done = CliRunner().invoke(whole(), ["agents", "import", str(file), "--format", "okta"])
    assert done.exit_code == 0
    (read,) = yaml.safe_load_all(done.stdout)
    assert (read["metadata"]["name"], read["spec"]["purpose"]) == ("demo", "Demo")
    assert "# okta: wlp1" in done.stdout
    assert "old: left out" in done.stderr
    refused = CliRunner().invoke(whole(), ["agents", "export", "--format", "entra"])
    assert (refused.exit_code, "--blueprint" in refused.stderr) == (2, True)
