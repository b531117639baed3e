"""The control plane's API under generated requests: no operation fails, and each answers as its description says.

``make fuzz-api`` runs the same for longer (TENURE_API_EXAMPLES).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tenure.app.server import create_app
from tenure.base.config import Config
from tests.sim.console import Console, running, story

EXAMPLES = int(os.environ.get("TENURE_API_EXAMPLES", "4"))
CHECKS: Any = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ENDLESS = {("get", "/v1/feed"), ("get", "/internal/v1/snapshot")}  # streams, which have tests of their own
KNOWN = {"name": "clerk", "agent": "clerk", "workspace": "default", "email": "operator@localhost"}


def _document() -> dict[str, Any]:
    return create_app(Config(data_dir=Path("nowhere"))).openapi()


DOCUMENT = _document()
_FOUND: list[Any] = list(schemathesis.openapi.from_dict(DOCUMENT).get_all_operations())
OPERATIONS = {
    f"{one.method.upper()} {one.path}": one
    for one in (found.ok() for found in _FOUND)
    if (one.method, one.path) not in ENDLESS
}


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with running(tmp_path_factory.mktemp("api")) as console:
        console.register("clerk")
        story(console)
        yield console


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.mark.req("R079")
@pytest.mark.parametrize("mode", ["as described", "against the description"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_makes_it_fail_and_every_answer_is_as_described(
    console: Console, session: requests.Session, name: str, mode: str
) -> None:
    operation = OPERATIONS[name]
    takes = [*operation.path_parameters, *operation.query, *operation.headers, *operation.body]
    if mode != "as described" and not takes:
        return  # nothing of a request could be against it
    made = GenerationMode.POSITIVE if mode == "as described" else GenerationMode.NEGATIVE
    token = (console.gateway if "/internal/" in name else console.client)._http.headers["authorization"]

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=made), known=st.booleans())
    def holds(case: Any, known: bool) -> None:
        if known:
            case.path_parameters = {**(case.path_parameters or {})}
            case.path_parameters.update({key: KNOWN[key] for key in case.path_parameters if key in KNOWN})
        headers = {"authorization": token}
        response = case.call(base_url=console.url, session=session, headers=headers, timeout=20)
        case.validate_response(response, checks=CHECKS)

    holds()


def _routes() -> list[tuple[str, str]]:
    return [
        (method, path)
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
        if operation.get("security")
    ]


_ERRORS = {"scim": ("application/scim+json", "detail"), "otlp": ("application/x-protobuf", "")}
"""The type of errors where another standard says it (RFC 7644, section 3.12; OTLP 1.9, a google.rpc.Status), and the
member that says what is wrong."""


@pytest.mark.parametrize(("method", "path"), _routes())
@pytest.mark.parametrize("sent", ["nothing", "a wrong token", "a wrong cookie"])
def test_every_route_refuses_whoever_it_does_not_know(console: Console, method: str, path: str, sent: str) -> None:
    headers = {
        "nothing": {},
        "a wrong token": {"authorization": "Bearer not-a-token"},
        "a wrong cookie": {"cookie": "tenure_session=not-a-session", "x-tenure-csrf": "1"},
    }[sent]
    where = console.url + path.replace("{", "").replace("}", "")
    answer = httpx2.request(method.upper(), where, headers=headers, trust_env=False, timeout=60)
    kind, says = _ERRORS.get(path.split("/")[1], ("application/problem+json", "fix"))
    assert (answer.status_code, answer.headers["content-type"]) == (401, kind)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    if says:
        assert answer.json()[says]
