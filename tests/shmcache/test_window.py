"""Sliding windows: weighted two-window decisions that N processes make as one would."""

from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import count
from os import sched_yield
from pathlib import Path
from random import Random
from subprocess import run
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmcache.core import Segment, SegmentError
from tests.support.processes import kill, shared_words, spawn, wait_exit
from tests.support.regions import compile_hammer, open_segment

SECOND = 10**9
NOW = 1_000 * SECOND
HOUR_S = 3600
GRACE = SECOND  # CELL_GRACE_NS
LONGEST_S, LARGEST = 2**20, 2**18 - 1
LATEST = (2**28 - 1) * SECOND


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        yield segment


fresh_key = (b"key %d" % number for number in count()).__next__


@dataclass
class Model:
    """The rule as published, over rational numbers, by one process: what is granted when."""

    window_s: int
    limit: int
    start_s: int | None = None
    previous: int = 0
    current: int = 0

    def take(self, now_ns: int, cost: int = 1) -> bool:
        start_s, previous, current = self._counts(now_ns // SECOND)
        elapsed = max(Fraction(0), Fraction(now_ns, SECOND) - start_s) / self.window_s
        if previous * (1 - elapsed) + current + cost > self.limit:
            return False
        self.start_s, self.previous, self.current = start_s, previous, current + cost
        return True

    def _counts(self, now_s: int) -> tuple[int, int, int]:
        """Start of the current window and the two counts, as that clock finds them."""
        if self.start_s is None or now_s >= self.start_s + 2 * self.window_s:
            return now_s, 0, 0
        if now_s >= self.start_s + self.window_s:
            return self.start_s + self.window_s, self.current, 0
        return self.start_s, self.previous, self.current


def test_a_window_grants_its_limit_and_then_tells_the_wait(segment: Segment) -> None:
    key = fresh_key()
    answers = [segment.windows.take(key, NOW, 10, 3) for _ in range(4)]
    # Four of three: the third weighs a third less after 10 s + 10 s / 3.
    assert answers == [0, 0, 0, 10 * SECOND + -(-10 * SECOND // 3)]


def test_the_previous_window_weighs_by_the_share_that_is_still_seen(segment: Segment) -> None:
    key, take = fresh_key(), segment.windows.take
    assert [take(key, NOW, 10, 10) for _ in range(10)] == [0] * 10
    assert take(key, NOW + 10 * SECOND, 10, 10) == SECOND
    assert take(key, NOW + 11 * SECOND - 1, 10, 10) == 1
    assert take(key, NOW + 11 * SECOND, 10, 10) == 0
    assert [take(key, NOW + 15 * SECOND, 10, 10) == 0 for _ in range(5)] == [True, True, True, True, False]


def test_the_first_window_starts_in_the_second_of_the_first_grant(segment: Segment) -> None:
    key, take = fresh_key(), segment.windows.take
    assert take(key, NOW + SECOND - 1, 10, 1) == 0
    assert take(key, NOW + SECOND - 1, 10, 1) == 19 * SECOND + 1
    assert take(key, NOW + 20 * SECOND, 10, 1) == 0


def test_after_two_idle_windows_nothing_is_remembered(segment: Segment) -> None:
    key, take = fresh_key(), segment.windows.take
    assert take(key, NOW, 10, 5, cost=5) == 0
    assert take(key, NOW + 20 * SECOND - 1, 10, 5, cost=5) == 1
    assert take(key, NOW + 20 * SECOND, 10, 5, cost=5) == 0


def test_a_cost_is_counted_whole_or_not_at_all(segment: Segment) -> None:
    key, take = fresh_key(), segment.windows.take
    assert take(key, NOW, 10, 10, cost=8) == 0
    assert take(key, NOW, 10, 10, cost=3) > 0
    assert take(key, NOW, 10, 10, cost=2) == 0
    assert take(key, NOW, 10, 10) > 0


def test_a_clock_older_than_the_window_counts_as_its_start(segment: Segment) -> None:
    key, take = fresh_key(), segment.windows.take
    assert take(key, NOW, 10, 10, cost=10) == 0
    assert take(key, NOW + 11 * SECOND, 10, 10) == 0
    assert (
        take(key, NOW + 5 * SECOND, 10, 10) == 7 * SECOND
    )  # 10 of the last window and 1, until 12 s have passed
    assert take(key, NOW + 12 * SECOND, 10, 10) == 0


def test_a_lower_limit_applies_at_once_and_a_higher_one_too(segment: Segment) -> None:
    key, take = fresh_key(), segment.windows.take
    assert take(key, NOW, 10, 100, cost=100) == 0
    assert take(key, NOW, 10, 5) == 20 * SECOND - SECOND * 4 // 10
    assert take(key, NOW, 10, 101) == 0


def test_another_window_length_keeps_the_counts_until_they_expire(segment: Segment) -> None:
    key, take = fresh_key(), segment.windows.take
    assert take(key, NOW, 10, 4, cost=4) == 0
    assert take(key, NOW, 15, 4) > 0
    assert take(key, NOW + 4 * SECOND, 5, 4) > 0
    assert [take(key, NOW + 20 * SECOND, 5, 4, cost=4) == 0 for _ in range(2)] == [True, False]


def test_keys_do_not_share_a_window(segment: Segment) -> None:
    one, other = fresh_key(), fresh_key()
    assert segment.windows.take(one, NOW, 10, 1) == 0
    assert segment.windows.take(other, NOW, 10, 1) == 0
    assert segment.windows.take(one, NOW, 10, 1) > 0


def test_windows_and_buckets_of_one_key_are_apart(segment: Segment) -> None:
    key = fresh_key()
    assert segment.windows.take(key, NOW, 10, 1) == 0
    assert segment.buckets.take(key, NOW, SECOND, 1) == 0


def test_the_largest_window_and_limit_are_exact(segment: Segment) -> None:
    key, take = fresh_key(), segment.windows.take
    window_ns = LONGEST_S * SECOND
    assert take(key, NOW, LONGEST_S, LARGEST, cost=LARGEST) == 0
    one_fits = window_ns + -(-window_ns // LARGEST)
    assert take(key, NOW, LONGEST_S, LARGEST) == one_fits
    assert take(key, NOW + one_fits - 1, LONGEST_S, LARGEST) == 1
    assert take(key, NOW + one_fits, LONGEST_S, LARGEST) == 0
    assert take(key, NOW + one_fits, LONGEST_S, LARGEST) > 0


def test_the_empty_key_and_a_clock_at_zero_are_ordinary(segment: Segment) -> None:
    assert segment.windows.take(b"", 0, 1, 1) == 0
    assert segment.windows.take(b"", 0, 1, 1) == 2 * SECOND


def test_a_clock_beyond_eight_years_limits_no_more_and_says_so() -> None:
    with open_segment() as (segment, _):
        take = segment.windows.take
        assert take(b"key", LATEST - 2 * SECOND, 1, 1) == 0
        assert take(b"key", LATEST - 2 * SECOND, 1, 1) == 2 * SECOND
        assert segment.statistics.core()["window_table_full"] == 0
        assert [take(b"key", LATEST - SECOND, 1, 1) for _ in range(2)] == [0, 0]
        assert take(b"key", 2**64 - 1, 1, 1) == 0
        assert segment.statistics.core()["window_table_full"] == 3


@pytest.mark.parametrize(
    ("window_s", "limit", "cost"),
    [
        (0, 1, 1),
        (LONGEST_S + 1, 1, 1),
        (-1, 1, 1),
        (1, 0, 0),
        (1, LARGEST + 1, 1),
        (1, 1, 0),
        (1, 1, -1),
        (1, 1, 2),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(
    segment: Segment, window_s: int, limit: int, cost: int
) -> None:
    with pytest.raises(ValueError, match="1 <= cost <= limit <= 262143"):
        segment.windows.take(b"key", NOW, window_s, limit, cost)


def test_a_closed_segment_decides_no_more() -> None:
    with open_segment() as (segment, _):
        windows = segment.windows
    with pytest.raises(SegmentError, match="closed"):
        windows.take(b"key", NOW, 1, 1)


@given(
    window_s=st.integers(1, 20),
    limit=st.integers(1, 20),
    steps=st.lists(st.tuples(st.integers(-2 * SECOND, 30 * SECOND), st.integers(1, 5)), max_size=60),
)
def test_grants_are_those_of_the_rule_over_the_reals(
    segment: Segment, window_s: int, limit: int, steps: list[tuple[int, int]]
) -> None:
    """And the wait that is told is the shortest: a nanosecond earlier it would not fit."""
    key, model, now_ns = fresh_key(), Model(window_s, limit), NOW
    for step, cost in steps:
        now_ns += step
        cost = min(cost, limit)
        wait_ns = segment.windows.take(key, now_ns, window_s, limit, cost)
        before = Model(**vars(model))
        assert model.take(now_ns, cost) == (wait_ns == 0)
        if wait_ns:
            assert not Model(**vars(before)).take(now_ns + wait_ns - 1, cost)
            assert before.take(now_ns + wait_ns, cost)


# The table


def test_a_full_table_grants_new_keys_counts_them_and_still_limits_the_resident_ones() -> None:
    with open_segment() as (segment, _):
        take = segment.windows.take
        resident = [b"resident %d" % number for number in range(100)]
        assert all(take(key, NOW, 10, 5, cost=5) == 0 for key in resident)
        flood = 0
        while segment.statistics.core()["window_table_full"] < 1000:
            flood += 1
            assert flood < 2_000_000, "the table never filled"
            assert take(b"flood %d" % flood, NOW, HOUR_S, 5) == 0
        assert [take(key, NOW, 10, 5) for key in resident] == [12 * SECOND] * len(resident)


def test_a_cell_is_given_to_another_key_a_second_after_its_counts_expired() -> None:
    with open_segment() as (segment, _):
        take = segment.windows.take
        residents = [b"resident %d" % number for number in range(50_000)]

        def uncounted() -> int:
            return segment.statistics.core()["window_table_full"]

        for key in residents:  # more than there are cells: all of them are taken, at one time
            take(key, NOW, 10, 1)
        assert uncounted() > 0
        newcomer = next(key for key in residents if take(key, NOW, 10, 1) == 0)
        expiry, before = NOW + 20 * SECOND, uncounted()
        assert [take(newcomer, expiry + GRACE - 1, 10, 1) for _ in range(2)] == [0, 0]
        assert uncounted() == before + 2
        assert take(newcomer, expiry + GRACE, 10, 1) == 0
        assert take(newcomer, expiry + GRACE, 10, 1) > 0
        assert uncounted() == before + 2


def test_cells_of_idle_keys_are_used_again() -> None:
    """20,000 keys, more than the cells of this segment, but only 100 of them active at a time."""
    with open_segment() as (segment, _):
        take = segment.windows.take
        for generation in range(200):
            now_ns = NOW + generation * (2 * SECOND + GRACE)
            for number in range(100):
                key = b"%d of %d" % (number, generation)
                assert [take(key, now_ns, 1, 1) for _ in range(2)] == [0, 2 * SECOND]
        assert segment.statistics.core()["window_table_full"] == 0


# Several processes


def test_processes_grant_at_every_clock_what_one_alone_would(segment: Segment) -> None:
    """All take at the same clock, then it moves on: in windows of 3 s, by less and by more than one."""
    processes, takes, window_s, limit = 3, 4, 3, 10
    random, key = Random(7), fresh_key()
    clocks = [NOW]
    while len(clocks) < 300:
        clocks.append(clocks[-1] + random.choice([0, SECOND // 7, SECOND, 2 * SECOND, 5 * SECOND]))
    granted = [shared_words(len(clocks)) for _ in range(processes)]
    done = shared_words(processes)

    def work(me: int) -> None:
        for step, now_ns in enumerate(clocks):
            for _ in range(takes):
                granted[me][step] += segment.windows.take(key, now_ns, window_s, limit) == 0
            done[me] += 1
            while min(done) <= step:
                sched_yield()

    pids = [spawn(partial(work, me)) for me in range(processes)]
    assert [wait_exit(pid) for pid in pids] == [0] * processes
    model = Model(window_s, limit)
    wanted = [sum(model.take(now_ns) for _ in range(processes * takes)) for now_ns in clocks]
    assert [sum(counts) for counts in zip(*granted, strict=True)] == wanted
    assert sum(wanted) > 100


def take_for_ever(segment: Segment, tally: MutableSequence[int], slot: int, key: bytes, limit: int) -> None:
    """Take as fast as possible, noting each grant before the next attempt."""
    while True:
        if not segment.windows.take(key, NOW, HOUR_S, limit):
            tally[slot] += 1


def test_killed_takers_leave_nothing_behind(segment: Segment) -> None:
    """A kill costs at most the one grant that was not noted."""
    key, limit, kills = fresh_key(), LARGEST, 40
    tally = shared_words(kills)
    for slot in range(kills):
        pid = spawn(partial(take_for_ever, segment, tally, slot, key, limit))
        sleep(0.002 + 0.0005 * (slot % 7))
        kill(pid)
    left = 0
    while segment.windows.take(key, NOW, HOUR_S, limit) == 0:
        left += 1
    assert limit - kills <= sum(tally) + left <= limit
    assert sum(tally) > 0


@pytest.mark.parametrize(
    "flags", [(), ("-fsanitize=undefined", "-fno-sanitize-recover=all")], ids=["plain", "ubsan"]
)
def test_a_key_has_one_cell_however_clocks_and_threads_interleave(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    program = tmp_path / "hammer"
    compile_hammer(program, *flags)
    result = run([program, "window", "5000"], capture_output=True, text=True, timeout=100, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_a_peek_says_what_a_take_would_and_counts_nothing(segment: Segment) -> None:
    key = fresh_key()
    for _ in range(3):
        assert segment.windows.peek(key, NOW, 60, 2) == 0
    assert segment.windows.take(key, NOW, 60, 2, 2) == 0
    chance = Random(7)
    for _ in range(200):
        now_ns = NOW + chance.randrange(200 * SECOND)
        seen = segment.windows.peek(key, now_ns, 60, 2)
        assert segment.windows.peek(key, now_ns, 60, 2) == seen
    wait_ns = segment.windows.peek(key, NOW, 60, 2)
    assert wait_ns == segment.windows.take(key, NOW, 60, 2) > 0
    with pytest.raises(ValueError, match="sliding window"):
        segment.windows.peek(key, NOW, 0, 2)
