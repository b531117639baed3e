"""X.509-SVIDs (SPIFFE): whether a certificate stands for a workload of a trust domain. Pure.

A workload that has one proves it with a short JWT signed by the certificate's key, the chain in the header ``x5c`` (RFC
7515 section 4.1.6): the proof is in the request and works through any proxy. TLS client certificates would be the other
way, and are ended by whatever is in front of the control plane.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import verification as pkix
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonObject
from tenure.trust.model import unbelieved
from tenure.trust.signed import PublicKey

MAX_CHAIN = 5
_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/[A-Za-z0-9._-]{1,255}){1,20}")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def spiffe_id(text: str) -> bool:
    """Whether ``text`` is a workload's SPIFFE ID (SPIFFE-ID sections 2.1 and 2.2)."""
    return len(text) <= 2048 and _ID.fullmatch(text) is not None and not {".", ".."} & set(text.split("/"))


def leaf_key(x5c: Json, authorities: Sequence[str], now: float) -> tuple[str, PublicKey]:
    """(SPIFFE ID, public key) of the certificate that comes first in ``x5c``, if its chain ends at one of
    ``authorities`` (base64 of DER) and all of it is valid at ``now``. Raises Refused (401)."""
    if not isinstance(x5c, list) or not 0 < len(x5c) <= MAX_CHAIN or not all(isinstance(one, str) for one in x5c):
        raise unbelieved("malformed", f"`x5c` must hold a chain of 1 to {MAX_CHAIN} certificates.")
    try:
        leaf, *between = [x509.load_der_x509_certificate(base64.b64decode(one, validate=True)) for one in x5c]
        store = pkix.Store([x509.load_der_x509_certificate(base64.b64decode(one)) for one in authorities])
    except ValueError as error:
        raise unbelieved("malformed", "`x5c` holds something that is no certificate.") from error
    verifier = (
        pkix.PolicyBuilder()
        .store(store)
        .time(datetime.fromtimestamp(now, UTC))
        .max_chain_depth(MAX_CHAIN)
        .extension_policies(ee_policy=_leaf(), ca_policy=pkix.ExtensionPolicy.webpki_defaults_ca())
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, between)
    except (pkix.VerificationError, ValueError) as error:
        raise unbelieved(
            "bad_chain", "The certificate's chain does not end, valid, at the trust domain's bundle."
        ) from error
    return _name(leaf), _key(leaf)


def _leaf() -> pkix.ExtensionPolicy:
    """What a leaf must be (X509-SVID sections 4 and 5): of no authority, for signatures."""
    return (
        pkix.ExtensionPolicy.permit_all()
        .require_present(x509.SubjectAlternativeName, pkix.Criticality.AGNOSTIC, None)
        .require_present(x509.KeyUsage, pkix.Criticality.AGNOSTIC, _usage)
        .may_be_present(x509.BasicConstraints, pkix.Criticality.AGNOSTIC, _constraints)
    )


def _usage(_policy: pkix.Policy, _cert: x509.Certificate, usage: x509.KeyUsage) -> None:
    if not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise ValueError("a leaf is for signatures, and signs no certificates")


def _constraints(_policy: pkix.Policy, _cert: x509.Certificate, found: x509.BasicConstraints | None) -> None:
    if found is not None and found.ca:
        raise ValueError("a leaf is no authority")


def _name(leaf: x509.Certificate) -> str:
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(found) != 1 or not spiffe_id(found[0]):
        raise unbelieved("bad_svid", "The certificate does not have exactly one SPIFFE ID.")
    return found[0]


def _key(leaf: x509.Certificate) -> PublicKey:
    pem = leaf.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for kind in (ECKey, RSAKey):
        try:
            return kind.import_key(pem)
        except (JoseError, ValueError, TypeError):
            continue
    raise unbelieved("bad_svid", "The certificate's key is of a kind that is not taken.")


def bundle(text: bytes, read: Json) -> tuple[tuple[JsonObject, ...], tuple[str, ...]]:
    """(public keys, authorities) of a trust bundle: a JWK set as SPIFFE has it (SPIFFE Trust Domain and Bundle section
    4), a plain JWK set, or certificates as PEM. ``read``: the text as JSON, None when it is none. Raises Refused
    (422)."""
    try:
        keys, chains = _of_json(read) if read is not None else ((), _PEM.findall(text))
        found = [x509.load_pem_x509_certificate(one) for one in chains]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _no_bundle("it cannot be read") from error
    if not keys and not found:
        raise _no_bundle("nothing is in it")
    if any(name in jwk for jwk in keys for name in ("d", "k", "p", "q")):
        raise _no_bundle("it holds a private key, which is no secret any more")
    return keys, tuple(base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in found)


def _of_json(read: Any) -> tuple[tuple[JsonObject, ...], list[bytes]]:
    every = [dict(jwk) for jwk in read["keys"]]
    chains = [jwk["x5c"][0] for jwk in every if jwk.get("use") == "x509-svid"]
    pems = [b"-----BEGIN CERTIFICATE-----\n" + one.encode() + b"\n-----END CERTIFICATE-----\n" for one in chains]
    return tuple(jwk for jwk in every if jwk.get("use") != "x509-svid"), pems


def _no_bundle(why: str) -> Refused:
    return Refused(
        "bad_bundle",
        f"This is no trust bundle: {why}.",
        fix="Give a JWK set as `spire-server bundle show -format spiffe` prints it, or certificates as PEM.",
        status=422,
    )
