"""Leases: one owner per key, an honest ending for everyone, and no lost wake-up, whoever is killed when."""

import os
import select
import signal
from collections.abc import Callable, Iterator, MutableSequence
from functools import partial
from pathlib import Path
from random import Random
from subprocess import run
from time import monotonic_ns, sleep

import pytest

from shmcache.core import (
    CLAIMED,
    FAILED,
    FULL,
    MEMBERS,
    NOT_STORABLE,
    OWNER_DIED,
    PENDING,
    PUBLISHED,
    TOO_SLOW,
    UNKNOWN,
    WAIT,
    Segment,
    SegmentError,
)
from shmcache.endings import Ending
from tests.support.processes import PATIENCE_S, is_stopped, kill, shared_words, spawn, wait_exit
from tests.support.regions import FaultyLeases, compile_hammer, doorbells, is_rung, open_segment

SECOND = 10**9
NOW = 1_000 * SECOND


@pytest.fixture
def shared() -> Iterator[tuple[Segment, list[int]]]:
    with open_segment() as (segment, bells):
        yield segment, bells


@pytest.fixture
def segment(shared: tuple[Segment, list[int]]) -> Segment:
    """Joined as member 0."""
    shared[0].join(0, monotonic_ns())
    return shared[0]


@pytest.fixture
def bells(shared: tuple[Segment, list[int]]) -> list[int]:
    return shared[1]


def as_member(segment: Segment, member: int, work: Callable[[], None]) -> int:
    """Fork a child that joins as `member` and does `work`; its pid."""

    def joined() -> None:
        segment.join(member, monotonic_ns())
        work()

    return spawn(joined)


def counted(segment: Segment, what: str) -> int:
    return segment.statistics.core()[f"leases_{what}"]


def wait_rung(bell: int) -> None:
    readable, _, _ = select.select([bell], [], [], PATIENCE_S)
    if not readable:
        raise TimeoutError(f"no ring within {PATIENCE_S:g} s: a wake-up was lost")
    os.eventfd_read(bell)


# One process


def test_the_first_claims_and_the_next_waits_for_the_same_lease(segment: Segment) -> None:
    answer, ticket = segment.leases.claim(b"key", NOW, SECOND)
    assert answer == CLAIMED
    assert segment.leases.claim(b"key", NOW, SECOND) == (WAIT, ticket)
    assert segment.leases.claim(b"other", NOW, SECOND)[0] == CLAIMED


@pytest.mark.parametrize("ending", [PUBLISHED, NOT_STORABLE, FAILED])
def test_a_waiter_learns_how_the_lease_ended_and_may_ask_late(segment: Segment, ending: int) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)
    assert segment.leases.ending(ticket, NOW) == PENDING
    segment.leases.release(ticket, ending)
    assert segment.leases.ending(ticket, NOW) == ending
    assert segment.leases.ending(ticket, NOW + 3600 * SECOND) == ending


def test_a_released_key_can_be_claimed_again_and_the_old_ending_is_still_told(segment: Segment) -> None:
    _, first = segment.leases.claim(b"key", NOW, SECOND)
    segment.leases.release(first, PUBLISHED)
    answer, second = segment.leases.claim(b"key", NOW, SECOND)
    assert (answer, second != first) == (CLAIMED, True)
    assert segment.leases.ending(first, NOW) == PUBLISHED
    assert segment.leases.ending(second, NOW) == PENDING


def test_a_ticket_whose_cell_was_reused_is_unknown(segment: Segment) -> None:
    _, first = segment.leases.claim(b"key", NOW, SECOND)
    segment.leases.release(first, PUBLISHED)
    for _ in range(4):
        segment.leases.release(segment.leases.claim(b"key", NOW, SECOND)[1], FAILED)
    assert segment.leases.ending(first, NOW) == UNKNOWN


@pytest.mark.parametrize("ticket", [0, 1, 2**32, 2**63, 2**64 - 1])
def test_a_ticket_that_never_was_is_unknown_and_its_release_void(segment: Segment, ticket: int) -> None:
    _, other = segment.leases.claim(b"key", NOW, SECOND)
    segment.leases.release(ticket, PUBLISHED)
    assert segment.leases.ending(ticket, NOW) == UNKNOWN
    assert segment.leases.ending(other, NOW) == PENDING


def test_a_second_release_is_void(segment: Segment) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)
    segment.leases.release(ticket, FAILED)
    segment.leases.release(ticket, PUBLISHED)
    assert segment.leases.ending(ticket, NOW) == FAILED


def test_past_its_deadline_a_lease_is_too_slow_and_taken_over(segment: Segment) -> None:
    _, slow = segment.leases.claim(b"key", NOW, SECOND)
    assert segment.leases.claim(b"key", NOW + SECOND - 1, SECOND)[0] == WAIT
    assert segment.leases.ending(slow, NOW + SECOND) == TOO_SLOW
    answer, new = segment.leases.claim(b"key", NOW + SECOND, SECOND)
    assert (answer, counted(segment, "taken_over")) == (CLAIMED, 1)
    segment.leases.release(slow, PUBLISHED)  # the late owner's: void
    assert segment.leases.ending(slow, NOW + SECOND) == TOO_SLOW
    assert segment.leases.ending(new, NOW + SECOND) == PENDING


def test_a_late_release_counts_while_nobody_has_taken_over(segment: Segment) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)
    assert segment.leases.ending(ticket, NOW + 2 * SECOND) == TOO_SLOW
    segment.leases.release(ticket, PUBLISHED)
    assert segment.leases.ending(ticket, NOW + 2 * SECOND) == PUBLISHED


def test_a_lease_for_ever_does_not_wrap_around(segment: Segment) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, 2**64 - 1)
    assert segment.leases.claim(b"key", NOW + 10**6 * SECOND, SECOND) == (WAIT, ticket)


def test_a_full_table_answers_full_counts_it_and_finds_room_in_what_ran_out(segment: Segment) -> None:
    answers = [segment.leases.claim(b"key %d" % number, NOW, SECOND) for number in range(20_000)]
    assert {answer for answer, _ in answers} == {CLAIMED, FULL}
    assert all(ticket == 0 for answer, ticket in answers if answer == FULL)
    assert segment.statistics.core()["lease_table_full"] == sum(answer == FULL for answer, _ in answers)
    number = next(number for number, (answer, _) in enumerate(answers) if answer == FULL)
    assert segment.leases.claim(b"key %d" % number, NOW, SECOND)[0] == FULL
    assert segment.leases.claim(b"key %d" % number, NOW + SECOND, SECOND)[0] == CLAIMED


@pytest.mark.parametrize("ending", [PENDING, -1, UNKNOWN + 1])
def test_what_is_no_ending_is_refused(segment: Segment, ending: int) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)
    with pytest.raises(ValueError, match="not an ending"):
        segment.leases.release(ticket, ending)
    assert segment.leases.ending(ticket, NOW) == PENDING


def test_only_members_claim(shared: tuple[Segment, list[int]]) -> None:
    with pytest.raises(SegmentError, match="join the segment"):
        shared[0].leases.claim(b"key", NOW, SECOND)


def test_a_closed_segment_leases_no_more() -> None:
    with open_segment() as (segment, _):
        leases = segment.leases
    with pytest.raises(SegmentError, match="closed"):
        leases.ending(1, NOW)


# Every way a fetch can end


def owner_releases(ending: Ending) -> Callable[[Segment], int]:
    def end(segment: Segment) -> int:
        _, ticket = segment.leases.claim(b"key", NOW, SECOND)
        segment.leases.release(ticket, ending)
        return ticket

    return end


def owner_dies(segment: Segment) -> int:
    def claim_and_die() -> None:
        assert segment.leases.claim(b"key", NOW, SECOND)[0] == CLAIMED
        os.kill(os.getpid(), signal.SIGKILL)

    assert wait_exit(as_member(segment, 1, claim_and_die)) == -signal.SIGKILL
    answer, ticket = segment.leases.claim(b"key", NOW, SECOND)
    assert answer == WAIT
    segment.reap(1)
    return ticket


def deadline_passes(segment: Segment) -> int:
    _, ticket = segment.leases.claim(b"key", NOW - SECOND, SECOND)
    assert segment.leases.claim(b"key", NOW, SECOND)[0] == CLAIMED
    return ticket


ENDINGS: dict[Ending, Callable[[Segment], int]] = {
    Ending.PUBLISHED: owner_releases(Ending.PUBLISHED),
    Ending.NOT_STORABLE: owner_releases(Ending.NOT_STORABLE),
    Ending.FAILED: owner_releases(Ending.FAILED),
    Ending.OWNER_DIED: owner_dies,
    Ending.TOO_SLOW: deadline_passes,
    Ending.UNKNOWN: owner_releases(Ending.UNKNOWN),
}


@pytest.mark.parametrize("ending", [ending for ending in Ending if ending is not Ending.PENDING])
def test_every_ending_is_told_to_who_asks_and_counted_once(segment: Segment, ending: Ending) -> None:
    ticket = ENDINGS[ending](segment)
    assert segment.leases.ending(ticket, NOW) == ending
    endings = {other: counted(segment, other.name.lower()) for other in ENDINGS}
    assert endings == {other: int(other is ending) for other in ENDINGS}


def test_claims_are_counted_when_they_become_leases(segment: Segment) -> None:
    segment.leases.claim(b"one", NOW, SECOND)
    segment.leases.claim(b"one", NOW, SECOND)
    segment.leases.claim(b"two", NOW, SECOND)
    assert counted(segment, "claimed") == 2


def test_claims_and_endings_balance_over_a_run_of_all_of_them(segment: Segment) -> None:
    random = Random(3)
    for number in range(2000):
        now_ns = NOW + number * SECOND // 10
        answer, ticket = segment.leases.claim(b"key %d" % random.randrange(8), now_ns, SECOND)
        if answer == CLAIMED and random.random() < 0.7:
            segment.leases.release(ticket, random.choice([PUBLISHED, NOT_STORABLE, FAILED]))
    keys = [b"key %d" % number for number in range(8)]
    assert {segment.leases.claim(key, NOW, SECOND)[0] for key in keys} <= {CLAIMED, WAIT}
    ended = sum(counted(segment, ending.name.lower()) for ending in ENDINGS)
    assert counted(segment, "claimed") == ended + len(keys)
    assert counted(segment, "too_slow") == counted(segment, "taken_over") > 0


# Renewal


def test_a_renewed_lease_is_not_taken_over_before_its_new_deadline(segment: Segment) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)
    assert segment.leases.renew(ticket, NOW + SECOND - 1, SECOND)
    assert segment.leases.claim(b"key", NOW + 2 * SECOND - 2, SECOND) == (WAIT, ticket)
    assert segment.leases.ending(ticket, NOW + 2 * SECOND - 2) == PENDING
    assert segment.leases.ending(ticket, NOW + 2 * SECOND - 1) == TOO_SLOW
    assert segment.leases.claim(b"key", NOW + 2 * SECOND - 1, SECOND)[0] == CLAIMED
    assert counted(segment, "renewed") == 1


def test_a_renewal_never_shortens_a_lease(segment: Segment) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, 10 * SECOND)
    assert segment.leases.renew(ticket, NOW, SECOND)
    assert segment.leases.ending(ticket, NOW + 10 * SECOND - 1) == PENDING


def test_an_overdue_lease_cannot_be_renewed_but_still_be_released(segment: Segment) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)
    assert not segment.leases.renew(ticket, NOW + SECOND, SECOND)
    assert segment.leases.ending(ticket, NOW + SECOND) == TOO_SLOW
    segment.leases.release(ticket, PUBLISHED)
    assert segment.leases.ending(ticket, NOW + SECOND) == PUBLISHED
    assert counted(segment, "renewed") == 0


def test_a_lease_taken_over_cannot_be_renewed(segment: Segment) -> None:
    _, slow = segment.leases.claim(b"key", NOW, SECOND)
    _, new = segment.leases.claim(b"key", NOW + SECOND, SECOND)
    assert not segment.leases.renew(slow, NOW, 10 * SECOND)
    assert segment.leases.ending(new, NOW + 2 * SECOND) == TOO_SLOW


def test_a_renewal_for_ever_does_not_wrap_around(segment: Segment) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)
    assert segment.leases.renew(ticket, NOW, 2**64 - 1)
    assert segment.leases.claim(b"key", NOW + 10**6 * SECOND, SECOND) == (WAIT, ticket)


# Notes and progress


def test_a_note_is_told_while_the_lease_runs_and_after_it_was_published(segment: Segment) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)
    assert segment.leases.note(ticket) is None
    assert segment.leases.announce(ticket, 2**64 - 1)
    assert segment.leases.note(ticket) == 2**64 - 1
    assert segment.leases.announce(ticket, 0)
    assert segment.leases.note(ticket) == 0
    segment.leases.release(ticket, PUBLISHED)
    assert segment.leases.note(ticket) == 0


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending is not Ending.PUBLISHED])
def test_a_note_is_gone_with_a_lease_that_published_nothing(segment: Segment, ending: Ending) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)
    segment.leases.announce(ticket, 5)
    segment.leases.release(ticket, ending)
    assert segment.leases.note(ticket) is None


def test_a_new_lease_of_a_cell_has_no_note_and_the_old_ticket_none_either(segment: Segment) -> None:
    _, first = segment.leases.claim(b"key", NOW, SECOND)
    segment.leases.announce(first, 5)
    segment.leases.release(first, PUBLISHED)
    tickets = [segment.leases.claim(b"key", NOW, SECOND)[1]]
    while tickets[-1] & 0xFFFFFFFF != first & 0xFFFFFFFF:  # until the cell comes round
        segment.leases.release(tickets[-1], FAILED)
        tickets.append(segment.leases.claim(b"key", NOW, SECOND)[1])
    assert segment.leases.note(first) is None
    assert segment.leases.note(tickets[-1]) is None
    assert segment.leases.announce(tickets[-1], 6)
    assert (segment.leases.note(first), segment.leases.note(tickets[-1])) == (None, 6)
    assert not segment.leases.announce(first, 7)
    assert segment.leases.note(tickets[-1]) == 6


@pytest.mark.parametrize("ticket", [0, 1, 2**32, 2**63, 2**64 - 1])
def test_a_ticket_that_never_was_has_no_note_and_cannot_be_changed(segment: Segment, ticket: int) -> None:
    assert segment.leases.note(ticket) is None
    assert not segment.leases.announce(ticket, 1)
    assert not segment.leases.progress(ticket)
    assert not segment.leases.renew(ticket, NOW, SECOND)


# Several processes


def test_another_member_reads_a_note_but_cannot_announce_progress_or_renew(
    segment: Segment, bells: list[int]
) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)
    segment.leases.announce(ticket, 5)

    def other() -> None:
        assert segment.leases.claim(b"key", NOW, SECOND) == (WAIT, ticket)
        assert segment.leases.note(ticket) == 5
        assert not segment.leases.announce(ticket, 6)
        assert not segment.leases.progress(ticket)
        assert not segment.leases.renew(ticket, NOW, 10 * SECOND)

    assert wait_exit(as_member(segment, 1, other)) == 0
    assert not any(is_rung(bell) for bell in bells)
    assert segment.leases.note(ticket) == 5
    assert segment.leases.ending(ticket, NOW + SECOND) == TOO_SLOW


def test_progress_rings_those_who_wait_once_and_again_when_they_asked(
    segment: Segment, bells: list[int]
) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)

    def ask() -> None:
        assert segment.leases.ending(ticket, NOW) == PENDING

    assert [wait_exit(as_member(segment, member, ask)) for member in (1, 2)] == [0, 0]
    assert segment.leases.progress(ticket)
    assert [member for member in range(MEMBERS) if is_rung(bells[member])] == [1, 2]
    assert segment.leases.progress(ticket)
    assert not any(is_rung(bell) for bell in bells)
    assert wait_exit(as_member(segment, 2, ask)) == 0
    assert segment.leases.progress(ticket)
    assert [member for member in range(MEMBERS) if is_rung(bells[member])] == [2]
    assert segment.leases.ending(ticket, NOW) == PENDING


def test_no_progress_is_missed_by_those_who_ask_before_they_look(segment: Segment, bells: list[int]) -> None:
    """The owner goes on only when everybody has seen its last step, and rings once for each."""
    steps, members = 4000, (1, 2, 3)
    seen = shared_words(MEMBERS)
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)

    def follow(member: int) -> None:
        while segment.leases.ending(ticket, NOW) == PENDING:
            note = segment.leases.note(ticket) or 0
            if note == seen[member]:
                wait_rung(bells[member])
            seen[member] = note

    pids = [as_member(segment, member, partial(follow, member)) for member in members]
    deadline_ns = monotonic_ns() + int(PATIENCE_S * SECOND)
    try:
        for step in range(1, steps + 1):
            assert segment.leases.announce(ticket, step)
            assert segment.leases.progress(ticket)
            while min(seen[member] for member in members) < step:
                assert monotonic_ns() < deadline_ns, "progress was told to nobody"
                os.sched_yield()
        segment.leases.release(ticket, PUBLISHED)
        assert [wait_exit(pid) for pid in pids] == [0] * len(members)
    finally:
        for pid in pids:
            kill(pid)


def test_the_end_rings_those_who_wait_and_nobody_else(segment: Segment, bells: list[int]) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)

    def wait() -> None:
        assert segment.leases.claim(b"key", NOW, SECOND) == (WAIT, ticket)

    assert [wait_exit(as_member(segment, member, wait)) for member in (1, 2, 63)] == [0, 0, 0]
    assert not any(is_rung(bell) for bell in bells)
    segment.leases.release(ticket, PUBLISHED)
    assert [member for member in range(MEMBERS) if is_rung(bells[member])] == [1, 2, 63]


def test_take_over_rings_those_who_waited_for_the_slow_one(segment: Segment, bells: list[int]) -> None:
    _, slow = segment.leases.claim(b"key", NOW, SECOND)

    def wait() -> None:
        assert segment.leases.claim(b"key", NOW, SECOND) == (WAIT, slow)

    assert wait_exit(as_member(segment, 1, wait)) == 0
    assert segment.leases.claim(b"key", NOW + SECOND, SECOND)[0] == CLAIMED
    assert is_rung(bells[1])
    assert segment.leases.ending(slow, NOW + SECOND) == TOO_SLOW


def test_another_member_cannot_release_a_lease(segment: Segment) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)
    assert wait_exit(as_member(segment, 1, lambda: segment.leases.release(ticket, PUBLISHED))) == 0
    assert segment.leases.ending(ticket, NOW) == PENDING


def test_a_dead_owner_is_told_to_its_waiters_and_the_key_is_free(segment: Segment, bells: list[int]) -> None:
    def claim_and_die() -> None:
        assert segment.leases.claim(b"key", NOW, SECOND)[0] == CLAIMED
        os.kill(os.getpid(), 9)

    assert wait_exit(as_member(segment, 1, claim_and_die)) == -9
    answer, ticket = segment.leases.claim(b"key", NOW, SECOND)
    assert answer == WAIT
    segment.reap(1)
    assert is_rung(bells[0])
    assert segment.leases.ending(ticket, NOW) == OWNER_DIED
    assert segment.leases.claim(b"key", NOW, SECOND)[0] == CLAIMED


def test_the_dead_no_longer_wait(segment: Segment, bells: list[int]) -> None:
    _, ticket = segment.leases.claim(b"key", NOW, SECOND)

    def wait_and_die() -> None:
        assert segment.leases.claim(b"key", NOW, SECOND)[0] == WAIT
        os.kill(os.getpid(), 9)

    assert wait_exit(as_member(segment, 1, wait_and_die)) == -9
    segment.reap(1)
    assert is_rung(bells[1])  # reaping rings everybody once
    segment.leases.release(ticket, PUBLISHED)
    assert not is_rung(bells[1])


def test_the_successor_of_a_dead_member_keeps_its_own_leases(segment: Segment) -> None:
    def claim(key: bytes) -> Callable[[], None]:
        def work() -> None:
            assert segment.leases.claim(key, NOW, SECOND)[0] == CLAIMED

        return work

    assert wait_exit(as_member(segment, 1, claim(b"old"))) == 0
    segment.reap(1)
    assert wait_exit(as_member(segment, 1, claim(b"new"))) == 0
    assert segment.leases.claim(b"old", NOW, SECOND)[0] == CLAIMED
    assert segment.leases.claim(b"new", NOW, SECOND)[0] == WAIT


def contend(segment: Segment, bell: int, member: int, owners: MutableSequence[int], rounds: int) -> None:
    """Claim hot keys over and over: alone while we own one, and rung whenever we wait."""
    random = Random(member)
    leases = segment.leases
    for _ in range(rounds):
        key = random.randrange(len(owners))
        answer, ticket = leases.claim(b"hot %d" % key, 0, SECOND)
        if answer == CLAIMED:
            owners[key] = member
            if random.random() < 0.3:
                os.sched_yield()
            assert owners[key] == member, "two owners of one key"
            leases.release(ticket, PUBLISHED)
        elif answer == WAIT:
            while leases.ending(ticket, 0) == PENDING:
                wait_rung(bell)


def test_no_wake_up_is_lost_and_no_key_has_two_owners(segment: Segment, bells: list[int]) -> None:
    members, owners = (1, 2, 3, 4), shared_words(2)
    pids = [
        as_member(segment, member, partial(contend, segment, bells[member], member, owners, 5000))
        for member in members
    ]
    assert [wait_exit(pid) for pid in pids] == [0] * len(members)


def test_no_wake_up_is_lost_while_members_are_killed(segment: Segment, bells: list[int]) -> None:
    random, survivor = Random(1), 4
    owners = shared_words(2)

    def start(member: int, rounds: int) -> int:
        return as_member(segment, member, lambda: contend(segment, bells[member], member, owners, rounds))

    victims = {member: start(member, 10**9) for member in (1, 2, 3)}
    witness = start(survivor, 3000)
    try:
        for _ in range(80):
            sleep(random.uniform(0, 0.008))
            member = random.choice(list(victims))
            kill(victims.pop(member))
            segment.reap(member)
            victims[member] = start(member, 10**9)
        assert wait_exit(witness) == 0
    finally:
        for pid in [*victims.values(), witness]:
            kill(pid)
    for member in (*victims, survivor):
        segment.reap(member)
    assert [segment.leases.claim(b"hot %d" % key, 0, SECOND)[0] for key in range(2)] == [CLAIMED, CLAIMED]


def test_a_key_has_one_owner_however_threads_interleave(tmp_path: Path) -> None:
    program = tmp_path / "hammer"
    compile_hammer(program)
    result = run([program, "lease", "200000"], capture_output=True, text=True, timeout=100, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


# Death and delay at every fault point of the C code

KEY, WAITER, VICTIM = 7, 1, 2
LAST_POINT = 40  # more than any path has: the sweep ends when a child survives


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faulty")


@pytest.fixture
def faulty(build: Path) -> Iterator[tuple[FaultyLeases, list[int]]]:
    with doorbells() as bells:
        yield FaultyLeases(build, bells), bells


def sweep(leases: FaultyLeases, prepare: Callable[[], None], work: Callable[[], object]) -> Iterator[int]:
    """Have a child die at the first fault point of `work`, the second, ... on a fresh table each time."""
    for point in range(1, LAST_POINT):
        leases.clear()
        leases.become(VICTIM)
        prepare()

        def child(point: int = point) -> None:
            leases.raise_at(point, signal.SIGKILL)
            work()

        code = wait_exit(spawn(child))
        leases.become(WAITER)
        if code == 0:
            assert point > 1, "the work passes no fault point"
            return
        assert code == -9
        yield point
    raise AssertionError(f"the work passes more than {LAST_POINT} fault points")


def test_an_owner_that_dies_anywhere_in_release_leaves_nobody_waiting(
    faulty: tuple[FaultyLeases, list[int]],
) -> None:
    leases, bells = faulty
    tickets = [0]

    def prepare() -> None:
        tickets[0] = leases.claim(KEY)[1]
        leases.become(WAITER)
        assert leases.claim(KEY) == (WAIT, tickets[0])
        leases.become(VICTIM)
        is_rung(bells[WAITER])

    points = 0
    for _ in sweep(leases, prepare, lambda: leases.release(tickets[0], PUBLISHED)):
        points += 1
        leases.reap(VICTIM)
        leases.reap(VICTIM)
        assert is_rung(bells[WAITER])
        assert leases.ending(tickets[0]) in (PUBLISHED, OWNER_DIED)
        assert leases.claim(KEY)[0] == CLAIMED
    assert points >= 3


def test_a_claimer_that_dies_anywhere_leaves_the_key_free(faulty: tuple[FaultyLeases, list[int]]) -> None:
    leases, bells = faulty
    points = 0
    for _ in sweep(leases, lambda: None, lambda: leases.claim(KEY)):
        points += 1
        answer, ticket = leases.claim(KEY)
        assert answer == WAIT, "a half-made claim must hold the key until its owner is known to be dead"
        is_rung(bells[WAITER])
        leases.reap(VICTIM)
        assert is_rung(bells[WAITER])
        assert leases.ending(ticket) == OWNER_DIED
        assert leases.claim(KEY)[0] == CLAIMED
    assert points >= 2


def test_who_dies_anywhere_in_a_take_over_leaves_the_key_free(faulty: tuple[FaultyLeases, list[int]]) -> None:
    leases, bells = faulty
    slow = [0]

    def prepare() -> None:
        leases.become(WAITER)
        slow[0] = leases.claim(KEY, 0, 10)[1]
        leases.become(VICTIM)

    for _ in sweep(leases, prepare, lambda: leases.claim(KEY, 10, 10)):
        leases.reap(VICTIM)
        assert is_rung(bells[WAITER])
        assert leases.ending(slow[0], 10) == TOO_SLOW
        assert leases.claim(KEY, 10, 10)[0] == CLAIMED


def test_a_waiter_that_dies_anywhere_is_forgotten(faulty: tuple[FaultyLeases, list[int]]) -> None:
    leases, bells = faulty
    ticket = [0]

    def prepare() -> None:
        leases.become(WAITER)
        ticket[0] = leases.claim(KEY)[1]
        leases.become(VICTIM)

    for _ in sweep(leases, prepare, lambda: leases.claim(KEY)):
        assert leases.reap(VICTIM) == 0
        is_rung(bells[VICTIM])
        assert leases.release(ticket[0], PUBLISHED)
        assert not is_rung(bells[VICTIM])


def test_a_reaper_that_dies_anywhere_is_repeated(faulty: tuple[FaultyLeases, list[int]]) -> None:
    leases, bells = faulty
    dead, tickets = 3, [0]

    def prepare() -> None:
        leases.become(dead)
        tickets[0] = leases.claim(KEY)[1]
        leases.claim(KEY + 4)
        leases.become(WAITER)
        assert leases.claim(KEY) == (WAIT, tickets[0])
        is_rung(bells[WAITER])
        leases.become(-1)

    for _ in sweep(leases, prepare, lambda: leases.reap(dead)):
        leases.reap(dead)
        assert is_rung(bells[WAITER])
        assert leases.ending(tickets[0]) == OWNER_DIED
        assert [leases.claim(key)[0] for key in (KEY, KEY + 4)] == [CLAIMED, CLAIMED]


def pause(
    leases: FaultyLeases,
    prepare: Callable[[], None],
    work: Callable[[], object],
    meanwhile: Callable[[], None],
    check: Callable[[], None],
) -> None:
    """Hold a child at the first fault point of `work`, the second, ... while the others go on; then check."""
    for point in range(1, LAST_POINT):
        leases.clear()
        leases.become(VICTIM)
        prepare()
        leases.become(VICTIM)

        def child(point: int = point) -> None:
            leases.raise_at(point, signal.SIGSTOP)
            work()

        pid = spawn(child)
        if not is_stopped(pid):
            assert point > 1, "the work passes no fault point"
            return
        try:
            meanwhile()
            os.kill(pid, signal.SIGCONT)
            assert wait_exit(pid) == 0
        finally:
            kill(pid)
        check()
    raise AssertionError(f"the work passes more than {LAST_POINT} fault points")


def test_a_waiter_is_rung_or_told_wherever_the_end_falls_into_its_claim(
    faulty: tuple[FaultyLeases, list[int]],
) -> None:
    leases, bells = faulty
    ticket, answers = [0], shared_words(1)

    def prepare() -> None:
        is_rung(bells[VICTIM])
        leases.become(WAITER)
        ticket[0] = leases.claim(KEY)[1]

    def claim() -> None:
        answers[0] = leases.claim(KEY)[0]

    def end() -> None:
        leases.become(WAITER)
        assert leases.release(ticket[0], PUBLISHED)

    def check() -> None:
        assert answers[0] == CLAIMED or is_rung(bells[VICTIM]), "told to wait, and nobody rang"

    pause(leases, prepare, claim, end, check)


def test_a_bell_rung_for_an_older_lease_of_the_cell_costs_no_wake_up(
    faulty: tuple[FaultyLeases, list[int]],
) -> None:
    """An ender that is slow takes the bits of those who wait for the cell's next lease: they ask again."""
    leases, bells = faulty
    owner, old, new = 3, [0], [0]
    reused: list[int] = []

    def prepare() -> None:
        old[0] = leases.claim(KEY)[1]

    def use_the_cell_again() -> None:
        leases.become(owner)
        if leases.ending(old[0]) == PENDING:  # held before it ended anything
            return
        new[0] = leases.claim(KEY)[1]
        while leases.ending(old[0]) != UNKNOWN:
            leases.release(new[0], PUBLISHED)
            new[0] = leases.claim(KEY)[1]
        reused.append(new[0])
        leases.become(WAITER)
        assert leases.claim(KEY) == (WAIT, new[0])
        is_rung(bells[WAITER])

    def check() -> None:
        if not new[0]:
            return
        leases.become(WAITER)
        if is_rung(bells[WAITER]):
            assert leases.ending(new[0]) == PENDING
        leases.become(owner)
        assert leases.release(new[0], PUBLISHED)
        assert is_rung(bells[WAITER])
        new[0] = 0

    pause(leases, prepare, lambda: leases.release(old[0], PUBLISHED), use_the_cell_again, check)
    assert reused, "the ender was never held after it had ended the lease"


def test_an_owner_that_dies_before_its_announcement_was_swapped_in_leaves_its_old_note(
    faulty: tuple[FaultyLeases, list[int]],
) -> None:
    leases, bells = faulty
    tickets = [0]

    def prepare() -> None:
        tickets[0] = leases.claim(KEY)[1]
        assert leases.announce(tickets[0], 11)

    for _ in sweep(leases, prepare, lambda: leases.announce(tickets[0], 12)):
        assert leases.note(tickets[0]) == 11
        assert leases.claim(KEY) == (WAIT, tickets[0])
        is_rung(bells[WAITER])
        leases.reap(VICTIM)
        assert is_rung(bells[WAITER])
        assert leases.note(tickets[0]) is None
        assert leases.ending(tickets[0]) == OWNER_DIED
        assert leases.claim(KEY)[0] == CLAIMED


def test_an_owner_that_dies_before_its_renewal_was_swapped_in_leaves_its_old_deadline(
    faulty: tuple[FaultyLeases, list[int]],
) -> None:
    leases, _ = faulty
    tickets = [0]

    def prepare() -> None:
        tickets[0] = leases.claim(KEY, 0, 10)[1]

    for _ in sweep(leases, prepare, lambda: leases.renew(tickets[0], 9, 100)):
        assert leases.ending(tickets[0], 9) == PENDING
        assert leases.ending(tickets[0], 10) == TOO_SLOW
        assert leases.claim(KEY, 10)[0] == CLAIMED
        assert leases.reap(VICTIM) == 0


def test_an_owner_that_dies_anywhere_in_telling_progress_leaves_nobody_waiting(
    faulty: tuple[FaultyLeases, list[int]],
) -> None:
    leases, bells = faulty
    tickets = [0]

    def prepare() -> None:
        tickets[0] = leases.claim(KEY)[1]
        leases.become(WAITER)
        assert leases.ending(tickets[0]) == PENDING
        leases.become(VICTIM)
        is_rung(bells[WAITER])

    points = 0
    for _ in sweep(leases, prepare, lambda: leases.progress(tickets[0])):
        points += 1
        leases.reap(VICTIM)
        assert is_rung(bells[WAITER])
        assert leases.ending(tickets[0]) == OWNER_DIED
    assert points >= 2


def test_a_late_owner_changes_nothing_of_the_next_lease_of_its_cell(
    faulty: tuple[FaultyLeases, list[int]],
) -> None:
    """Held anywhere in an announcement and a renewal while its cell is taken over, used and announced in."""
    leases, _ = faulty
    owner, slow, new = 3, [0], [0]

    def prepare() -> None:
        slow[0] = leases.claim(KEY, 0, 10)[1]
        assert leases.announce(slow[0], 11)

    def late(announce: bool) -> None:
        if announce:
            leases.announce(slow[0], 12)
        else:
            leases.renew(slow[0], 9, 10**6)

    def take_over(has_note: bool) -> None:
        leases.become(owner)
        new[0] = leases.claim(KEY, 10, 10)[1]
        while new[0] & 0xFFFFFFFF != slow[0] & 0xFFFFFFFF:  # until the cell comes round
            assert leases.release(new[0], FAILED)
            new[0] = leases.claim(KEY, 10, 10)[1]
        if has_note:
            assert leases.announce(new[0], 21)

    def check(has_note: bool) -> None:
        leases.become(owner)
        assert leases.note(new[0]) == (21 if has_note else None)
        assert leases.note(slow[0]) is None
        assert leases.ending(new[0], 19) == PENDING
        assert leases.ending(new[0], 20) == TOO_SLOW, "somebody else lengthened it"
        assert leases.announce(new[0], 22)
        assert leases.note(new[0]) == 22
        assert leases.renew(new[0], 19, 10)
        assert leases.ending(new[0], 28) == PENDING

    for announce in (True, False):
        for has_note in (True, False):
            pause(
                leases,
                prepare,
                partial(late, announce),
                partial(take_over, has_note),
                partial(check, has_note),
            )


def test_an_announcement_survives_a_late_one_that_falls_anywhere_into_it(
    faulty: tuple[FaultyLeases, list[int]],
) -> None:
    """The victim owns the cell now; its former owner, held just before its swap, goes on in the middle."""
    leases, _ = faulty
    former, slow, new = 3, [0], [0]
    late = [0]

    def prepare() -> None:
        leases.become(former)
        slow[0] = leases.claim(KEY, 0, 10)[1]

        def announce() -> None:
            leases.raise_at(2, signal.SIGSTOP)
            leases.announce(slow[0], 12)

        late[0] = spawn(announce)
        assert is_stopped(late[0])
        leases.become(VICTIM)
        new[0] = leases.claim(KEY, 10, 10)[1]
        while new[0] & 0xFFFFFFFF != slow[0] & 0xFFFFFFFF:
            assert leases.release(new[0], FAILED)
            new[0] = leases.claim(KEY, 10, 10)[1]

    def announce() -> None:
        assert leases.announce(new[0], 21)

    def go_on() -> None:
        os.kill(late[0], signal.SIGCONT)
        assert wait_exit(late[0]) == 0
        late[0] = 0

    def check() -> None:
        assert leases.note(new[0]) == 21
        assert leases.note(slow[0]) is None

    try:
        pause(leases, prepare, announce, go_on, check)
    finally:
        if late[0]:
            kill(late[0])


def test_progress_rings_or_shows_wherever_a_waiter_asks_in_between(
    faulty: tuple[FaultyLeases, list[int]],
) -> None:
    leases, bells = faulty
    tickets, noted = [0], list[int | None]()

    def prepare() -> None:
        tickets[0] = leases.claim(KEY)[1]
        is_rung(bells[WAITER])

    def tell() -> None:
        assert leases.announce(tickets[0], 5)
        assert leases.progress(tickets[0])

    def ask() -> None:
        leases.become(WAITER)
        assert leases.ending(tickets[0]) == PENDING
        noted[:] = [leases.note(tickets[0])]

    def check() -> None:
        assert noted == [5] or is_rung(bells[WAITER]), "neither seen nor rung"
        assert leases.note(tickets[0]) == 5

    pause(leases, prepare, tell, ask, check)


def test_a_waiter_held_anywhere_in_asking_is_rung_by_progress_or_sees_it(
    faulty: tuple[FaultyLeases, list[int]],
) -> None:
    leases, bells = faulty
    owner, tickets, noted = 3, [0], shared_words(1)

    def prepare() -> None:
        is_rung(bells[VICTIM])
        noted[0] = 0
        leases.become(owner)
        tickets[0] = leases.claim(KEY)[1]

    def ask() -> None:
        assert leases.ending(tickets[0]) == PENDING
        noted[0] = leases.note(tickets[0]) or 0

    def tell() -> None:
        leases.become(owner)
        assert leases.announce(tickets[0], 5)
        assert leases.progress(tickets[0])

    def check() -> None:
        assert noted[0] == 5 or is_rung(bells[VICTIM]), "neither seen nor rung"

    pause(leases, prepare, ask, tell, check)
