"""What a SPIFFE control plane gives: authorities of a trust domain, bundles, JWT-SVIDs and X.509-SVIDs. Made with
``cryptography`` and joserfc alone, in the shapes of the SPIFFE standards."""

from __future__ import annotations

import base64
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jws, jwt
from joserfc.jwk import ECKey

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _b64(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def _usage(*, authority: bool) -> x509.KeyUsage:
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    others = dict.fromkeys((*names, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **others)


def certificate(
    uris: list[str],
    issuer: Pair | None,
    *,
    authority: bool = False,
    starts: float = -60.0,
    ends: float = 3600.0,
    usage: x509.KeyUsage | None = None,
) -> Pair:
    """A certificate for these URIs and its key, signed by ``issuer`` or by itself. Times in seconds from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority" if authority else "workload")])
    signer = issuer[1] if issuer else key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0].subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(seconds=starts))
        .not_valid_after(now + timedelta(seconds=ends))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage or _usage(authority=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256()), key


class Domain:
    """A trust domain with an authority of its own."""

    def __init__(self, name: str = "example.org", *, ends: float = 86_400.0) -> None:
        self.id = f"spiffe://{name}"
        self.root = certificate([self.id], None, authority=True, starts=-172_800, ends=ends)
        self.signer = ECKey.generate_key("P-256", {"kid": "jwt-1"})

    def bundle(self) -> str:
        """The trust bundle (SPIFFE Trust Domain and Bundle, section 4)."""
        authority = {"use": "x509-svid", "kty": "EC", "crv": "P-256", "x5c": [_b64(self.root[0])]}
        keys = [self.signer.as_dict(private=False) | {"use": "jwt-svid"}, authority]
        return json.dumps({"keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 300})

    def jwt_svid(self, path: str, audience: str, **claims: Any) -> str:
        """A JWT-SVID of a workload."""
        now = int(time.time())
        said = {"sub": f"{self.id}{path}", "aud": [audience], "exp": now + 300, "iat": now} | claims
        known = {name: value for name, value in said.items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": "jwt-1"}, known, self.signer)

    def workload(self, path: str, **more: Any) -> Pair:
        """An X.509-SVID of a workload."""
        return certificate([f"{self.id}{path}"], self.root, **more)


def proof(pair: Pair, audience: str, *between: x509.Certificate, key: Pair | None = None, **claims: Any) -> str:
    """A JWT that the holder of an X.509-SVID signs, with the chain in its header."""
    leaf, own = pair
    pem = (key[1] if key else own).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    uris = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    [name, *_] = uris.get_values_for_type(x509.UniformResourceIdentifier)
    now = int(time.time())
    said = {"iss": name, "sub": name, "aud": audience, "iat": now, "exp": now + 120, "jti": uuid.uuid4().hex} | claims
    header = {"alg": "ES256", "x5c": [_b64(one) for one in (leaf, *between)]}
    payload = json.dumps({name: value for name, value in said.items() if value is not None}).encode()
    return jws.serialize_compact(header, payload, ECKey.import_key(pem))
