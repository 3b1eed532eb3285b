"""Presence: how many there are at a time, counted by processes that may die at any instant."""

import os
import signal
from collections.abc import Iterator, MutableSequence
from functools import partial
from itertools import count
from pathlib import Path
from subprocess import run
from time import monotonic_ns

import pytest

from shmcache import Segment, SegmentError
from shmcache.core import ENTERED, OVER, PRESENCE_MOST, UNCOUNTED
from tests.support.processes import kill, shared_words, spawn, wait_exit
from tests.support.regions import compile_hammer, open_segment

MOST = 5
ROUNDS = 20_000


@pytest.fixture
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        segment.join(0, monotonic_ns())
        yield segment


def test_the_last_place_is_given_once_and_again_when_somebody_has_left(segment: Segment) -> None:
    enter = partial(segment.presence.enter, b"key", MOST)
    assert [enter() for _ in range(MOST + 2)] == [ENTERED] * MOST + [OVER] * 2
    segment.presence.leave(b"key")
    assert [enter(), enter()] == [ENTERED, OVER]
    assert segment.presence.count(b"key") == MOST


def test_keys_do_not_count_for_one_another(segment: Segment) -> None:
    for number in range(200):
        assert segment.presence.enter(b"key %d" % number, 1) == ENTERED
    assert [segment.presence.count(b"key %d" % number) for number in range(200)] == [1] * 200


def test_words_of_those_that_have_left_are_there_for_others(segment: Segment) -> None:
    for number in range(20_000):
        key = b"key %d" % number
        assert segment.presence.enter(key, 1) == ENTERED
        segment.presence.leave(key)


def test_who_leaves_without_having_entered_changes_nothing(segment: Segment) -> None:
    segment.presence.leave(b"key")
    assert segment.presence.count(b"key") == 0


@pytest.mark.parametrize("most", [0, PRESENCE_MOST + 1])
def test_what_a_word_cannot_count_is_refused(segment: Segment, most: int) -> None:
    with pytest.raises(ValueError, match="1 <= most <= 262143"):
        segment.presence.enter(b"key", most)


def test_nobody_enters_before_joining() -> None:
    with open_segment() as (segment, _), pytest.raises(SegmentError, match="join the segment before"):
        segment.presence.enter(b"key", 1)


def test_a_full_table_lets_new_keys_in_uncounted_and_limits_those_that_have_words(segment: Segment) -> None:
    first = segment.presence.enter(b"first", 1)
    for number in count():
        if segment.presence.enter(b"key %d" % number, 1) == UNCOUNTED:
            break
    assert (first, segment.presence.enter(b"first", 1)) == (ENTERED, OVER)
    assert segment.statistics.core()["presence_full"] == 1


def come_and_go(segment: Segment, member: int, largest: MutableSequence[int]) -> None:
    segment.join(member, monotonic_ns())
    inside = segment.scoreboard.claim(b"inside")
    assert inside is not None
    for _ in range(ROUNDS):
        if segment.presence.enter(b"key", MOST) == ENTERED:
            largest[member] = max(largest[member], inside.add(0, 1))
            inside.add(0, 2**64 - 1)
            segment.presence.leave(b"key")


def test_processes_that_come_and_go_are_never_more_than_there_may_be() -> None:
    largest = shared_words(16)
    with open_segment() as (segment, _):
        children = [spawn(partial(come_and_go, segment, member, largest)) for member in range(1, MOST + 4)]
        for child in children:
            assert wait_exit(child) == 0
        assert 1 <= max(largest) <= MOST
        assert segment.presence.count(b"key") == 0


def hold(segment: Segment, member: int, ready: MutableSequence[int]) -> None:
    segment.join(member, monotonic_ns())
    for _ in range(3):
        segment.presence.enter(b"key", MOST)
    ready[0] = 1
    signal.pause()


def test_what_a_killed_process_had_is_given_back_when_it_is_reaped(segment: Segment) -> None:
    segment.presence.enter(b"key", MOST)
    ready = shared_words(1)
    child = spawn(partial(hold, segment, 7, ready))
    while not ready[0]:
        os.sched_yield()
    assert segment.presence.count(b"key") == 4
    kill(child)
    assert segment.presence.count(b"key") == 4
    segment.reap(7)
    segment.reap(7)
    assert segment.presence.count(b"key") == 1


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("-fsanitize=undefined", "-fno-sanitize-recover=all"),
        ("-fsanitize=thread", "-Wno-tsan"),
    ],
    ids=["plain", "ubsan", "tsan"],
)
def test_there_are_never_too_many_however_threads_interleave(tmp_path: Path, flags: tuple[str, ...]) -> None:
    program = tmp_path / "hammer"
    compile_hammer(program, *flags)
    result = run([program, "presence", "20000"], capture_output=True, text=True, timeout=100, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
