"""Secrets at the gateway: attached at the last hop, taken to no other host, replaced under load with no failed call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tenure.base.bounds import variables
from tenure.gateway.keychain import Keychain, NoCredentialError
from tenure.kernel.snapshot import ModelFact, SecretFact, ServerFact, Upstream
from tests.gateway.conftest import House, housed
from tests.sim.gateway import GatewayProcess, ProviderProcess
from tests.sim.keyed_upstream import KeyedUpstream

HERE = ("127.0.0.1:*",)


@pytest.fixture
def upstream() -> Iterator[KeyedUpstream]:
    with KeyedUpstream() as process:
        yield process


def _ask(house: House, gateway: GatewayProcess | None = None) -> httpx2.Response:
    return httpx2.post(
        f"{(gateway or house.gateway).url}/v1/chat/completions",
        json={"model": "echo", "messages": [{"role": "user", "content": "?"}]},
        headers={"authorization": f"Bearer {house.control.token('clerk')}"},
        trust_env=False,
        timeout=30,
    )


def _named(house: House, url: str, name: str = "openai") -> None:
    house.publish_models(ModelFact("echo", Upstream(url, credential_secret=name)))


@pytest.mark.req("R041")
def test_a_secret_reaches_its_upstream_and_nothing_else(house: House, upstream: KeyedUpstream) -> None:
    upstream.believe("sk-canary-one")
    house.control.secrets({"m1": "sk-canary-one"}, {"default/openai": SecretFact(1, "m1", HERE)})
    _named(house, upstream.url)
    answer = _ask(house)
    assert answer.status_code == 200
    assert upstream.seen() == {"sk-canary-one": 1}, "the agent's own token does not go along"
    assert "canary" not in str(house.calls())
    assert "canary" not in answer.text + str(answer.headers)
    kept = [path for path in house.folder.rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        assert b"canary" not in path.read_bytes(), path


@pytest.mark.req("R041", "R042")
def test_a_secret_goes_to_no_host_that_it_is_not_for(house: House, upstream: KeyedUpstream) -> None:
    upstream.believe("sk-canary-one")
    elsewhere = SecretFact(1, "m1", ("api.example.com",))
    house.control.secrets({"m1": "sk-canary-one"}, {"default/openai": elsewhere})
    for secret, words in (("openai", "may not be sent to"), ("nobody", "no secret nobody")):
        _named(house, upstream.url, secret)
        answer = _ask(house)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "upstream_no_credential")
        assert words in answer.json()["error"]["message"]
    house.publish_models(ModelFact("echo", Upstream(upstream.url, "HOME")))
    assert "the variable HOME may not be sent" in _ask(house).text
    house.publish_models(ModelFact("echo", Upstream(upstream.url, "PROVIDER_KEY")))
    assert _ask(house).status_code == 401, "the one that the operator lets go goes, and is not known there"
    assert upstream.seen() == {"provider-secret": 1}


@pytest.mark.req("R037", "R174")
def test_a_secret_is_replaced_under_load_at_all_gateways_without_a_failed_call(
    tmp_path: Path, provider: ProviderProcess, upstream: KeyedUpstream
) -> None:
    """The new value comes first, then the upstream changes its mind in an instant, then the old one is forgotten."""
    with housed(tmp_path, provider) as house:
        second = GatewayProcess(tmp_path, house.control.port, data_dir_of_its_own(tmp_path))
        try:
            _replaced_under_load(house, second, upstream)
        finally:
            second.stop()


def data_dir_of_its_own(folder: Path) -> dict[str, str]:
    """The variables of a second gateway of the same installation."""
    other = folder / "second"
    other.mkdir()
    (other / "gateway.token").write_text((folder / "gateway.token").read_text())
    return {"TENURE_DATA": str(other)}


def _replaced_under_load(house: House, second: GatewayProcess, upstream: KeyedUpstream) -> None:
    upstream.believe("one")
    house.control.secrets({"m1": "one"}, {"default/openai": SecretFact(1, "m1", HERE)})
    _named(house, upstream.url)
    wait_for(lambda: second.acts_on(house.control.snapshot.version))
    answers: list[tuple[float, int]] = []
    over = threading.Event()

    def load(gateway: GatewayProcess) -> None:
        while not over.is_set():
            begun = time.monotonic()
            answers.append((begun, _ask(house, gateway).status_code))

    threads = [threading.Thread(target=load, args=(gateway,)) for gateway in (house.gateway, second) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(answers) > 40)
    house.control.secrets({"m2": "two"}, {"default/openai": SecretFact(2, "m2", HERE, previous="m1")})
    told = time.monotonic()
    wait_for(lambda: upstream.seen().get("two", 0) > 5)
    house.settle()
    wait_for(lambda: second.acts_on(house.control.snapshot.version))
    assert time.monotonic() - told < 10, "both gateways have it"
    upstream.believe("two")
    before = len(answers)
    wait_for(lambda: len(answers) > before + 40)
    house.control.secrets({}, {"default/openai": SecretFact(2, "m2", HERE)})
    house.settle()
    wait_for(lambda: second.acts_on(house.control.snapshot.version))
    old = upstream.seen()["one"]
    before = len(answers)
    wait_for(lambda: len(answers) > before + 40)
    over.set()
    for thread in threads:
        thread.join(30)
    assert [status for _, status in answers if status != 200] == []
    assert upstream.seen()["one"] <= old + len(threads), "but for calls on their way nobody shows the old one any more"


def wait_for(found: Callable[[], Any], seconds: float = 30.0) -> None:
    """Returns when it is true."""
    end = time.monotonic() + seconds
    flag = threading.Event()
    while not found():
        assert time.monotonic() < end, "did not happen in time"
        flag.wait(0.01)


def test_a_use_is_told_and_a_gateway_that_connects_anew_has_the_secret_again(
    house: House, upstream: KeyedUpstream
) -> None:
    upstream.believe("one")
    house.control.secrets({"m1": "one"}, {"default/openai": SecretFact(1, "m1", HERE)})
    _named(house, upstream.url)
    assert _ask(house).status_code == 200
    house.control.cut()
    _named(house, upstream.url)
    assert _ask(house).status_code == 200
    house.restart()
    house.settle()
    assert _ask(house).status_code == 200
    used = house.control.wait(lambda events: [event for event in events if event["type"] == "secret.used"])
    assert used[0]["data"] == {"secret": "openai"}
    assert used[0]["workspace"] == "default"


# -- without a process
def _purse(*facts: tuple[str, SecretFact], **environ: str) -> Keychain:
    found = Keychain(variables("KEY=a.example.com,RUN=exec:npx crm"), environ)
    found.take(dict(facts), {"m1": "one", "m2": "two", "m3": "two\nlines"})
    return found


def test_values_that_nothing_names_are_dropped() -> None:
    fact = SecretFact(1, "m1", ("a.example.com",))
    purse = _purse(("w/s", fact))
    assert purse._values == {"m1": "one"}
    purse.take({"w/s": fact}, {})
    sent = purse.to_send("w", "s", None, "https://a.example.com/")
    assert sent is not None
    assert sent.value == "one"
    assert "one" not in repr(sent)
    purse.take({}, {})
    assert purse._values == {}
    with pytest.raises(NoCredentialError):
        purse.to_send("w", "s", None, "https://a.example.com/")


def test_while_a_new_value_cannot_be_opened_the_old_one_serves() -> None:
    purse = _purse(("w/s", SecretFact(1, "m1", ("a.example.com",))))
    purse.take({"w/s": SecretFact(2, "m9", ("a.example.com",), previous="m1")}, {})
    sent = purse.to_send("w", "s", None, "https://a.example.com/")
    assert sent is not None
    assert (sent.value, sent.before) == ("one", "")
    purse.take({"w/s": SecretFact(2, "m9", ("a.example.com",), previous="m1")}, {"m9": "nine"})
    sent = purse.to_send("w", "s", None, "https://a.example.com/")
    assert sent is not None
    assert (sent.value, sent.before) == ("nine", "one")


def test_a_workspace_has_no_secret_of_another() -> None:
    purse = _purse(("w/s", SecretFact(1, "m1", ("a.example.com",))))
    for workspace in ("v", "", "w/s/.."):
        with pytest.raises(NoCredentialError):
            purse.to_send(workspace, "s", None, "https://a.example.com/")


def test_a_command_is_started_with_what_is_for_it() -> None:
    facts = (("w/s", SecretFact(1, "m3", (), ("npx crm",))), ("w/t", SecretFact(1, "m1", ("a.example.com",))))
    purse = _purse(*facts, RUN="r", KEY="k")
    crm = ServerFact("crm", command=("npx", "crm"), env_from=("RUN",), env_secrets={"A": "s"})
    assert purse.environment("w", crm) == {"RUN": "r", "A": "two\nlines"}
    for wrong in (
        ServerFact("crm", command=("npx", "other"), env_secrets={"A": "s"}),
        ServerFact("crm", command=("npx", "crm"), env_secrets={"A": "t"}),
        ServerFact("crm", command=("npx", "crm"), env_from=("KEY",)),
        ServerFact("crm", command=("npx", "crm"), env_from=("PATH",)),
    ):
        with pytest.raises(NoCredentialError, match="may not be handed"):
            purse.environment("w", wrong)


def test_what_no_header_can_carry_is_not_sent() -> None:
    purse = _purse(("w/s", SecretFact(1, "m3", ("a.example.com",))))
    with pytest.raises(NoCredentialError, match="no header"):
        purse.to_send("w", "s", None, "https://a.example.com/")
