"""Where findings begin and end, what redaction leaves, and that no text makes scanning slow."""

from __future__ import annotations

import concurrent.futures
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.base.scan.rules import RULES
from tenure.base.scan.scanner import redact, scan

KEY = b"AKIAIOSFODNN7EXAMPLE"
HOSTILE = {
    "prefixes": b"sk-",
    "headers of tokens": b"eyJaaaaaaaaaaaa.",
    "no at-sign": b"a.",
    "addresses": b"a@b.cd ",
    "commands": b"curl -d ",
    "cards that are none": b"4111 1111 1111 1112 ",
    "digits": b"1",
    "schemes": b"https://a.b?c=",
    "images": b"![x](http://a?",
    "users": b"x://a:",
    "keys without an end": b"-----BEGIN PRIVATE KEY-----",
    "half an order": b"ignore all the your ",
    "weak passwords": b"password=aaaaaaaa1 ",
    "accounts": b"verify your account ",
    "nothing to see": "\u200b".encode(),
    "bytes": b"\xff\x00",
}


@pytest.mark.req("R094")
def test_only_the_secret_is_taken_out_of_what_surrounds_it() -> None:
    text = b"postgres://app:pa55-word@db/x and DB_PASSWORD='hunter2!!' and " + KEY + b"; end"
    assert redact(text, scan(text)) == (
        b"postgres://app:[redacted:secret/url-password]@db/x and DB_PASSWORD='[redacted:secret/assignment]' and "
        b"[redacted:secret/aws-access-key]; end"
    )


@pytest.mark.req("R094")
def test_a_private_key_goes_whole_also_without_an_end_and_with_its_breaks_escaped() -> None:
    lines = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"] * 20 + ["dGFpbA=="])
    for key in (
        f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----",
        f"-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-256-CBC,0A1B\r\n\r\n{lines}\r\n",
        f"-----BEGIN EC PRIVATE KEY-----\n{lines}\n-----END EC PRIVATE KEY-----".replace("\n", "\\n"),
    ):
        text = f"before {key} after".encode()
        kept = redact(text, scan(text)).decode()
        assert kept.startswith("before [redacted:secret/private-key]")
        assert kept.endswith("after")
        assert "VJTU" not in kept
        assert "dGFpbA" not in kept


def test_what_was_redacted_is_not_found_again() -> None:
    for rule in RULES:
        text = rule.example.encode()
        once = redact(text, scan(text))
        assert redact(once, scan(once)) == once, rule.id


@given(st.lists(st.sampled_from([rule.example for rule in RULES] + ["plain words", "\n", " ", "=", "%", "ü"])))
@settings(max_examples=200, deadline=None)
def test_whatever_is_strung_together_comes_out_without_what_was_found(parts: list[str]) -> None:
    text = " ".join(parts).encode()
    found = scan(text)
    assert all(0 <= finding.start < finding.end <= len(text) for finding in found)
    kept = redact(text, found)
    for finding in found:
        if finding.kind == "secret":
            assert text[finding.start : finding.end] not in kept


@pytest.mark.req("R092")
@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_is_made_to_take_longer_than_its_length(name: str) -> None:
    """Eight times the text takes about eight times as long; a search that backtracks would take sixty-four."""

    def cost(size: int) -> float:
        text = HOSTILE[name] * (size // len(HOSTILE[name]))
        best = 1e9
        for _ in range(3):
            begun = time.thread_time()
            scan(text)
            best = min(best, time.thread_time() - begun)
        return best

    scan(HOSTILE[name])
    small = cost(32 << 10)
    assert cost(256 << 10) < 32 * small + 0.05


def test_a_text_full_of_findings_is_redacted_whole() -> None:
    text = b" ".join([KEY] * 5000)
    assert KEY not in redact(text, scan(text))


def test_threads_scan_at_the_same_time() -> None:
    texts = [b"x" * number + b" " + KEY + b" " for number in range(200)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(scan, texts))
    assert [(one[0].rule, one[0].start) for one in found] == [
        ("secret/aws-access-key", number + 1) for number in range(200)
    ]
