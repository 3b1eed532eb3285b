"""Statistics: sums over all members, living and dead, that never go backwards."""

import re
from collections.abc import Iterator
from functools import partial
from time import monotonic_ns, sleep

import pytest

from shmcache.core import MEMBERS, STATISTICS, USER_STATISTICS, Segment, SegmentError
from tests.support.processes import kill, shared_words, spawn, wait_exit
from tests.support.regions import SOURCES, open_segment

INDEX = USER_STATISTICS


@pytest.fixture
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        yield segment


def test_every_counter_starts_at_zero(segment: Segment) -> None:
    assert segment.statistics.totals() == [0] * STATISTICS


def test_a_counter_is_found_under_its_index_and_its_member(segment: Segment) -> None:
    segment.join(5, monotonic_ns())
    segment.statistics.add(INDEX)
    segment.statistics.add(INDEX, 41)
    segment.statistics.add(STATISTICS - 1, 7)
    assert segment.statistics.total(INDEX) == 42
    assert segment.statistics.of(5)[INDEX] == 42
    assert segment.statistics.of(4)[INDEX] == 0
    totals = segment.statistics.totals()
    assert (totals[INDEX], totals[STATISTICS - 1], sum(totals)) == (42, 7, 49)


def test_a_counter_holds_64_bits(segment: Segment) -> None:
    segment.join(0, monotonic_ns())
    segment.statistics.add(INDEX, 2**62)
    segment.statistics.add(INDEX, 2**62)
    assert segment.statistics.total(INDEX) == 2**63


def test_a_process_that_has_not_joined_counts_too(segment: Segment) -> None:
    segment.statistics.add(INDEX, 3)
    assert segment.statistics.total(INDEX) == 3
    assert all(segment.statistics.of(member)[INDEX] == 0 for member in range(MEMBERS))


@pytest.mark.parametrize("index", [-1, STATISTICS, 10**6])
def test_an_index_outside_the_page_is_refused(segment: Segment, index: int) -> None:
    segment.join(0, monotonic_ns())
    for call in (segment.statistics.add, segment.statistics.total):
        with pytest.raises((IndexError, OverflowError)):
            call(index)
    assert sum(segment.statistics.totals()) == 0


def test_the_cores_own_counters_are_found_by_the_names_in_its_header(segment: Segment) -> None:
    listed = (SOURCES / "counter.h").read_text().partition("enum core_counter {")[2].partition("};")[0]
    names = [name.lower() for name in re.findall(r"^ +CORE_(\w+),", listed, re.MULTILINE)]
    for index in range(len(names)):
        segment.statistics.add(index, 100 + index)
    assert segment.statistics.core() == {name: 100 + index for index, name in enumerate(names)}
    assert list(segment.statistics.core()) == names


@pytest.mark.parametrize("member", [-1, MEMBERS])
def test_a_member_outside_the_segment_is_refused(segment: Segment, member: int) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.63"):
        segment.statistics.of(member)


def test_a_closed_segment_counts_no_more() -> None:
    with open_segment() as (segment, _):
        statistics = segment.statistics
    with pytest.raises(SegmentError, match="closed"):
        statistics.add(INDEX)
    with pytest.raises(SegmentError, match="closed"):
        statistics.totals()


def test_what_the_dead_counted_stays_in_the_totals_and_their_successor_starts_at_zero(
    segment: Segment,
) -> None:
    def count(amount: int) -> None:
        def work() -> None:
            segment.join(2, monotonic_ns())
            segment.statistics.add(INDEX, amount)

        assert wait_exit(spawn(work)) == 0

    count(10)
    assert segment.statistics.of(2)[INDEX] == 10
    segment.reap(2)
    assert (segment.statistics.of(2)[INDEX], segment.statistics.total(INDEX)) == (0, 10)
    segment.reap(2)  # as after a reaper that died half-way
    assert (segment.statistics.of(2)[INDEX], segment.statistics.total(INDEX)) == (0, 10)
    count(5)
    assert (segment.statistics.of(2)[INDEX], segment.statistics.total(INDEX)) == (5, 15)


def test_totals_are_exact_and_never_fall_while_counters_and_reapers_are_killed(segment: Segment) -> None:
    """Each worker notes what it is about to count and what it has counted: the total lies between."""
    members = (1, 2, 3)
    begun, done = shared_words(len(members) + 1), shared_words(len(members) + 1)

    def count_for_ever(member: int) -> None:
        segment.join(member, monotonic_ns())
        while True:
            begun[member] += 1
            segment.statistics.add(INDEX)
            done[member] += 1

    def reap_for_ever(member: int) -> None:
        while True:
            segment.reap(member)

    pids = {member: spawn(partial(count_for_ever, member)) for member in members}
    seen = 0
    try:
        for turn in range(60):
            member = members[turn % len(members)]
            sleep(0.001 * (turn % 5))
            kill(pids.pop(member))
            reaper = spawn(partial(reap_for_ever, member))
            sleep(0.0005 * (turn % 4))
            kill(reaper)
            segment.reap(member)
            assert segment.statistics.of(member)[INDEX] == 0
            total = segment.statistics.total(INDEX)
            assert total >= seen
            seen = total
            pids[member] = spawn(partial(count_for_ever, member))
    finally:
        for pid in pids.values():
            kill(pid)
    assert 0 < sum(done) <= segment.statistics.total(INDEX) <= sum(begun)
    assert segment.statistics.total(INDEX) == segment.statistics.totals()[INDEX]
