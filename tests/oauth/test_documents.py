"""The documents that programs are known by are fetched safely: from a real server over TLS, which misbehaves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tenure.kernel.errors import Refused
from tenure.oauth.login import documents
from tenure.oauth.login.documents import Documents
from tests.sim.documents import Site, site


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as served:
        yield served


@pytest.fixture
def trusted(served: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The server, whose authority this process trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(served.authority))
    served.asked.clear()
    return served


def fetch(address: str, *, loopback: bool = True) -> Any:
    return asyncio.run(Documents(loopback=loopback).get(address))


def refused(address: str, *, loopback: bool = True) -> str:
    with pytest.raises(Refused) as error:
        fetch(address, loopback=loopback)
    assert error.value.code == "bad_client_document"
    return str(error.value.details["why"])


def test_a_document_is_fetched_once_in_five_minutes(trusted: Site) -> None:
    async def twice() -> Any:
        kept = Documents(loopback=True)
        await kept.get(f"{trusted.url}/app.json")
        return await kept.get(f"{trusted.url}/app.json")

    assert asyncio.run(twice()) == trusted.document("/app.json")
    assert trusted.asked == ["/app.json"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/moved.json", "its address answers 302"),
        ("/gone.json", "its address answers 404"),
        ("/page.json", "it is not sent as JSON"),
        ("/long.json", "it is longer than 10240 bytes"),
        ("/broken.json", "it is no JSON"),
    ],
)
def test_what_is_no_document(trusted: Site, path: str, why: str) -> None:
    assert refused(trusted.url + path) == why
    assert trusted.asked == [path]  # nothing else was asked for, whatever it said


def test_one_that_never_ends_is_given_up(trusted: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "DEADLINE_S", 0.3)
    assert "was not there within" in refused(f"{trusted.url}/slow.json")


def test_a_server_that_nobody_vouches_for_is_not_believed(served: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    served.asked.clear()
    assert "cannot be fetched" in refused(f"{served.url}/app.json")
    assert served.asked == []


def test_nothing_of_this_machine_or_network_is_asked_for(trusted: Site) -> None:
    assert refused(f"{trusted.url}/app.json", loopback=False) == "it is on this machine"
    for address in ("https://10.1.2.3/app.json", "https://169.254.169.254/latest", "https://[fd00::1]/app.json"):
        assert refused(address) == "its address is not on the public network"
    # another spelling of this machine, which only the resolver knows
    assert refused("https://2130706433/app.json", loopback=False) == "its address is not on the public network"
    assert trusted.asked == []


def test_a_name_that_is_also_of_this_network_is_asked_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a name server could answer that wants to be asked twice, and answers otherwise the second time."""

    def answers(_host: str, port: int, *_args: Any, **_more: Any) -> list[Any]:
        stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*stream, ("93.184.216.34", port)), (*stream, ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    assert refused("https://rebind.example/app.json", loopback=False) == "its address is not on the public network"


def test_it_is_asked_at_the_address_that_was_checked(trusted: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def answers(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        looked_up.append(str(host))
        return real("127.0.0.1", port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    port = trusted.url.rpartition(":")[2]
    # The certificate is for the address and not for the name: the name is what is checked against it.
    assert "cannot be fetched" in refused(f"https://app.example:{port}/app.json")
    assert looked_up.count("app.example") == 1
    assert trusted.asked == []
