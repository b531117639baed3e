"""Identity's routes and commands, over real HTTP requests to the real application's parts."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tenure.base.room import World
from tenure.identity import service
from tenure.identity.room import ROOM
from tests.sim.served import application


@pytest.fixture
def http(world: World) -> TestClient:
    """The routes, with requests authenticated as the server does it."""
    service.bootstrap(world)
    return TestClient(application(world, [r for r in (ROOM.router,) if r]), base_url="http://127.0.0.1:7700")


def _bearer(world: World) -> dict[str, str]:
    return {"Authorization": f"Bearer {(world.config.data_dir / 'operator.token').read_text().strip()}"}


def test_a_login_sets_a_cookie_that_scripts_and_other_sites_cannot_use(world: World, http: TestClient) -> None:
    link = http.post("/v1/people/operator@localhost/login-link", headers=_bearer(world)).json()
    answer = http.post("/v1/login", json={"code": link["code"]})
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("tenure_session=")
    for word in ("httponly", "samesite=strict", "max-age=43200", "path=/"):
        assert word in cookie
    assert answer.headers["cache-control"] == "no-store"
    assert http.get("/v1/me").json()["name"] == "person:operator@localhost"
    assert http.post("/v1/logout").json() == {"done": True}
    assert http.get("/v1/me").status_code == 401


def test_a_bad_code_is_a_problem_that_says_what_to_do(http: TestClient) -> None:
    answer = http.post("/v1/login", json={"code": "nonsense"})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == "bad_code"
    assert "tenure login-link" in body["fix"]
    assert "nonsense" not in answer.text
    assert http.post("/v1/login", json={"code": "x" * 201}).status_code == 422


def test_people(world: World, http: TestClient) -> None:
    me = _bearer(world)
    made = http.post("/v1/people", json={"email": "ann@example.com", "roles": ["viewer"]}, headers=me)
    assert made.status_code == 200
    listed = http.get("/v1/people", headers=me).json()["people"]
    assert {person["email"] for person in listed} == {"operator@localhost", "ann@example.com"}
    assert http.post("/v1/people", json={"email": "x", "roles": ["viewer"]}, headers=me).json()["code"] == "bad_email"
    assert http.post("/v1/people", json={"email": "a@b", "roles": ["god"]}, headers=me).json()["code"] == "bad_role"
    assert http.get("/v1/people").status_code == 401


def test_tokens_are_told_once(world: World, http: TestClient) -> None:
    me = _bearer(world)
    made = http.post("/v1/tokens", json={"name": "ci", "ttl_s": 60}, headers=me).json()
    theirs = {"Authorization": f"Bearer {made['token']}"}
    assert http.get("/v1/me", headers=theirs).status_code == 200
    assert made["token"] not in http.get("/v1/tokens", headers=me).text
    assert http.delete(f"/v1/tokens/{made['id']}", headers=me).status_code == 200
    assert http.get("/v1/me", headers=theirs).status_code == 401


@pytest.mark.req("R024")
def test_the_public_keys_are_open_and_only_public(world: World, http: TestClient) -> None:
    answer = http.get("/.well-known/jwks.json")
    keys = answer.json()["keys"]
    assert answer.headers["cache-control"] == "public, max-age=60"
    assert [sorted(key) for key in keys] == [["alg", "crv", "kid", "kty", "use", "x", "y"]] * 2
    made = http.post("/v1/keys/rotate", headers=_bearer(world)).json()
    assert len(http.get("/.well-known/jwks.json").json()["keys"]) == 3
    assert made["kid"] in {key["kid"] for key in keys}, "it was there before it signs"
    listed = http.get("/v1/keys", headers=_bearer(world)).json()["keys"]
    assert [made] == [{name: key[name] for name in made} for key in listed if key["state"] == "waiting"]


def test_a_gateway_is_no_person(world: World, http: TestClient) -> None:
    token = (world.config.data_dir / "gateway.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    assert http.get("/v1/me", headers=headers).json()["roles"] == ["gateway"]
    assert http.get("/v1/people", headers=headers).status_code == 403
    assert http.post("/v1/tokens", json={"name": "x"}, headers=headers).status_code == 403
