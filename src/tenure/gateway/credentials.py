"""Tokens of agents, looked at once and then known by their digest; and the proofs of those that are bound to a key.

What is kept is bounded whatever is sent: tokens that were believed, the digests of some that were not, and the proofs
of the last minute. A token that is not believed drives out no other.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from tenure.gateway.clients import let_in
from tenure.gateway.http import Request
from tenure.identity.model import AUDIENCE, verified
from tenure.kernel.clients import products
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import Snapshot
from tenure.kernel.values import Principal
from tenure.oauth.model import DPOP_WINDOW_S, Targets, read_proof

TOKENS_KEPT = 10_000
FORGED_KEPT = 10_000
PROOFS_KEPT = 100_000
PROOFS_OF_ONE = 20_000
_OWN = {AUDIENCE: "any"}


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    surface: str
    jkt: str


class Credentials:
    """One for the whole process."""

    def __init__(self, since: float) -> None:
        """``since``: when the process began (Unix seconds)."""
        self._since = since
        self._known: dict[bytes, _Known] = {}
        self._forged: dict[bytes, None] = {}
        self._keys: Mapping[str, JsonObject] = {}
        self._audiences: Mapping[str, str] = {}
        self._targets = Targets(_OWN)
        self._proofs = Proofs()

    def believe(self, request: Request, token: str | None, snapshot: Snapshot, surface: str, now: float) -> Principal:
        """Who bears ``token``, or else what ``Authorization`` says, if it is good for ``surface`` (llm, mcp,
        a2a/<agent>). Raises Refused (401; 403 for a client that was blocked). Whether the credential was revoked is
        not judged here."""
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        scheme = scheme.lower() if token is None else "bearer"
        if token is None:
            token = sent.strip() if scheme in ("bearer", "dpop") else ""
        if not token:
            raise Refused(
                "no_token", "No agent token was sent.", fix="Send it as `Authorization: Bearer TOKEN`.", status=401
            )
        raw = token.encode("latin-1", "replace")
        digest = hashlib.sha256(raw).digest()
        found = self._looked_up(token, digest, snapshot, now)
        good_for = found.surface
        if good_for not in ("any", "gateway") and good_for != surface and not surface.startswith(f"{good_for}/"):
            raise Refused(
                "token_wrong_audience",
                "The token is made out for another resource.",
                fix="Ask for one whose `resource` is this address.",
                status=401,
            )
        if found.jkt or scheme == "dpop":
            self._proven(request, scheme, found.jkt, digest, now)
        blocked = snapshot.blocked.get(found.principal.workspace)
        if blocked is not None:
            let_in(blocked, products(request.headers.get("user-agent", "")))
        return found.principal

    def kept(self) -> tuple[int, int]:
        """How many tokens are known to be good, and how many to be forged."""
        return len(self._known), len(self._forged)

    def _looked_up(self, token: str, digest: bytes, snapshot: Snapshot, now: float) -> _Known:
        if snapshot.keys is not self._keys or snapshot.audiences is not self._audiences:
            self._known.clear()
            self._forged.clear()
            self._keys, self._audiences = snapshot.keys, snapshot.audiences
            self._targets = Targets(snapshot.audiences or _OWN)
        found = self._known.get(digest)
        if found is None:
            found = self._known[digest] = self._looked_at(token, digest, snapshot, now)
            if len(self._known) > TOKENS_KEPT:
                del self._known[next(iter(self._known))]
        elif found.principal.expires_at <= now:
            del self._known[digest]
            raise Refused("token_expired", "The token has expired.", fix="Get a new one.", status=401)
        return found

    def _looked_at(self, token: str, digest: bytes, snapshot: Snapshot, now: float) -> _Known:
        """What a token says that was not seen before. One whose signature does not hold never will, so that showing it
        again costs no second look."""
        if digest in self._forged:
            raise Refused("token_bad_signature", "The token's signature does not hold.", fix="Get one.", status=401)
        try:
            found = verified(token, snapshot.keys, snapshot.issuer, self._targets, now)
        except Refused as error:
            if error.code == "token_bad_signature":
                if len(self._forged) >= FORGED_KEPT:
                    del self._forged[next(iter(self._forged))]
                self._forged[digest] = None
            raise
        return _Known(found.principal, self._targets.surface(found.audience), found.jkt)

    def _proven(self, request: Request, scheme: str, jkt: str, digest: bytes, now: float) -> None:
        """That whoever sends a bound token has its key (RFC 9449 section 7). Raises Refused (401)."""
        if not jkt or scheme != "dpop":
            what = "bound to a key, and was sent as if it were not" if jkt else "not bound to a key"
            fix = "Send it as `Authorization: DPoP TOKEN` with a proof." if jkt else "Send it as a bearer token."
            raise Refused("token_bound", f"The token is {what}.", fix=fix, status=401)
        proof = read_proof(
            request.headers.get("dpop", ""),
            method=request.method,
            urls=[base + request.path for base in self._targets.bases],
            now=now,
            ath=base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            jkt=jkt,
        )
        if proof.issued < self._since:  # the process before this one may have seen it, and took what it knew with it
            raise Refused(
                "dpop_replayed",
                "The DPoP proof is older than this gateway, which cannot know whether it was used before.",
                fix="Make one for each call.",
                status=401,
            )
        self._proofs.use(proof.jkt, proof.jti, now)


class Proofs:
    """Which proofs were used in the last minute. Only those count that were signed with the key of a token that was
    believed, so strangers cannot fill it."""

    def __init__(self) -> None:
        self._newer: dict[bytes, None] = {}
        self._older: dict[bytes, None] = {}
        self._since = 0.0
        self._of: dict[str, int] = {}

    def use(self, jkt: str, jti: str, now: float) -> None:
        """Uses a proof up. Raises Refused for one that was used before (401), and (429) where a key, or all together,
        used more than are remembered: then no more can be told apart from a replay."""
        if now - self._since >= 2 * DPOP_WINDOW_S:  # longer than a proof lives, from the future by the leeway or not
            fresh = now - self._since < 4 * DPOP_WINDOW_S
            self._older = self._newer if fresh else {}
            self._newer, self._of, self._since = {}, {}, now
        key = hashlib.sha256(f"{jkt} {jti}".encode("utf-8", "replace")).digest()[:16]
        if key in self._newer or key in self._older:
            raise Refused("dpop_replayed", "The DPoP proof was used before.", fix="Make one for each call.", status=401)
        used = self._of.get(jkt, 0)
        if used >= PROOFS_OF_ONE or len(self._newer) >= PROOFS_KEPT:
            raise Refused("too_many_proofs", "Too many DPoP proofs at once.", fix="Wait a moment.", status=429)
        self._newer[key] = None
        self._of[jkt] = used + 1

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)
