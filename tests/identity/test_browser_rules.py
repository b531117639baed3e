"""What a browser may change with a cookie, who is a person, and which roles people have."""

from __future__ import annotations

import pytest

from tenure.identity.model import csrf_ok, email_address, human_roles
from tenure.kernel.errors import Refused
from tenure.kernel.values import Role

HOST = "127.0.0.1:7700"


@pytest.mark.parametrize(
    ("method", "headers", "ok"),
    [
        ("GET", {"sec-fetch-site": "cross-site"}, True),
        ("head", {}, True),
        ("POST", {}, False),
        ("POST", {"x-tenure-csrf": "1"}, True),
        ("POST", {"x-tenure-csrf": ""}, False),
        ("DELETE", {"sec-fetch-site": "same-origin"}, True),
        ("POST", {"sec-fetch-site": "same-site"}, False),
        ("POST", {"sec-fetch-site": "cross-site"}, False),
        ("POST", {"sec-fetch-site": "none"}, False),
        ("POST", {"sec-fetch-site": "cross-site", "origin": f"http://{HOST}"}, False),
        ("POST", {"origin": f"http://{HOST}"}, True),
        ("POST", {"origin": f"https://{HOST}"}, True),
        ("POST", {"origin": "http://127.0.0.1:7701"}, False),
        ("POST", {"origin": "http://evil.example"}, False),
        ("POST", {"origin": f"http://evil.example/{HOST}"}, False),
        ("POST", {"origin": f"http://{HOST}@evil.example"}, False),
        ("POST", {"origin": f"ftp://{HOST}"}, False),
        ("POST", {"origin": "null"}, False),
        ("POST", {"origin": "http://[broken"}, False),
        ("PUT", {"origin": ""}, False),
    ],
)
def test_a_change_by_cookie_needs_a_sign_that_it_is_ours(method: str, headers: dict[str, str], ok: bool) -> None:
    assert csrf_ok(method, headers, HOST) is ok


def test_no_host_is_nobodys_origin() -> None:
    assert not csrf_ok("POST", {"origin": "http://"}, "")


@pytest.mark.parametrize("text", ["Ann@Example.com", " op@localhost ", "a.b+c@x-y.example"])
def test_addresses_are_lower_case(text: str) -> None:
    assert email_address(text) == text.strip().lower()


@pytest.mark.parametrize("text", ["", "ann", "@x", "a@", "a b@x", "a@x\n.y", "a@-x-", "ä@x", "a@" + "x" * 200, "a@b@c"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        email_address(text)
    assert refused.value.code == "bad_email"


@pytest.mark.parametrize("names", [[], ["system"], ["boss"], ["operator", "system"]])
def test_nobody_is_the_system(names: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        human_roles(names)
    assert refused.value.code == "bad_role"
    assert human_roles(["owner", "owner"]) == {Role.OWNER}
