"""What a pattern alone cannot tell: check digits, entropy, stand-ins for a secret. Each takes the matched bytes."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections import Counter

_COUNTRIES = (  # ISO 13616, the registry: country and length
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18 "
    "FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IS26 IT27 JO30 KW30 KZ20 LB28 LI21 LT20 LU20 LV21 MC27 "
    "MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SE24 SI19 SK24 SM27 TN24 TR26 "
    "UA29 XK20 "
)
_IBAN_LENGTH = {entry[:2]: int(entry[2:]) for entry in _COUNTRIES.split()}
_STAND_INS = (
    *(b"example", b"changeme", b"change_me", b"placeholder", b"redacted", b"your", b"xxxx", b"****", b"....", b"${"),
    *(b"{{", b"<", b"environ", b"getenv", b"process.env", b"dummy", b"todo", b"123456789012"),
)
_NAMES = (b"pass", b"password", b"passwd", b"pwd", b"secret", b"token")  # as manuals write an address
_DNI = b"TRWAGMYFPDXBNJZSQVHLCKE"


def luhn(text: bytes) -> bool:
    """Whether the digits satisfy the check of ISO/IEC 7812 and are not all the same."""
    digits = [byte - 48 for byte in text if 48 <= byte <= 57]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban(text: bytes) -> bool:
    """ISO 13616: the country's length and the remainder of 97."""
    compact = text.replace(b" ", b"")
    if len(compact) != _IBAN_LENGTH.get(compact[:2].decode(), 0):
        return False
    return int("".join(str(int(chr(byte), 36)) for byte in compact[4:] + compact[:4])) % 97 == 1


def ssn(text: bytes) -> bool:
    """A number that the Social Security Administration can have given (no area 000, 666 or 9xx, no group 00)."""
    area, group, serial = text.split(b"-")
    return area not in (b"000", b"666") and area < b"900" and group != b"00" and serial != b"0000"


def nir(text: bytes) -> bool:
    """The French social security number's key: 97 less the remainder of the number."""
    digits = text.replace(b" ", b"")
    return 97 - int(digits[:13]) % 97 == int(digits[13:])


def dni(text: bytes) -> bool:
    """The letter of a Spanish identity number."""
    return _DNI[int(text[:8]) % 23] == text[8]


def jwt(text: bytes) -> bool:
    """Whether the first part is the header of a JWS or JWE (RFC 7515)."""
    head = text.split(b".", 1)[0]
    try:
        return "alg" in json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, TypeError):
        return False


def entropy(text: bytes) -> float:
    """Bits for each byte, by how often each occurs (Shannon)."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values()) if size else 0.0


def random_key(text: bytes) -> bool:
    """A generated key: as mixed as one, with digits, and no stand-in for one."""
    return entropy(text) >= 3.0 and _mixed(text) and not _stand_in(text)


def password(text: bytes) -> bool:
    """What a person or a program would use as one: letters with digits or signs, and no stand-in."""
    return len(set(text)) >= 5 and _mixed(text) and not _stand_in(text)


def given(text: bytes) -> bool:
    """Anything but a stand-in."""
    return len(set(text)) >= 3 and not _stand_in(text) and text.lower() not in _NAMES


def _mixed(text: bytes) -> bool:
    return any(48 <= byte <= 57 for byte in text) and any(byte > 57 for byte in text)


def _stand_in(text: bytes) -> bool:
    low = text.lower()
    return any(word in low for word in _STAND_INS)
