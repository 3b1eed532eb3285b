"""A text that comes in pieces: the result is that of the whole text, wherever it is cut."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.reasons import Leak
from worker.security.leaks.finder import RULES, finder
from worker.security.leaks.inspection import Inspection
from worker.security.leaks.rule import REACH, compiled

ALL = finder(frozenset(Leak))
CARD = b"4111 1111 1111 1111"
KEY = (
    b"-----BEGIN "
    b"PRIVATE KEY-----\n" + b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 50 + b"-----END PRIVATE KEY-----"
)
TRACE = b'Traceback (most recent call last):\n  File "/a.py", line 1, in <module>\n    x()\nKeyError: 1\n'
PARTS = [
    CARD, KEY, KEY[:500], TRACE, b"\n", b" ", b"4", b"word ", b"<p>", b"x" * 700, b"1234 " * 300,
    b"<?php\n$x = 1;\n", b"?>", b"ORA-00933: no", b"    at f (/srv/a.js:1:2)\n", b"\\n", b'"',
    b"DB_PASSWORD=abcdef",
    b"<h1>Index of /</h1><a href='x'>x</a>", b"</pre>", b"goroutine 1 [running]:\nmain.main()\n", b"\0",
]  # fmt: skip


def inspected(pieces: list[bytes], limit: int = 1 << 20) -> tuple[bytes, set[Leak]]:
    inspection = Inspection(ALL, limit)
    masked = b"".join(inspection.feed(piece) for piece in pieces) + inspection.feed(b"", last=True)
    return masked, set(inspection.found)


def cut(text: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(text)) for place in places})
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(st.sampled_from(PARTS), max_size=12),
    places=st.lists(st.integers(0, 6000), max_size=30),
    limit=st.sampled_from([1 << 20, 2000, 300]),
)
@example(parts=[b"x" * 700, KEY, b"x" * 700], places=list(range(0, 4000, 7)), limit=1 << 20)
@example(parts=[b"1234 " * 300, CARD], places=list(range(0, 4000, 3)), limit=1 << 20)
def test_wherever_a_text_is_cut_the_result_is_that_of_the_whole(
    parts: list[bytes], places: list[int], limit: int
) -> None:
    text = b"".join(parts)
    whole = inspected([text], limit)
    assert len(whole[0]) == len(text)
    assert inspected(cut(text, places), limit) == whole


@pytest.mark.parametrize("text", [CARD, KEY, TRACE], ids=["card", "key", "trace"])
def test_every_single_cut_of_a_leak_finds_it(text: bytes) -> None:
    text = b"begin " + text + b" end"
    whole = inspected([text])
    assert whole[1]
    for place in range(len(text)):
        assert inspected([text[:place], text[place:]]) == whole, place


def test_no_more_waits_than_a_rule_may_look_at() -> None:
    inspection = Inspection(ALL, 1 << 20)
    given = 0
    for _ in range(100):
        given += len(inspection.feed(b"plain words " * 50))
    assert 100 * 600 - given == REACH


def test_what_lies_behind_the_limit_is_left_as_it_is() -> None:
    text = CARD + b"\n" + b"x" * 100 + b"\n" + CARD
    masked, found = inspected([text], limit=60)
    assert found == {Leak.CARD_NUMBER}
    assert masked == b"*" * len(CARD) + text[len(CARD) :]


def test_lines_stay_lines() -> None:
    masked, _ = inspected([b"a\n" + KEY + b"\nb\n"])
    assert masked.count(b"\n") == KEY.count(b"\n") + 3


def test_only_the_chosen_kinds_are_looked_for() -> None:
    inspection = Inspection(finder(frozenset({Leak.CARD_NUMBER})), 1 << 20)
    assert inspection.feed(KEY + CARD, last=True) == KEY + b"*" * len(CARD)


def test_hyperscan_takes_every_sign_and_re2_every_pattern() -> None:
    assert not ALL._prefilter.refused
    for rule in RULES:
        for source in filter(None, (rule.begin, rule.more)):
            assert compiled(source).match(b"") is None, source  # none is empty, or it would never end
