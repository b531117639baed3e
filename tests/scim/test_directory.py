"""A directory in front of the real control plane: requests in the shapes that Microsoft Entra ID and Okta publish.

No live tenant was used: the bodies are those of their documentation; what a tenant's own mappings change is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tenure.app.server import COOKIE
from tenure.client import Client
from tenure.kernel.errors import Refused
from tests.sim.console import Console, running
from tests.ui.conftest import until

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with running(tmp_path_factory.mktemp("scim")) as running_console:
        yield running_console


def key(console: Console, scope: str) -> str:
    """A key of a service account, for this scope."""
    console.client.post("/v1/services", dict, {"name": "directory", "roles": ["operator"]})
    wish = {"name": "scim", "scopes": [scope]}
    return str(console.client.post("/v1/services/directory/keys", dict, wish)["token"])


@pytest.fixture(scope="module")
def directory(console: Console) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {key(console, 'people:provision')}", "Content-Type": "application/scim+json"}
    with httpx2.Client(base_url=f"{console.url}/scim/v2", headers=headers, trust_env=False) as client:
        yield client


def entra_user(name: str) -> dict[str, Any]:
    """As Entra's provisioning service creates somebody."""
    return {
        "schemas": [USER, ENTERPRISE],
        "externalId": f"0a21f0f2-{name}",
        "userName": f"{name.title()}@example.com",
        "active": True,
        "emails": [{"primary": True, "type": "work", "value": f"{name}@example.com"}],
        "meta": {"resourceType": "User"},
        "name": {"formatted": f"{name} Novak", "familyName": "Novak", "givenName": name},
        "roles": [],
        ENTERPRISE: {"department": "Finance"},
    }


def okta_user(name: str) -> dict[str, Any]:
    """As Okta creates somebody."""
    return {
        "schemas": [USER],
        "userName": f"{name}@example.com",
        "name": {"givenName": name, "familyName": "Quist"},
        "emails": [{"primary": True, "value": f"{name}@example.com", "type": "work"}],
        "displayName": f"{name} Quist",
        "locale": "en-US",
        "externalId": f"00u{name}",
        "groups": [],
        "password": "1mz050nq",
        "active": True,
    }


def roles(console: Console, email: str) -> list[str] | None:
    found = console.client.get("/v1/people", dict[str, Any])["people"]
    return next((sorted(one["roles"]) for one in found if one["email"] == email), None)


def session(console: Console, email: str) -> tuple[str, str]:
    """(a browser's cookie, a program's token) of somebody."""
    link = console.client.post(f"/v1/people/{email}/login-link", dict)
    cookie = str(httpx2.post(f"{console.url}/v1/login", json={"code": link["code"]}, trust_env=False).cookies[COOKIE])
    headers = {"Cookie": f"{COOKIE}={cookie}", "x-tenure-csrf": "1"}
    made = httpx2.post(f"{console.url}/v1/tokens", json={"name": "sh"}, headers=headers, trust_env=False)
    return cookie, str(made.json()["token"])


def alive(console: Console, cookie: str, token: str) -> list[int]:
    shown = ({"Cookie": f"{COOKIE}={cookie}"}, {"Authorization": f"Bearer {token}"})
    return [httpx2.get(f"{console.url}/v1/me", headers=one, trust_env=False).status_code for one in shown]


LEAVE = {
    "entra": {"schemas": [PATCH], "Operations": [{"op": "Replace", "path": "active", "value": "False"}]},
    "okta": {"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": False}}]},
}


@pytest.mark.req("R030")
@pytest.mark.parametrize("dialect", ["entra", "okta"])
def test_somebody_comes_and_leaves_and_all_they_could_show_ends(
    console: Console, directory: httpx2.Client, dialect: str
) -> None:
    name = f"zoe{dialect}"
    email, body = f"{name}@example.com", (entra_user if dialect == "entra" else okta_user)(name)
    by_name = {"filter": f'userName eq "{body["userName"]}"', "startIndex": "1", "count": "100"}
    asked = directory.get("/Users", params=by_name)
    assert (asked.status_code, asked.json()["totalResults"], asked.json()["Resources"]) == (200, 0, [])
    made = directory.post("/Users", json=body)
    assert (made.status_code, made.headers["content-type"]) == (201, "application/scim+json")
    user = made.json()
    assert user["meta"]["location"].endswith(f"/scim/v2/Users/{user['id']}")
    assert "password" not in made.text
    assert roles(console, email) == ["viewer"]
    console.client.post("/v1/people", dict, {"email": email, "roles": ["owner"]})
    console.register(name, "approved", owner=email)
    cookie, token = session(console, email)
    assert alive(console, cookie, token) == [200, 200]

    left = directory.patch(f"/Users/{user['id']}", json=LEAVE[dialect])
    assert (left.status_code, left.json()["active"]) == (200, False)
    assert alive(console, cookie, token) == [401, 401]
    assert roles(console, email) is None
    found = directory.get("/Users", params=by_name).json()["Resources"]
    assert [(one["id"], one["active"]) for one in found] == [(user["id"], False)]
    until(lambda: [one for one in console.client.get("/v1/concerns", list[Any]) if one["agent"] == name], 60)
    (concern,) = [one for one in console.client.get("/v1/concerns", list[Any]) if one["agent"] == name]
    assert (concern["kind"], concern["told"]) == ("left", ["operator@localhost"])

    back = {"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": True}}]}
    assert directory.patch(f"/Users/{user['id']}", json=back).json()["active"] is True
    assert roles(console, email) == ["viewer"], "what they could do before, a person gives again"
    assert alive(console, cookie, token) == [401, 401], "what has ended stays so"
    gone = directory.delete(f"/Users/{user['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert directory.get(f"/Users/{user['id']}").status_code == 404
    assert roles(console, email) is None


def test_a_whole_user_by_put_as_okta_sends_it(console: Console, directory: httpx2.Client) -> None:
    user = directory.post("/Users", json=okta_user("ida")).json()
    silent = {key: value for key, value in okta_user("ida").items() if key != "active"}
    assert directory.put(f"/Users/{user['id']}", json=silent).json()["active"] is True
    put = directory.put(f"/Users/{user['id']}", json=okta_user("ida") | {"id": user["id"], "active": False})
    assert put.json()["active"] is False
    assert directory.put(f"/Users/{user['id']}", json=silent).json()["active"] is False, "silence lets nobody in again"
    assert roles(console, "ida@example.com") is None


def test_a_new_address_takes_place_and_agents_along(console: Console, directory: httpx2.Client) -> None:
    user = directory.post("/Users", json=entra_user("eve")).json()
    console.client.post("/v1/people", dict, {"email": "eve@example.com", "roles": ["owner"]})
    console.register("eves", owner="eve@example.com", sponsor="eve@example.com")
    operations = [
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "eve.new@example.com"},
        {"op": "Replace", "path": "userName", "value": "Eve.New@example.com"},
    ]
    changed = directory.patch(f"/Users/{user['id']}", json={"schemas": [PATCH], "Operations": operations})
    assert changed.json()["userName"] == "Eve.New@example.com"
    agent = console.client.get("/v1/agents/eves", dict)
    assert (agent["owner"], agent["sponsor"]) == ("eve.new@example.com", "eve.new@example.com")
    assert (roles(console, "eve@example.com"), roles(console, "eve.new@example.com")) == (None, ["owner"])


def test_roles_come_from_the_directory_but_never_the_operators(console: Console, directory: httpx2.Client) -> None:
    asked = okta_user("rob") | {"roles": [{"value": "Owner"}, "approver"]}
    user = directory.post("/Users", json=asked).json()
    assert roles(console, "rob@example.com") == ["approver", "owner"]
    refused = directory.put(f"/Users/{user['id']}", json=okta_user("rob") | {"roles": [{"value": "operator"}]})
    assert (refused.status_code, refused.json()["scimType"]) == (400, "invalidValue")
    console.client.post("/v1/people", dict, {"email": "rob@example.com", "roles": ["operator", "owner"]})
    directory.put(f"/Users/{user['id']}", json=asked)
    assert roles(console, "rob@example.com") == ["approver", "operator", "owner"], "nor does it take that one away"


def test_refusals_are_scims(directory: httpx2.Client) -> None:
    first = directory.post("/Users", json=okta_user("una")).json()
    again = directory.post("/Users", json=okta_user("una") | {"userName": "UNA@example.com"})
    assert (again.status_code, again.json()["scimType"]) == (409, "uniqueness")
    for answer, status in (
        (directory.get("/Users", params={"filter": 'title co "x"'}), 400),
        (directory.post("/Users", json={"displayName": "nobody"}), 400),
        (directory.post("/Users", json={"userName": "no address"}), 400),
        (directory.post("/Users", content=b"{"), 400),
        (directory.get("/Users/none"), 404),
        (directory.patch(f"/Users/{first['id']}", json={"Operations": [{"op": "nonsense"}]}), 400),
    ):
        assert (answer.status_code, answer.json()["status"]) == (status, str(status)), answer.text
        assert answer.json()["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
        assert answer.headers["content-type"] == "application/scim+json"


def test_only_a_key_for_it_may(console: Console, directory: httpx2.Client) -> None:
    other = {"Authorization": f"Bearer {key(console, 'agents:read')}"}
    for headers, status in (({}, 401), (other, 403)):
        answer = httpx2.get(f"{console.url}/scim/v2/Users", headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["status"]) == (status, str(status))
    secret = directory.headers["authorization"].removeprefix("Bearer ")
    with Client(console.url, secret) as beyond, pytest.raises(Refused, match="scopes of this credential"):
        beyond.get("/v1/people", dict)


def test_the_last_operator_stays_whatever_a_directory_says(console: Console, directory: httpx2.Client) -> None:
    others = [one["email"] for one in console.client.get("/v1/people", dict[str, Any])["people"]]
    for email in others:
        if email != "operator@localhost":
            console.client.request("DELETE", f"/v1/people/{email}", dict)
    link = {"userName": "first", "emails": [{"value": "operator@localhost"}]}
    user = directory.post("/Users", json=link).json()
    for body in LEAVE.values():
        refused = directory.patch(f"/Users/{user['id']}", json=body)
        assert (refused.status_code, refused.json()["detail"]) == (409, "operator@localhost is the only operator.")
    assert directory.get(f"/Users/{user['id']}").json()["active"] is True
    assert roles(console, "operator@localhost"), "what could not be done as a whole was not done in part"


def test_discovery_and_pages_of_users(directory: httpx2.Client) -> None:
    config = directory.get("/ServiceProviderConfig").json()
    assert (config["patch"], config["bulk"]["supported"]) == ({"supported": True}, False)
    assert directory.get("/ResourceTypes").json()["Resources"][0]["endpoint"] == "/Users"
    names = {one["name"] for one in directory.get("/Schemas").json()["Resources"][0]["attributes"]}
    assert {"userName", "active", "emails", "externalId"} <= names
    assert directory.get(f"/Schemas/{USER}").json()["id"] == USER
    for name in ("pat", "kim"):
        directory.post("/Users", json=okta_user(name))
    whole = directory.get("/Users").json()
    page = directory.get("/Users", params={"startIndex": 2, "count": 1}).json()
    assert [one["id"] for one in page["Resources"]] == [whole["Resources"][1]["id"]]
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (whole["totalResults"], 2, 1)
    assert directory.get("/Users", params={"count": 0}).json()["Resources"] == []
