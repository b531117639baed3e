"""A token that is not right, or not for here, or not its bearer's, opens nothing at any wire; each refusal is an Event.

``tests/identity/test_tokens.py`` has every way in which a token itself may be wrong; here is what takes a request.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from joserfc.jwk import ECKey

from demo.processes import until
from tenure.gateway import credentials
from tenure.gateway.credentials import Credentials, Proofs
from tenure.gateway.http import Request
from tenure.identity.model import agent_claims, sign
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.revoked import RevokedFact
from tenure.kernel.snapshot import Snapshot
from tenure.kernel.values import Principal
from tenure.oauth.model import surfaces
from tests.gateway.conftest import House, housed
from tests.identity.test_tokens import FORGED
from tests.oauth.conftest import by_hand, signed
from tests.sim.control import ISSUER
from tests.sim.gateway import ProviderProcess

MINE, EVIL = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[House]:
    """One gateway for all, which knows its addresses as the control plane tells them."""
    with housed(tmp_path_factory.mktemp("credentials"), provider) as house:
        house.control.change(audiences=surfaces(house.gateway.url, ISSUER))
        house.settle()
        begun = time.time()
        until(lambda: int(time.time()) > begun, "proofs that are younger than the gateway")
        yield house


def token(house: Any, *, audience: str = "", jkt: str = "", **more: Any) -> str:
    """A true token for ``audience``, bound to the key of ``jkt``."""
    now = time.time()
    values = {"instance": "i1", "session": "s1", "credential_epoch": 1, **more}
    principal = Principal("default", "clerk", release="sha256:r1", expires_at=now + 600, **values)
    audience = audience or f"{house.gateway.url}/mcp"
    claims = agent_claims(principal, issuer=ISSUER, audience=audience, issued_at=now, jti=new_id(), jkt=jkt)
    return sign(claims, house.control.key)


def proof(house: Any, sent: str, *, key: ECKey = MINE, header: Any = None, **changes: Any) -> str:
    """A true DPoP proof for ``POST /mcp`` with this token, but for ``changes``."""
    ath = base64.urlsafe_b64encode(hashlib.sha256(sent.encode()).digest()).rstrip(b"=").decode()
    true = {"jti": new_id(), "htm": "POST", "htu": f"{house.gateway.url}/mcp", "iat": time.time(), "ath": ath}
    claims = {name: value for name, value in (true | changes).items() if value is not ...}
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)} | (header or {})
    return signed(claims, key, **head)


def ping(house: Any, sent: str, *, scheme: str = "Bearer", path: str = "/mcp", **headers: str) -> httpx2.Response:
    """A request that any token for its surface may make."""
    headers = {"authorization": f"{scheme} {sent}", **headers}
    return httpx2.post(f"{house.gateway.url}{path}", json=PING, headers=headers, trust_env=False)


def refused(answer: httpx2.Response, code: str) -> None:
    """The answer is a refusal with this code."""
    assert answer.status_code == 401, answer.text
    assert code in answer.text


def told(house: Any, counts: Mapping[str, int]) -> None:
    """The control plane hears of so many refusals by their codes."""

    def found(events: list[dict[str, Any]]) -> bool:
        seen = Counter(event["data"].get("error.type") for event in events if event["type"] == "request.refused")
        return all(seen[code] >= count for code, count in counts.items())

    house.control.wait(found)


@pytest.mark.req("R024")
def test_a_token_opens_the_surface_it_is_made_out_for_and_no_other(house: Any) -> None:
    url = house.gateway.url
    for audience, mcp, models, agents in (
        (f"{url}/mcp", True, False, False),
        (f"{url}/v1", False, True, False),
        (f"{url}/a2a", False, False, True),
        (f"{url}/a2a/desk", False, False, True),
        (f"{url}/a2a/other", False, False, False),
        (url, True, True, True),
        (f"{url}/", True, True, True),
        ("tenure-gateway", True, True, True),
        (ISSUER, False, False, False),
        ("https://elsewhere.example", False, False, False),
    ):
        sent = token(house, audience=audience)
        headers = {"authorization": f"Bearer {sent}"}
        opened = (
            ping(house, sent).status_code != 401,
            httpx2.get(f"{url}/v1/models", headers=headers, trust_env=False).status_code != 401,
            ping(house, sent, path="/a2a/desk").status_code != 401,
        )
        assert opened == (mcp, models, agents), audience
    refused(ping(house, token(house, audience=ISSUER)), "token_wrong_audience")
    told(house, {"token_wrong_audience": 1})


@pytest.mark.req("R024")
def test_forged_tokens_are_refused_at_the_wire_and_told(house: Any) -> None:
    assert ping(house, token(house)).status_code == 200
    sent = [make() for name, (make, _) in FORGED.items() if name not in ("empty", "not ASCII", "oversized rubbish")]
    codes = []
    for one in sent:
        answer = ping(house, one)
        assert answer.status_code == 401
        codes.append(answer.json()["error"]["data"]["code"])
    assert set(codes) == {"token_malformed", "token_bad_signature", "token_unknown_key"}
    told(house, {code: min(20, count) for code, count in Counter(codes).items()})
    everything = repr(house.control.events)
    assert not any(one in everything for one in sent if len(one) > 10)


@pytest.mark.req("R037")
@pytest.mark.parametrize("what", ["token", "instance"])
def test_what_was_revoked_is_refused_from_the_moment_the_gateway_heard_of_it(house: Any, what: str) -> None:
    instance = new_id()
    sent, other = token(house, instance=instance), token(house, instance=instance)
    assert ping(house, sent).status_code == ping(house, other).status_code == 200
    claims = base64.urlsafe_b64decode(sent.split(".")[1] + "==")
    jti = claims.partition(b'"jti":"')[2].partition(b'"')[0].decode()
    fact = RevokedFact("default", instances=frozenset({instance}))
    if what == "token":
        fact = RevokedFact("default", tokens=frozenset({jti}))
    house.control.change(revocations={"default": fact})
    house.settle()
    answer = ping(house, sent)
    assert answer.status_code == 401
    assert "credential_revoked" in answer.text
    assert ping(house, other).status_code == (401 if what == "instance" else 200)
    house.control.wait(
        lambda events: [e for e in events if e["data"].get("error.type") == "credential" and e["instance"] == instance]
    )


WRONG: Mapping[str, Callable[[Any, str], str]] = {
    "none": lambda _house, _sent: "",
    "rubbish": lambda _house, _sent: "x.y.z",
    "of another key": lambda house, sent: proof(house, sent, key=EVIL),
    "signed by another key": lambda house, sent: proof(
        house, sent, key=EVIL, header={"jwk": MINE.as_dict(private=False)}
    ),
    "for another token": lambda house, _sent: proof(house, token(house)),
    "for no token": lambda house, sent: proof(house, sent, ath=...),
    "for another address": lambda house, sent: proof(house, sent, htu="https://evil.example/mcp"),
    "for another path": lambda house, sent: proof(house, sent, htu=f"{house.gateway.url}/v1"),
    "for another method": lambda house, sent: proof(house, sent, htm="GET"),
    "an old one": lambda house, sent: proof(house, sent, iat=time.time() - 61),
    "one from the future": lambda house, sent: proof(house, sent, iat=time.time() + 60),
    "without jti": lambda house, sent: proof(house, sent, jti=...),
    "unsigned": lambda house, _sent: by_hand(
        {"typ": "dpop+jwt", "alg": "none", "jwk": MINE.as_dict(private=False)},
        {"jti": "1", "htm": "POST", "htu": f"{house.gateway.url}/mcp", "iat": time.time()},
    ),
}


@pytest.mark.req("R039")
def test_a_bound_token_is_nothing_without_a_proof_for_this_very_request(house: Any) -> None:
    sent = token(house, jkt=MINE.thumbprint())
    for name, make in WRONG.items():
        answer = ping(house, sent, scheme="DPoP", dpop=make(house, sent))
        assert answer.status_code == 401, name
        assert "invalid_dpop_proof" in answer.text, name
    told(house, {"invalid_dpop_proof": len(WRONG)})


@pytest.mark.req("R039")
def test_a_bound_token_with_its_proof_opens_once(house: Any) -> None:
    sent = token(house, jkt=MINE.thumbprint())
    made = proof(house, sent)
    assert ping(house, sent, scheme="DPoP", dpop=made).status_code == 200
    refused(ping(house, sent, scheme="DPoP", dpop=made), "dpop_replayed")
    told(house, {"dpop_replayed": 1})
    assert ping(house, sent, scheme="DPoP", dpop=proof(house, sent, htu=f"{house.gateway.url}/mcp?x=1#y")).is_success
    refused(ping(house, sent, dpop=proof(house, sent)), "token_bound")  # as a bearer token
    refused(ping(house, token(house), scheme="DPoP", dpop=made), "token_bound")  # one that is bound to nothing
    headers = {"x-api-key": sent, "dpop": proof(house, sent)}
    assert httpx2.get(f"{house.gateway.url}/v1/models", headers=headers, trust_env=False).status_code == 401


# -- what is kept ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few places only, so that they can be filled."""
    for name, most in (("TOKENS_KEPT", 20), ("FORGED_KEPT", 20), ("PROOFS_OF_ONE", 20), ("PROOFS_KEPT", 50)):
        monkeypatch.setattr(credentials, name, most)


def _request(sent: str) -> Request:
    return Request("POST", "/mcp", headers={"authorization": f"Bearer {sent}"})


@pytest.mark.usefixtures("small")
def test_a_flood_of_distinct_bad_tokens_drives_out_no_good_one_and_fills_nothing(house: Any) -> None:
    snapshot: Snapshot = replace(house.control.snapshot)
    here, now = Credentials(0.0), time.time()
    good = token(house)
    principal = here.believe(_request(good), None, snapshot, "mcp", now)
    head, claims, _ = good.split(".")
    for number in range(200):
        bad = base64.urlsafe_b64encode(number.to_bytes(64, "big")).rstrip(b"=").decode()
        with pytest.raises(Refused):
            here.believe(_request(f"{head}.{claims}.{bad}"), None, snapshot, "mcp", now)
    assert here.believe(_request(good), None, snapshot, "mcp", now) is principal  # still known, not looked at again
    assert here.kept() == (1, 20)
    for _ in range(40):
        here.believe(_request(token(house)), None, snapshot, "mcp", now)
    assert here.kept() == (20, 20)
    assert here.believe(_request(good), None, snapshot, "mcp", now) == principal  # looked at again, and good


@pytest.mark.req("R039")
def test_a_proof_is_good_once_at_each_gateway_and_at_none_that_began_after_it(house: Any) -> None:
    """What is said of replays: gateways do not tell each other, so each would take a proof once, in its minute."""
    now, sent = time.time(), token(house, jkt=MINE.thumbprint())
    shown = {"authorization": f"DPoP {sent}", "dpop": proof(house, sent, iat=int(now))}
    request, snapshot = Request("POST", "/mcp", headers=shown), house.control.snapshot
    one, another, later = Credentials(now - 60), Credentials(now - 60), Credentials(now + 0.5)
    for gateway in (one, another):
        assert gateway.believe(request, None, snapshot, "mcp", now).agent == "clerk"
        with pytest.raises(Refused) as again:
            gateway.believe(request, None, snapshot, "mcp", now + 59)
        assert again.value.code == "dpop_replayed"
    with pytest.raises(Refused) as restarted:
        later.believe(request, None, snapshot, "mcp", now + 1)
    assert restarted.value.code == "dpop_replayed"
    for gateway in (one, another, Credentials(now - 60)):
        with pytest.raises(Refused) as old:
            gateway.believe(request, None, snapshot, "mcp", now + 62)
        assert old.value.code == "invalid_dpop_proof"


@pytest.mark.usefixtures("small")
def test_proofs_are_remembered_as_long_as_they_live_and_bounded() -> None:
    proofs = Proofs()
    proofs.use("key", "first", 1000.0)
    for now in (1000.0, 1064.0, 1125.0):
        with pytest.raises(Refused) as again:
            proofs.use("key", "first", now)
        assert again.value.code == "dpop_replayed"
        proofs.use("key", f"later {now}", now)
    for number in range(19):
        proofs.use("busy", str(number), 1126.0)
    proofs.use("busy", "last", 1126.0)
    with pytest.raises(Refused) as many:
        proofs.use("busy", "one more", 1126.0)
    assert (many.value.code, many.value.status) == ("too_many_proofs", 429)
    proofs.use("another", "first", 1126.0)
    for number in range(200):
        proofs.use(f"key {number % 2}", str(number), 2000.0 + number * 10)
    assert len(proofs) < 60
