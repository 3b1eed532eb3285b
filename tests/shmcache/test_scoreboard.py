"""The scoreboard: words that processes share, whoever claims them first and whoever dies."""

import os
import signal
from collections.abc import Iterator, MutableSequence
from functools import partial
from pathlib import Path
from subprocess import run
from types import ModuleType

import pytest

from shmcache import Segment, SegmentError
from shmcache.core import SCORE_WORDS, SCORES, Score
from tests.support.processes import is_stopped, kill, shared_words, spawn, wait_exit
from tests.support.regions import BOOT_ID, SEGMENT_BYTES, compile_hammer, open_segment
from tests.support.segments import cache_segment

LARGEST = 2**64 - 1


@pytest.fixture
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        yield segment


def claim(segment: Segment, key: bytes) -> Score:
    score = segment.scoreboard.claim(key)
    assert score is not None
    return score


def test_a_key_finds_its_words_again_and_no_others(segment: Segment) -> None:
    for number in range(100):
        claim(segment, b"key %d" % number).store(number % SCORE_WORDS, number)
    for number in range(100):
        words = [claim(segment, b"key %d" % number).load(word) for word in range(SCORE_WORDS)]
        assert words == [number if word == number % SCORE_WORDS else 0 for word in range(SCORE_WORDS)]


def test_an_addition_tells_the_sum_and_wraps(segment: Segment) -> None:
    score = claim(segment, b"key")
    assert [score.add(3, 5), score.add(3, 7), score.load(3)] == [5, 12, 12]
    assert [score.add(3, LARGEST), score.add(3, LARGEST - 10)] == [11, 0]


def test_a_swap_happens_only_if_the_word_is_as_expected(segment: Segment) -> None:
    score = claim(segment, b"key")
    assert [score.swap(0, 0, LARGEST), score.swap(0, 0, 3), score.load(0)] == [True, False, LARGEST]
    assert [score.swap(0, LARGEST, 3), score.load(0)] == [True, 3]


@pytest.mark.parametrize("word", [SCORE_WORDS, 2**32 - 1])
def test_there_is_no_word_beyond_the_last(segment: Segment, word: int) -> None:
    score = claim(segment, b"key")
    with pytest.raises(IndexError, match=r"outside 0\.\.6"):
        score.load(word)
    with pytest.raises(IndexError, match=r"outside 0\.\.6"):
        score.store(word, 1)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_a_value_that_is_no_word_is_refused(segment: Segment, value: int) -> None:
    with pytest.raises(OverflowError):
        claim(segment, b"key").store(0, value)


def test_a_full_table_has_no_cell_for_a_new_key_and_keeps_those_of_the_others(segment: Segment) -> None:
    for number in range(SCORES):
        claim(segment, b"key %d" % number).store(0, number + 1)
    assert segment.statistics.core()["scoreboard_full"] == 0
    assert [segment.scoreboard.claim(b"one more") for _ in range(2)] == [None, None]
    assert segment.statistics.core()["scoreboard_full"] == 2
    assert [claim(segment, b"key %d" % number).load(0) for number in range(SCORES)] == [*range(1, SCORES + 1)]


def test_a_closed_segment_keeps_no_score() -> None:
    with open_segment() as (segment, _):
        board, score = segment.scoreboard, claim(segment, b"key")
    with pytest.raises(SegmentError, match="closed"):
        board.claim(b"key")
    with pytest.raises(SegmentError, match="closed"):
        score.load(0)


def test_a_segment_taken_over_begins_with_an_empty_board() -> None:
    fd = os.memfd_create("segment")
    os.ftruncate(fd, SEGMENT_BYTES)
    try:
        segment = Segment(fd, SEGMENT_BYTES, create=True, boot_id=BOOT_ID)
        for number in range(SCORES):
            claim(segment, b"key %d" % number).store(1, 5)
        segment.close()
        segment = Segment(fd, SEGMENT_BYTES, create=False, boot_id=BOOT_ID)
        segment.adopt(1)
        assert claim(segment, b"another key").load(1) == claim(segment, b"key 7").load(1) == 0
        segment.close()
    finally:
        os.close(fd)


def test_whoever_attaches_meanwhile_sees_the_same_words() -> None:
    fd = os.memfd_create("segment")
    os.ftruncate(fd, SEGMENT_BYTES)
    one = Segment(fd, SEGMENT_BYTES, create=True, boot_id=BOOT_ID)
    other = Segment(fd, SEGMENT_BYTES, create=False, boot_id=BOOT_ID)
    os.close(fd)
    claim(one, b"key").store(2, 9)
    assert claim(other, b"key").load(2) == 9
    one.close()
    other.close()


# Several processes


def race(segment: Segment, gate: MutableSequence[int], keys: list[bytes], rounds: int) -> None:
    """Claim every key and count in its cell; begins when all are there."""
    claim(segment, b"gate").add(0, 1)
    while not gate[0]:
        pass
    scores = [claim(segment, key) for key in keys]
    for _ in range(rounds):
        for score in scores:
            score.add(0, 1)
            while not score.swap(1, seen := score.load(1), seen + 1):
                pass


def test_processes_that_race_for_the_same_keys_get_the_same_cells_and_lose_no_count(
    segment: Segment,
) -> None:
    """More than half of the table at once, in an order of each one's own, so that they meet on the way."""
    processes, rounds, gate = 4, 20, shared_words(1)
    keys = [b"key %d" % number for number in range(SCORES - 1)]
    pids = [
        spawn(partial(race, segment, gate, keys[me * 200 :] + keys[: me * 200], rounds))
        for me in range(processes)
    ]
    arrived = claim(segment, b"gate")
    while arrived.load(0) < processes:
        os.sched_yield()
    gate[0] = 1
    assert [wait_exit(pid) for pid in pids] == [0] * processes
    wanted = processes * rounds
    assert {(claim(segment, key).load(0), claim(segment, key).load(1)) for key in keys} == {(wanted, wanted)}
    assert segment.scoreboard.claim(b"one more") is None  # as many cells as keys: none has two


def count_for_ever(segment: Segment, noted: MutableSequence[int], slot: int) -> None:
    score = claim(segment, b"key")
    while True:
        score.add(0, 1)
        noted[slot] += 1


def test_a_killed_process_leaves_at_most_the_one_count_it_did_not_note(segment: Segment) -> None:
    kills = 30
    noted, score = shared_words(kills), claim(segment, b"key")
    for slot in range(kills):
        before = score.load(0)
        pid = spawn(partial(count_for_ever, segment, noted, slot))
        while score.load(0) < before + 100 + slot:
            os.sched_yield()
        kill(pid)
    assert sum(noted) <= score.load(0) <= sum(noted) + kills


def claim_and_stop(module: ModuleType, segment: Segment, point: int, key: bytes) -> None:
    module._arm_fault(point, signal.SIGSTOP)
    score = segment.scoreboard.claim(key)
    module._arm_fault(0, 0)
    assert score is not None
    score.add(0, 1)


@pytest.mark.parametrize("rival", [b"key", b"rival"])
@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
def test_a_claim_overtaken_at_any_point_ends_in_the_keys_only_cell(
    faulty: ModuleType, end: signal.Signals, rival: bytes
) -> None:
    """All cells but two are taken, so that whoever claims must come by the other on the way."""
    stopped, point = True, 0
    while stopped:
        point += 1
        with cache_segment(module=faulty) as segment:
            for number in range(SCORES - 2):
                claim(segment, b"key %d" % number)
            pid = spawn(partial(claim_and_stop, faulty, segment, point, b"key"))
            stopped = is_stopped(pid)
            claim(segment, rival).add(0, 1)
            if stopped:
                os.kill(pid, end)
                assert wait_exit(pid) == (0 if end == signal.SIGCONT else -end)
            counted = claim(segment, b"key").load(0)
            lives = end == signal.SIGCONT or not stopped
            assert counted == lives + (rival == b"key")
            assert (segment.scoreboard.claim(b"filler") is not None) == (rival == b"key")
            assert segment.scoreboard.claim(b"one more") is None
    assert point > 1


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("-fsanitize=undefined", "-fno-sanitize-recover=all"),
        ("-fsanitize=thread", "-Wno-tsan"),
    ],
    ids=["plain", "ubsan", "tsan"],
)
def test_a_key_has_one_cell_however_threads_interleave(tmp_path: Path, flags: tuple[str, ...]) -> None:
    program = tmp_path / "hammer"
    compile_hammer(program, *flags)
    result = run([program, "score", "3000"], capture_output=True, text=True, timeout=100, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
