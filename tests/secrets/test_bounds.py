"""Where a credential may go."""

from __future__ import annotations

import pytest

from tenure.base.bounds import read_bounds, variables
from tenure.kernel.errors import Refused


@pytest.mark.req("R041", "R042")
@pytest.mark.parametrize(
    ("entry", "url", "fits"),
    [
        ("api.example.com", "https://api.example.com/v1", True),
        ("api.example.com", "https://API.example.com:443/v1", True),
        ("api.example.com", "https://api.example.com:8443/v1", False),
        ("api.example.com:8443", "https://api.example.com:8443/v1", True),
        ("api.example.com:*", "https://api.example.com:9/v1", True),
        ("api.example.com", "http://api.example.com/v1", False),
        ("http://api.example.com", "http://api.example.com/v1", True),
        ("api.example.com", "https://api.example.com.evil.org/v1", False),
        ("api.example.com", "https://evil.org/?api.example.com", False),
        ("api.example.com", "https://api.example.com@evil.org/v1", False),
        ("*.example.com", "https://api.example.com/v1", True),
        ("*.example.com", "https://a.b.example.com/v1", True),
        ("*.example.com", "https://example.com/v1", False),
        ("*.example.com", "https://badexample.com/v1", False),
        ("127.0.0.1:9010", "http://127.0.0.1:9010/mcp", True),
        ("127.0.0.1:9010", "http://127.0.0.1:9011/mcp", False),
        ("10.0.0.1:80", "http://10.0.0.1/mcp", False),
        ("api.example.com", "file:///etc/passwd", False),
        ("api.example.com", "https://api.example.com:x/", False),
    ],
)
def test_a_credential_goes_to_the_hosts_that_are_named(entry: str, url: str, fits: bool) -> None:
    assert read_bounds([entry]).send_to(url) is fits


@pytest.mark.parametrize(
    ("entry", "command", "fits"),
    [
        ("npx -y server-github", ("npx", "-y", "server-github"), True),
        ("npx -y server-github", ("npx", "-y", "server-github", "--all"), True),
        ("npx -y server-github", ("npx", "-y", "server-evil"), False),
        ("npx -y server-github", ("npx",), False),
        ("*", ("anything",), True),
    ],
)
def test_a_credential_is_handed_to_the_programs_that_are_named(
    entry: str, command: tuple[str, ...], fits: bool
) -> None:
    assert read_bounds([], [entry]).hand_to(command) is fits


@pytest.mark.parametrize(
    ("hosts", "programs"),
    [([], []), (["https://a.b"], []), (["*"], []), (["a.b/c"], []), (["a:99999"], []), ([], [""])],
)
def test_what_is_no_place_is_refused(hosts: list[str], programs: list[str]) -> None:
    with pytest.raises(Refused) as caught:
        read_bounds(hosts, programs)
    assert caught.value.code == "bad_bounds"


def test_a_list_of_variables_is_read() -> None:
    found = variables("KEY=a.example.com|b.example.com, DB=exec:npx -y server|exec:uvx x ,")
    assert found["KEY"].hosts == ("a.example.com", "b.example.com")
    assert found["DB"].programs == ("npx -y server", "uvx x")
    for wrong in ("KEY", "KEY=", "K Y=a.b", "KEY=https://a.b"):
        with pytest.raises(Refused):
            variables(wrong)
