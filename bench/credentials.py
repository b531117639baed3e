"""What believing a token costs the gateway: known, new, forged, and bound to a key. One process, one thread, CPU time.

``python -m bench.credentials`` prints a table; results are kept in ``bench/results``.
"""

from __future__ import annotations

import base64
import hashlib
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from joserfc import jws
from joserfc.jwk import ECKey

from bench.machine import machine
from tenure.gateway.credentials import Credentials
from tenure.gateway.http import Request
from tenure.identity.model import agent_claims, sign
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.snapshot import Snapshot
from tenure.kernel.values import Principal
from tenure.oauth.model import surfaces

URL, ISSUER, ROUNDS = "http://127.0.0.1:7710", "http://127.0.0.1:7700", 7
KEY, MINE = ECKey.generate_key("P-256", auto_kid=True), ECKey.generate_key("P-256")
SNAPSHOT = Snapshot(
    1,
    datetime.now(UTC),
    keys={str(KEY.kid): KEY.as_dict(private=False)},
    issuer=ISSUER,
    audiences=surfaces(URL, ISSUER),
)


def _token(jkt: str = "") -> str:
    now = time.time()
    principal = Principal("default", "clerk", "sha256:r1", new_id(), new_id(), 1, expires_at=now + 600)
    claims = agent_claims(principal, issuer=ISSUER, audience=f"{URL}/mcp", issued_at=now, jti=new_id(), jkt=jkt)
    return sign(claims, KEY.as_dict(private=True))


def _forged(count: int) -> list[str]:
    head, claims, _ = _token().split(".")
    tails = (hashlib.sha512(str(number).encode()).digest() for number in range(count))
    return [f"{head}.{claims}.{base64.urlsafe_b64encode(tail).rstrip(b'=').decode()}" for tail in tails]


def _proofs(token: str, count: int) -> list[str]:
    ath = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": MINE.as_dict(private=False)}
    claims = {"htm": "POST", "htu": f"{URL}/mcp", "iat": time.time(), "ath": ath}
    registry = jws.JWSRegistry(algorithms=["ES256"])
    return [
        jws.serialize_compact(header, msgspec.json.encode(claims | {"jti": new_id()}), MINE, registry=registry)
        for _ in range(count)
    ]


def _request(token: str, scheme: str = "Bearer", **headers: str) -> Request:
    return Request("POST", "/mcp", headers={"authorization": f"{scheme} {token}", **headers})


def _each(work: Callable[[Request], object], batches: list[list[Request]]) -> float:
    """Microseconds of CPU for one, the median of the batches."""
    times = []
    for batch in batches:
        begun = time.process_time()
        for request in batch:
            with suppress(Refused):
                work(request)
        times.append((time.process_time() - begun) / len(batch) * 1e6)
    return statistics.median(times)


def main() -> int:
    """Prints the table."""
    here = Credentials(0.0)

    def believe(request: Request) -> object:
        return here.believe(request, None, SNAPSHOT, "mcp", time.time())

    good = _request(_token())
    believe(good)
    new = [[_request(_token()) for _ in range(100)] for _ in range(ROUNDS)]
    forged = [_request(one) for one in _forged(ROUNDS * 300)]
    bound = _token(MINE.thumbprint())
    proofs = [[_request(bound, "DPoP", dpop=one) for one in _proofs(bound, 100)] for _ in range(ROUNDS)]
    rows = [
        ("a token that was seen before", _each(believe, [[good] * 20_000] * ROUNDS)),
        ("a new token", _each(believe, new)),
        ("a forged token, each another", _each(believe, [forged[i::ROUNDS] for i in range(ROUNDS)])),
        ("a forged token, seen before", _each(believe, [forged[-300:]] * ROUNDS)),
        ("no token at all", _each(believe, [[Request("POST", "/mcp")] * 5_000] * ROUNDS)),
        ("a bound token with its proof", _each(believe, proofs)),
    ]
    tracemalloc.start()
    flood = [_request(one) for one in _forged(12_000)]
    before = tracemalloc.get_traced_memory()[0]
    for request in flood:
        with suppress(Refused):
            believe(request)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    still = _each(believe, [[good] * 20_000] * ROUNDS)
    print(machine())
    print("\n| what the gateway is shown | CPU, microseconds |\n|---|---|")
    for words, took in [*rows, ("a token that was seen before 12,000 forged ones, after them", still)]:
        print(f"| {words} | {took:.1f} |")
    known, kept = here.kept()
    print(
        f"\nAfter 12,000 distinct forged tokens: {grown / 1e6:.2f} MB more, {known} good and {kept} forged ones known."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
