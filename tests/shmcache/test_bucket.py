"""Token buckets: GCRA decisions that N processes make as one would."""

from collections.abc import Iterator, MutableSequence
from functools import partial
from itertools import count
from math import ceil
from pathlib import Path
from subprocess import run
from time import monotonic_ns, sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmcache.core import Segment, SegmentError
from tests.support.processes import kill, shared_words, spawn, wait_exit
from tests.support.regions import compile_hammer, open_segment

Tally = MutableSequence[int]

SECOND = 10**9
NOW = 1_000 * SECOND
GRACE = SECOND  # CELL_GRACE_NS


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        yield segment


fresh_key = (b"key %d" % number for number in count()).__next__


def test_a_full_bucket_grants_its_burst_and_then_tells_the_wait(segment: Segment) -> None:
    key = fresh_key()
    answers = [segment.buckets.take(key, NOW, SECOND, 3) for _ in range(5)]
    assert answers == [0, 0, 0, SECOND, SECOND]


def test_a_token_comes_back_each_interval(segment: Segment) -> None:
    key, take = fresh_key(), segment.buckets.take
    assert [take(key, NOW, SECOND, 2) for _ in range(2)] == [0, 0]
    assert take(key, NOW + SECOND - 1, SECOND, 2) == 1
    assert take(key, NOW + SECOND, SECOND, 2) == 0
    assert take(key, NOW + SECOND, SECOND, 2) == SECOND


def test_a_bucket_never_holds_more_than_its_burst(segment: Segment) -> None:
    key, take = fresh_key(), segment.buckets.take
    take(key, NOW, SECOND, 2)
    much_later = NOW + 10**6 * SECOND
    assert [take(key, much_later, SECOND, 2) == 0 for _ in range(3)] == [True, True, False]


def test_a_cost_takes_that_many_tokens_or_none(segment: Segment) -> None:
    key, take = fresh_key(), segment.buckets.take
    assert take(key, NOW, SECOND, 10, cost=8) == 0
    assert take(key, NOW, SECOND, 10, cost=3) == SECOND
    assert take(key, NOW, SECOND, 10, cost=2) == 0


def test_a_clock_older_than_the_stored_one_counts_as_no_time_passed(segment: Segment) -> None:
    key, take = fresh_key(), segment.buckets.take
    assert [take(key, NOW, SECOND, 2) for _ in range(2)] == [0, 0]
    assert take(key, NOW - 5 * SECOND, SECOND, 2) > 0
    assert take(key, NOW, SECOND, 2) == SECOND


def test_keys_do_not_share_a_bucket(segment: Segment) -> None:
    one, other = fresh_key(), fresh_key()
    assert segment.buckets.take(one, NOW, SECOND, 1) == 0
    assert segment.buckets.take(other, NOW, SECOND, 1) == 0
    assert segment.buckets.take(one, NOW, SECOND, 1) > 0


def test_the_empty_key_and_a_clock_at_zero_are_ordinary(segment: Segment) -> None:
    assert segment.buckets.take(b"", 0, SECOND, 1) == 0
    assert segment.buckets.take(b"", 0, SECOND, 1) == SECOND


def test_a_limit_longer_than_a_lifetime_still_limits(segment: Segment) -> None:
    key = fresh_key()
    assert segment.buckets.take(key, NOW, 2**63, 2**63) == 0
    assert segment.buckets.take(key, NOW, 2**63, 2**63) > 0


@pytest.mark.parametrize(("interval_ns", "burst", "cost"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 2, 3)])
def test_a_limit_that_makes_no_sense_is_refused(
    segment: Segment, interval_ns: int, burst: int, cost: int
) -> None:
    with pytest.raises(ValueError, match="1 <= cost <= burst"):
        segment.buckets.take(b"key", NOW, interval_ns, burst, cost)


def test_a_closed_segment_decides_no_more() -> None:
    with open_segment() as (segment, _):
        buckets = segment.buckets
    with pytest.raises(SegmentError, match="closed"):
        buckets.take(b"key", NOW, SECOND, 1)


@given(
    interval_ns=st.integers(1, 1000),
    burst=st.integers(1, 20),
    steps=st.lists(st.tuples(st.integers(-50, 2000), st.integers(1, 5)), max_size=60),
)
def test_grants_follow_the_formula_and_stay_within_the_promise(
    segment: Segment, interval_ns: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    """Against a model with plain integers, and against the promise over every interval of the run."""
    key = fresh_key()
    now_ns, full_at, granted = NOW, 0, []
    for step, cost in steps:
        now_ns += step
        cost = min(cost, burst)
        after = max(full_at, now_ns) + cost * interval_ns
        wait_ns = max(0, after - now_ns - burst * interval_ns)
        assert segment.buckets.take(key, now_ns, interval_ns, burst, cost) == wait_ns
        if not wait_ns:
            full_at = after
            granted.append((now_ns, cost))
    for first, (start, _) in enumerate(granted):
        tokens = 0
        for end, cost in granted[first:]:
            tokens += cost
            assert tokens <= burst + max(0, end - start) / interval_ns


def test_a_full_table_grants_new_keys_counts_them_and_still_limits_the_resident_ones() -> None:
    with open_segment() as (segment, _):
        take = segment.buckets.take
        resident = [b"resident %d" % number for number in range(100)]
        assert all(take(key, NOW, SECOND, 5, cost=5) == 0 for key in resident)
        flood = 0
        while segment.statistics.core()["bucket_table_full"] < 1000:
            flood += 1
            assert flood < 2_000_000, "the table never filled"
            assert take(b"flood %d" % flood, NOW, 100 * SECOND, 5) == 0
        assert [take(key, NOW, SECOND, 5) for key in resident] == [SECOND] * len(resident)


def test_a_cell_is_given_to_another_key_a_second_after_its_bucket_was_full_again() -> None:
    with open_segment() as (segment, _):
        take = segment.buckets.take
        residents = [b"resident %d" % number for number in range(50_000)]

        def uncounted() -> int:
            return segment.statistics.core()["bucket_table_full"]

        for key in residents:  # more than there are cells: all of them are taken, at one time
            take(key, NOW, SECOND, 1)
        assert uncounted() > 0
        newcomer = next(key for key in residents if take(key, NOW, SECOND, 1) == 0)
        refilled, before = NOW + SECOND, uncounted()
        assert [take(newcomer, refilled + GRACE - 1, SECOND, 1) for _ in range(2)] == [0, 0]
        assert uncounted() == before + 2
        assert take(newcomer, refilled + GRACE, SECOND, 1) == 0
        assert take(newcomer, refilled + GRACE, SECOND, 1) == SECOND
        assert uncounted() == before + 2


def test_a_key_whose_cell_was_taken_over_starts_with_a_full_bucket_as_it_would_have() -> None:
    """Every cell changes its owner; a key that comes back finds what elapsed time alone had given it."""
    with open_segment() as (segment, _):
        take, key, burst = segment.buckets.take, b"key", 3
        assert take(key, NOW, SECOND, burst, cost=burst) == 0
        later = NOW + burst * SECOND + GRACE
        for number in range(50_000):
            take(b"newcomer %d" % number, later, SECOND, 1)
        assert take(key, later, SECOND, burst, cost=burst) == 0, "there is no cell, or its bucket is full"
        again = later + SECOND + GRACE
        assert take(key, again, SECOND, burst, cost=burst) == 0
        assert take(key, again, SECOND, burst) == SECOND


def test_cells_of_idle_keys_are_used_again() -> None:
    """20,000 keys, more than the cells of this segment, but only 100 of them active at a time."""
    with open_segment() as (segment, _):
        take = segment.buckets.take
        for generation in range(200):
            now_ns = NOW + generation * (SECOND + GRACE)
            for number in range(100):
                key = b"%d of %d" % (number, generation)
                assert [take(key, now_ns, SECOND, 1) for _ in range(2)] == [0, SECOND]
        assert segment.statistics.core()["bucket_table_full"] == 0


def hammer(
    segment: Segment, tally: Tally, slot: int, key: bytes, interval_ns: int, burst: int, end_ns: int
) -> None:
    """Take as fast as possible, noting each grant before the next attempt."""
    take = segment.buckets.take
    while (now_ns := monotonic_ns()) < end_ns:
        if not take(key, now_ns, interval_ns, burst):
            tally[slot] += 1


def test_four_processes_grant_what_one_would(segment: Segment) -> None:
    key, interval_ns, burst, processes = fresh_key(), SECOND // 1000, 50, 4
    tally = shared_words(100)
    start_ns = monotonic_ns()
    end_ns = start_ns + SECOND // 2
    pids = [
        spawn(partial(hammer, segment, tally, slot, key, interval_ns, burst, end_ns))
        for slot in range(processes)
    ]
    assert [wait_exit(pid) for pid in pids] == [0] * processes
    elapsed_ns = monotonic_ns() - start_ns
    assert burst <= sum(tally) <= burst + elapsed_ns / interval_ns


def test_a_long_interval_makes_the_burst_exact(segment: Segment) -> None:
    key, burst, processes = fresh_key(), 20, 4
    tally = shared_words(100)
    end_ns = monotonic_ns() + SECOND // 5
    pids = [
        spawn(partial(hammer, segment, tally, slot, key, 3600 * SECOND, burst, end_ns))
        for slot in range(processes)
    ]
    assert [wait_exit(pid) for pid in pids] == [0] * processes
    assert sum(tally) == burst


def test_killed_takers_leave_nothing_behind(segment: Segment) -> None:
    """A kill costs at most the one token whose grant was not noted."""
    key, interval_ns, burst, kills = fresh_key(), SECOND // 2000, 100, 40
    tally = shared_words(100)
    start_ns = monotonic_ns()
    for slot in range(kills):
        pids = [
            spawn(partial(hammer, segment, tally, slot, key, interval_ns, burst, start_ns + 600 * SECOND))
            for slot in (2 * slot, 2 * slot + 1)
        ]
        sleep(0.003 + 0.0007 * (slot % 7))
        for pid in pids:
            kill(pid)
    granted = sum(tally)
    elapsed_ns = monotonic_ns() - start_ns
    assert burst - 2 * kills <= granted <= burst + elapsed_ns / interval_ns
    sleep(ceil(burst * interval_ns / 1e9 * 1000) / 1000 + 0.01)
    now_ns = monotonic_ns()
    assert [segment.buckets.take(key, now_ns, interval_ns, burst) == 0 for _ in range(burst + 1)] == [
        *[True] * burst,
        False,
    ]


@pytest.mark.parametrize(
    "flags", [(), ("-fsanitize=undefined", "-fno-sanitize-recover=all")], ids=["plain", "ubsan"]
)
def test_a_key_has_one_cell_however_clocks_and_threads_interleave(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    program = tmp_path / "hammer"
    compile_hammer(program, *flags)
    result = run([program, "bucket", "5000"], capture_output=True, text=True, timeout=100, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_a_peek_says_what_a_take_would_and_takes_nothing(segment: Segment) -> None:
    key = fresh_key()
    assert segment.buckets.peek(key, NOW, SECOND, 2, 2) == 0
    for _ in range(3):
        assert segment.buckets.peek(key, NOW, SECOND, 2) == 0
    segment.buckets.take(key, NOW, SECOND, 2, 2)
    for _ in range(3):
        assert segment.buckets.peek(key, NOW, SECOND, 2) == SECOND
    assert segment.buckets.peek(key, NOW + SECOND, SECOND, 2) == 0
    assert segment.buckets.peek(key, NOW + SECOND, SECOND, 2, 2) == segment.buckets.take(
        key, NOW + SECOND, SECOND, 2, 2
    )
    with pytest.raises(ValueError, match="token bucket"):
        segment.buckets.peek(key, NOW, SECOND, 2, 3)
