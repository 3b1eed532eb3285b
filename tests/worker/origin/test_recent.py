"""Counts of a sliding window: against a plain model, and at the limits of their bits."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmcache.core import Score, Segment
from tests.support.regions import open_segment
from worker.origin.recent import Recent

SECOND = 10**9
LENGTH_S = 10
LENGTH = LENGTH_S * SECOND
NOW = 7_000_000 * SECOND


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        yield segment


def fresh_score(segment: Segment) -> Score:
    """A cell of words that are all 0; one cell serves all."""
    score = segment.scoreboard.claim(b"key")
    assert score is not None
    for word in range(7):
        score.store(word, 0)
    return score


@given(steps=st.lists(st.tuples(st.integers(0, 3 * LENGTH), st.booleans(), st.booleans()), max_size=40))
def test_counts_are_those_of_two_weighed_windows(
    segment: Segment, steps: list[tuple[int, bool, bool]]
) -> None:
    """By two processes in turn, whatever each has seen of the time."""
    score = fresh_score(segment)
    views = [Recent(score, 3, LENGTH_S) for _ in range(2)]
    windows: dict[int, list[int]] = {}
    now_ns = NOW
    for step, marked, who in steps:
        now_ns += step
        views[who].add(marked, now_ns)
        counted = windows.setdefault(now_ns // LENGTH, [0, 0])
        counted[0] += 1
        counted[1] += marked
        last = windows.get(now_ns // LENGTH - 1, [0, 0])
        left = 1 - now_ns % LENGTH / LENGTH
        expected = [one + before * left for one, before in zip(counted, last, strict=True)]
        assert views[not who].counts(now_ns) == pytest.approx(expected)
    assert [score.load(word) for word in (0, 1, 2, 5, 6)] == [0] * 5


@pytest.mark.parametrize(("requests", "marked"), [(2**23, 5), (2**23, 2**23)])
def test_a_full_count_stands_still(segment: Segment, requests: int, marked: int) -> None:
    score = fresh_score(segment)
    recent = Recent(score, 3, LENGTH_S)
    number = NOW // LENGTH
    at = 3 + (number & 1)
    full = (number & 0xFFFF) << 48 | requests << 24 | marked
    score.store(at, full)
    recent.add(True, NOW)
    assert not recent.mark(NOW, 10**9, 1.0)
    assert score.load(at) == full
    recent.add(True, NOW + 2 * LENGTH)  # the next window of that word
    assert recent.counts(NOW + 2 * LENGTH) == (1, 1)


def test_a_mark_may_begin_a_window(segment: Segment) -> None:
    recent = Recent(fresh_score(segment), 3, LENGTH_S)
    assert [recent.mark(NOW, 2, 0.0) for _ in range(3)] == [True, True, False]
    assert recent.counts(NOW) == (0, 2)


def test_what_is_forgotten_counts_no_more(segment: Segment) -> None:
    recent = Recent(fresh_score(segment), 3, LENGTH_S)
    recent.add(True, NOW - LENGTH)
    recent.add(True, NOW)
    recent.forget()
    assert recent.counts(NOW) == (0, 0)
