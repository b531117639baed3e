from __future__ import annotations

import os
import threading

from tenure.base.blind import SIZE, Blind


def _pieces(marks: str) -> list[str]:
    return [marks[at : at + SIZE] for at in range(0, len(marks), SIZE)]


def test_a_word_has_one_mark_under_one_key() -> None:
    key = os.urandom(32)
    one, same, other = Blind(key), Blind(key), Blind(os.urandom(32))
    words = [f"word{number}".encode() for number in range(300)]
    together = one.marks(words)
    assert _pieces(together) == _pieces(same.marks(words[::-1]))  # in the order of ciphertexts, not of words
    assert {same.marks([word]) for word in words} == set(_pieces(together))
    assert len({other.marks([word]) for word in words} & set(_pieces(together))) < 10  # by chance: one of three times


def test_marks_say_nothing_of_order() -> None:
    blind = Blind(os.urandom(32))
    words = [f"word{number}".encode() for number in range(300)]
    one_by_one = [blind.marks([word]) for word in words]
    assert _pieces(blind.marks(words)) != one_by_one
    assert len(set(one_by_one)) > 290  # 18 bits: hardly two alike


def test_several_threads_may_ask_at_once() -> None:
    blind = Blind(os.urandom(32))
    words = [f"word{number}".encode() for number in range(2000)]
    right = blind.marks(words)
    wrong: list[str] = []

    def ask() -> None:
        wrong.extend(found for found in (blind.marks(words) for _ in range(20)) if found != right)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
