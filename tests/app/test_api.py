"""The API as it is described: complete, and readable without anything from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tenure.app import reference
from tenure.app.server import create_app
from tenure.base.config import Config

OPEN = {
    "/.well-known/oauth-authorization-server",
    "/v1/answers",  # the link says who
    "/v1/answers/look",
    "/oauth/register",
    "/oauth/introspect",
    "/oauth/revoke",
    "/oauth/token",
    "/v1/login",
    "/v1/login/password",
    "/v1/login/passkey",
    "/v1/login/passkey/options",
    "/v1/login/oidc",
    "/v1/login/oidc/{issuer}/begin",
    "/v1/login/oidc/{issuer}/finish",
    "/v1/login/oidc/{issuer}/logout",  # the logout token says who
    "/v1/logout",
    "/v1/health",
    "/v1/lifecycle",
    "/v1/schemas/agent.json",
    "/.well-known/jwks.json",
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("api")
    return create_app(Config(data_dir=folder)).openapi()


def test_every_operation_says_what_it_does_and_what_it_answers(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = f"{method} {path}"
            assert operation["tags"], name
            assert operation["description"].startswith(operation["summary"][:20]), name
            answers = operation["responses"]
            said = [
                answer
                for status, answer in answers.items()
                if status < "3" and (status == "204" or answer.get("content"))
            ]
            assert said, name
            for status in ("4XX", "5XX"):
                oauth = path.startswith("/oauth/") and status == "4XX"  # RFC 6749 section 5.2
                scim = path.startswith("/scim/") and status == "4XX"  # RFC 7644 section 3.12
                kind = "application/json" if oauth else "application/problem+json"
                kind = "application/scim+json" if scim else kind
                otlp = ["application/x-protobuf", "application/json"]  # OTLP/HTTP, "Failures"
                assert list(answers[status]["content"]) == (otlp if path.startswith("/otlp/") else [kind]), name
            assert "422" not in answers, name
    assert "fix" in document["components"]["schemas"]["Problem"]["properties"]


def test_every_operation_that_needs_a_credential_says_which(document: dict[str, Any]) -> None:
    without = {path for path, found in document["paths"].items() for one in found.values() if not one.get("security")}
    assert without == OPEN
    assert set(document["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyCookie"}


def test_the_page_lists_every_operation_and_loads_nothing_from_elsewhere(document: dict[str, Any]) -> None:
    html = reference.page(document)
    assert all(path in html for path in document["paths"])
    assert "<script" not in html
    assert 'src="http' not in html
    assert 'href="http' not in html
