"""Bodies read by other processes while they are written, whatever becomes of writer, reader and entry."""

import itertools
import mmap
import os
import random
import select
import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from shmcache import Segment
from shmcache.core import BROKEN, CLAIMED, EXPIRED, FAILED, FRESH, PENDING, PUBLISHED, RUNNING, WAIT, WHOLE
from tests.support.faults import die_at, let_go, stopped_at
from tests.support.processes import spawn
from tests.support.regions import doorbells, is_rung
from tests.support.segments import FOREVER_NS, NOW_NS, get, put, sealed, was_killed
from tests.support.shared_memory import another_handle, distinct_segment

KEY = b"https://host.example/followed"
DATES = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}
LEASE_NS = 1 << 60
PATIENCE_MS = 60_000
LARGE = 150_000


@dataclass
class Stage:
    """A segment with a handle that fills (member 0), and another that follows (member 1)."""

    segment: Any
    second: Any
    fd: int
    bells: list[int]

    def begin(self, size: int | None = None, **more: Any) -> tuple[Any, int]:
        """A fill of KEY, and the lease under which it is made."""
        answer, ticket = self.segment.leases.claim(KEY, NOW_NS, LEASE_NS)
        assert answer == CLAIMED
        fill = self.segment.cache.begin(KEY, b"its meta", size, flags=7, **more, **DATES)
        assert fill is not None
        return fill, ticket

    def share(self, body: bytes, size: int | None = None, **more: Any) -> tuple[Any, int, Any]:
        """The same with `body` written and shared, and somebody who follows."""
        fill, ticket = self.begin(size, **more)
        assert fill.share(ticket) and fill.write(body)
        following = self.second.cache.follow(KEY, ticket, NOW_NS)
        assert following is not None
        return fill, ticket, following

    def pages(self) -> int:
        return int(self.segment.occupancy()["pages_used"])


@pytest.fixture
def stage() -> Iterator[Stage]:
    with (
        doorbells() as bells,
        distinct_segment(keys=[KEY], tags=[b"red"], doorbells=bells, stripes=1) as (segment, fd),
        another_handle(fd, 1, doorbells=bells) as second,
    ):
        yield Stage(segment, second, fd, bells)
        assert segment.audit() == []


def read(following: Any, start: int = 0) -> tuple[int, bytes]:
    """How it stands, and the bytes there are from `start` on."""
    state, filled = following.look()
    return state, b"".join(following.views(start, filled))


def read_to_the_end(segment: Any, ticket: int, bell: int, told: mmap.mmap) -> tuple[int, bytes]:
    """Follow as a worker does, woken by nothing but its doorbell; `told` learns how far it came."""
    body, following = b"", None
    while True:
        ending = segment.leases.ending(ticket, NOW_NS)
        following = following or segment.cache.follow(KEY, ticket, NOW_NS)
        if following is not None:
            state, more = read(following, len(body))
            body += more
            told[:8] = struct.pack("<Q", len(body) + 1)
            if state != RUNNING:
                return state, body
        assert ending == PENDING, "the lease ended before its fill"
        assert select.select([bell], [], [], PATIENCE_MS / 1000)[0], "nobody rang"
        os.eventfd_read(bell)


SIZES = [0, 1, 700, 32_768, 65_536, 65_537, LARGE, 31 * 65_536, 8_500_000]


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_another_process_reads_a_body_while_it_arrives(size: int, announced: bool) -> None:
    """Each piece is read before the next one is written, and only the doorbell tells of it."""
    dice = random.Random(size)
    body = dice.randbytes(size)
    told = mmap.mmap(-1, 8)
    with doorbells() as bells, distinct_segment(96 << 20, doorbells=bells, stripes=1) as (segment, _):
        _, ticket = segment.leases.claim(KEY, NOW_NS, LEASE_NS)

        def follow() -> None:
            segment.join(1, NOW_NS)
            assert segment.leases.claim(KEY, NOW_NS, LEASE_NS) == (WAIT, ticket)
            assert read_to_the_end(segment, ticket, bells[1], told) == (WHOLE, body)

        pid = spawn(follow)
        fill = segment.cache.begin(KEY, b"m", size if announced else None, **DATES)
        assert fill is not None and fill.share(ticket)
        at, most = 0, max(size // 20, 200)
        while True:
            while struct.unpack("<Q", told[:])[0] != at + 1:
                assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
            if at == size:
                break
            piece = body[at : at + dice.randrange(1, most)]
            assert fill.write(piece)
            at += len(piece)
        assert fill.publish()
        segment.leases.release(ticket, PUBLISHED)
        assert not was_killed(pid)
        assert get(segment, KEY) == body
        segment.reap(1)
        assert segment.audit() == []


def test_what_is_known_of_the_body_is_told_at_once(stage: Stage) -> None:
    fill, ticket, following = stage.share(b"a", 3)
    assert (following.meta, following.flags, following.size) == (b"its meta", 7, 3)
    assert following.fresh_until_ns == FOREVER_NS
    fill.abort()
    stage.segment.leases.release(ticket, FAILED)
    del following
    _, _, following = stage.share(b"a", None)
    assert following.size is None


@pytest.mark.parametrize("first", [0, 10, 30_000, 40_000], ids=str)
def test_a_body_may_be_shared_after_a_part_of_it_came(stage: Stage, first: int) -> None:
    body = sealed(1, 50_000)
    fill, ticket = stage.begin()
    assert fill.write(body[:first])
    assert stage.second.cache.follow(KEY, ticket, NOW_NS) is None, "it is not shared yet"
    assert fill.share(ticket) and fill.filled == first
    following = stage.second.cache.follow(KEY, ticket, NOW_NS)
    assert read(following) == (RUNNING, body[:first])
    assert fill.write(body[first:])
    assert read(following) == (RUNNING, body)
    assert fill.publish()
    assert read(following) == (WHOLE, body)
    assert get(stage.second, KEY) == body


def test_a_small_body_that_was_shared_is_stored_like_any_other(stage: Stage) -> None:
    fill, _, following = stage.share(b"small", 5)
    assert fill.publish()
    assert read(following) == (WHOLE, b"small")
    assert get(stage.segment, KEY) == get(stage.second, KEY) == b"small"
    hit = stage.second.cache.get(KEY, NOW_NS)
    assert (hit.verdict, hit.meta, hit.size) == (FRESH, b"its meta", 5)


def test_exactly_the_members_that_wait_are_rung(stage: Stage) -> None:
    with another_handle(stage.fd, 2) as third, another_handle(stage.fd, 3):
        fill, ticket = stage.begin()
        for waiter in (stage.second, third):
            assert waiter.leases.claim(KEY, NOW_NS, LEASE_NS) == (WAIT, ticket)
        rung = [fill.share(ticket)] and [is_rung(bell) for bell in stage.bells[:4]]
        assert rung == [False, True, True, False]
        assert third.leases.ending(ticket, NOW_NS) == PENDING
        for act in (lambda: fill.write(b"x"), fill.publish):
            assert act()
            assert [is_rung(bell) for bell in stage.bells[:4]] == [False, False, True, False]
            third.leases.ending(ticket, NOW_NS)


def test_an_abort_rings_those_who_wait(stage: Stage) -> None:
    fill, ticket, _ = stage.share(b"x")
    assert stage.second.leases.claim(KEY, NOW_NS, LEASE_NS) == (WAIT, ticket)
    fill.abort()
    assert is_rung(stage.bells[1])


# --- who may follow -----------------------------------------------------------------------------------------


def test_only_the_key_that_is_filled_is_followed(stage: Stage) -> None:
    _, ticket, _ = stage.share(b"x")
    for key in (b"another", KEY[:-1], KEY + b"/", b""):
        assert stage.second.cache.follow(key, ticket, NOW_NS) is None
    for nonsense in (0, ticket + 1, ticket ^ 1 << 40, (1 << 64) - 1):
        assert stage.second.cache.follow(KEY, nonsense, NOW_NS) is None


@pytest.mark.parametrize("note", [1, 12, 1 << 32 | 1, 1 << 32 | 0xFFFFFFFF, 1 << 32, (1 << 64) - 1])
def test_a_note_that_leads_nowhere_is_not_followed(stage: Stage, note: int) -> None:
    _, ticket = stage.begin()
    assert stage.segment.leases.announce(ticket, note)
    assert stage.second.cache.follow(KEY, ticket, NOW_NS) is None


def test_a_lease_that_was_taken_over_is_not_shared_and_the_fill_goes_on(stage: Stage) -> None:
    fill, ticket = stage.begin()
    stage.segment.leases.release(ticket, FAILED)
    assert not fill.share(ticket)
    assert fill.write(b"all the same") and fill.publish()
    assert get(stage.second, KEY) == b"all the same"


def test_a_body_is_followed_after_it_was_published_as_long_as_it_is_stored(stage: Stage) -> None:
    body = sealed(1, LARGE)
    fill, ticket = stage.begin()
    assert fill.share(ticket) and fill.write(body) and fill.publish()
    stage.segment.leases.release(ticket, PUBLISHED)
    following = stage.second.cache.follow(KEY, ticket, NOW_NS)
    assert read(following) == (WHOLE, body)
    assert stage.segment.cache.freshen(KEY, b"fresher", **DATES)
    later = stage.second.cache.follow(KEY, ticket, NOW_NS)
    assert later.meta == b"fresher" and read(later) == read(following) == (WHOLE, body)
    assert put(stage.segment, KEY, b"another")
    assert stage.second.cache.follow(KEY, ticket, NOW_NS) is None
    assert read(following) == (WHOLE, body), "who follows keeps what it has"


def test_a_released_body_is_followed_no_more(stage: Stage) -> None:
    _, _, following = stage.share(b"x")
    following.release()
    following.release()
    with pytest.raises(ValueError, match="released"):
        following.look()
    with pytest.raises(ValueError, match="released"):
        following.views()


# --- endings ------------------------------------------------------------------------------------------------


def test_pages_of_an_aborted_fill_stay_until_the_last_follower_lets_go(stage: Stage) -> None:
    body = sealed(1, LARGE)
    fill, ticket, following = stage.share(body)
    with another_handle(stage.fd, 2) as third:
        other = third.cache.follow(KEY, ticket, NOW_NS)
        views = following.views(0, following.look()[1])
        fill.abort()
        assert stage.second.cache.follow(KEY, ticket, NOW_NS) is None
        assert read(following) == read(other) == (BROKEN, body)
        for number in range(40):
            assert put(stage.segment, b"churn %d" % number, sealed(number, LARGE))
        assert read(other) == (BROKEN, body), "and nobody writes over them"
        before = stage.pages()
        following.release()
        assert b"".join(views) == body
        other.release()
        assert stage.pages() == before, "a view still holds them"
        views.clear()
        assert stage.pages() < before
        for number in range(40):
            stage.segment.cache.delete(b"churn %d" % number)
        assert stage.pages() == 0
    stage.segment.leases.release(ticket, FAILED)
    assert stage.second.cache.follow(KEY, ticket, NOW_NS) is None


def test_a_fill_that_is_dropped_breaks_off(stage: Stage) -> None:
    fill, _, following = stage.share(b"x" * LARGE)
    del fill
    assert following.look() == (BROKEN, LARGE)
    following.release()
    assert stage.pages() == 0


@pytest.mark.parametrize("size", [3, LARGE])
def test_a_fill_of_too_few_bytes_breaks_off(stage: Stage, size: int) -> None:
    fill, _, following = stage.share(b"x" * size, size + 1)
    assert not fill.publish()
    assert following.look() == (BROKEN, size)


def killed_filler(stage: Stage, body: bytes, more: Callable[[Any], object] = lambda fill: None) -> int:
    """A process (member 2) that shared `body` and was killed; the ticket of its lease."""
    told = mmap.mmap(-1, 8)

    def child() -> None:
        stage.segment.join(2, NOW_NS)
        fill, ticket = stage.begin()
        assert fill.share(ticket) and fill.write(body)
        more(fill)
        told[:] = struct.pack("<Q", ticket)
        os.kill(os.getpid(), signal.SIGKILL)

    assert was_killed(spawn(child))
    return int(struct.unpack("<Q", told[:])[0])


@pytest.mark.parametrize("size", [0, 10, LARGE, 3_000_000])
def test_a_killed_filler_is_running_until_it_is_reaped_and_broken_then(size: int) -> None:
    body = sealed(1, size)
    with distinct_segment(48 << 20, stripes=1) as (segment, fd), another_handle(fd, 1) as second:
        stage = Stage(segment, second, fd, [])
        ticket = killed_filler(stage, body)
        following = second.cache.follow(KEY, ticket, NOW_NS)
        assert read(following) == (RUNNING, body)
        assert segment.reap(2)["fills"] == 1
        assert read(following) == (BROKEN, body)
        assert second.cache.follow(KEY, ticket, NOW_NS) is None
        assert segment.audit() == []
        following.release()
        assert stage.pages() == 0
        assert segment.audit() == []


def test_who_published_and_was_killed_leaves_a_whole_body(stage: Stage) -> None:
    body = sealed(1, LARGE)
    ticket = killed_filler(stage, body, lambda fill: fill.publish())
    following = stage.second.cache.follow(KEY, ticket, NOW_NS)
    assert read(following) == (WHOLE, body)
    stage.segment.reap(2)
    assert read(following) == (WHOLE, body)
    assert get(stage.segment, KEY) == body


def test_a_killed_follower_holds_nothing_once_it_is_reaped(stage: Stage) -> None:
    fill, ticket, following = stage.share(sealed(1, LARGE))
    following.release()

    def child() -> None:
        stage.segment.join(2, NOW_NS)
        held = stage.segment.cache.follow(KEY, ticket, NOW_NS)
        assert held.look()[0] == RUNNING
        os.kill(os.getpid(), signal.SIGKILL)

    assert was_killed(spawn(child))
    fill.abort()
    assert stage.pages() > 0, "its pin is still there"
    assert stage.segment.reap(2)["pins"] == 1
    assert stage.pages() == 0


# --- the entry changes --------------------------------------------------------------------------------------


def test_the_last_page_is_kept_while_somebody_follows_and_traded_when_nobody_does(stage: Stage) -> None:
    body = sealed(1, 2 * 65_536 + 1_000)
    assert put(stage.segment, b"another", body), "so that there is a page with room for a tail"
    fill, _, following = stage.share(body)
    views = following.views(0, following.look()[1])
    assert fill.publish()
    assert read(following) == (WHOLE, body) and b"".join(views) == body
    kept = stage.pages()
    views.clear()
    following.release()
    assert get(stage.second, KEY) == body
    stage.segment.cache.delete(KEY)
    _, ticket = stage.segment.leases.claim(b"alone", NOW_NS, LEASE_NS)
    fill = stage.segment.cache.begin(b"alone", b"m", None, **DATES)
    assert fill.share(ticket) and fill.write(body) and fill.publish()
    assert stage.pages() == kept - 1
    alone = stage.second.cache.follow(b"alone", ticket, NOW_NS)
    assert read(alone) == (WHOLE, body)


Change = Callable[[Segment], object]
CHANGES: dict[str, Change] = {
    "deleted": lambda segment: segment.cache.delete(KEY),
    "purged by tag": lambda segment: segment.cache.purge_tag(b"red"),
    "purged by prefix": lambda segment: segment.cache.purge_prefix(b"https://host.example/fol"),
    "purged with everything": lambda segment: segment.cache.purge_all(),
}
each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@each_change
def test_a_hard_purge_while_followed_takes_nothing_from_those_who_follow(
    stage: Stage, change: Change
) -> None:
    """They asked before the purge. Who asks after it goes without, and nothing is stored."""
    body = sealed(1, LARGE)
    fill, ticket, following = stage.share(body[:70_000], tags=(b"red",))
    change(stage.segment)
    assert stage.second.cache.follow(KEY, ticket, NOW_NS) is None
    assert fill.write(body[70_000:])
    assert read(following) == (RUNNING, body)
    assert not fill.publish()
    assert read(following) == (WHOLE, body), "it is complete, though not stored"
    assert get(stage.segment, KEY) is None
    following.release()
    assert stage.pages() == 0


@each_change
def test_a_hard_purge_of_a_published_body_takes_nothing_from_those_who_follow(
    stage: Stage, change: Change
) -> None:
    body = sealed(1, LARGE)
    fill, ticket, following = stage.share(body, tags=(b"red",))
    assert fill.publish()
    change(stage.segment)
    assert get(stage.segment, KEY) is None
    assert stage.second.cache.follow(KEY, ticket, NOW_NS) is None
    assert read(following) == (WHOLE, body)
    following.release()
    assert stage.pages() == 0


@pytest.mark.parametrize("published", [False, True])
def test_a_soft_purge_shows_in_how_long_a_followed_body_is_fresh(stage: Stage, published: bool) -> None:
    soft_ns = NOW_NS - 5
    for purge in (
        lambda: stage.segment.cache.delete(KEY, soft_ns),
        lambda: stage.segment.cache.purge_tag(b"red", soft_ns),
        lambda: stage.segment.cache.purge_prefix(b"https://host.example/fol", soft_ns),
        lambda: stage.segment.cache.purge_all(soft_ns),
    ):
        fill, ticket, before = stage.share(b"x" * LARGE, tags=(b"red",))
        assert not published or fill.publish()
        purge()
        after = stage.second.cache.follow(KEY, ticket, NOW_NS)
        assert (before.fresh_until_ns, after.fresh_until_ns) == (FOREVER_NS, soft_ns)
        assert (before.verdict, after.verdict) == (FRESH, EXPIRED)
        fill.abort()
        stage.segment.leases.release(ticket, FAILED)


def test_a_body_replaced_while_it_is_followed_stays_for_those_who_follow(stage: Stage) -> None:
    body = sealed(1, LARGE)
    fill, _, following = stage.share(body[:1_000])
    assert put(stage.segment, KEY, sealed(2, LARGE))
    assert fill.write(body[1_000:]) and fill.publish()
    assert get(stage.segment, KEY) == body
    assert put(stage.segment, KEY, sealed(3, LARGE))
    for number in range(40):
        put(stage.segment, b"churn %d" % number, sealed(number, LARGE))
    assert read(following) == (WHOLE, body)


# --- stopped anywhere ---------------------------------------------------------------------------------------


def publish(stage: Stage, fill: Any) -> None:
    assert fill.publish()
    assert stage.segment.cache.freshen(KEY, b"longer meta" * 50, **DATES)
    assert stage.segment.cache.freshen(KEY, b"its meta", **DATES)


def give_up(stage: Stage, fill: Any) -> None:
    fill.abort()


def replace(stage: Stage, fill: Any) -> None:
    assert fill.publish()
    assert put(stage.segment, KEY, sealed(2, LARGE))


@pytest.mark.parametrize("meanwhile", [publish, give_up, replace])
def test_who_begins_to_follow_while_all_changes_reads_the_body_or_nothing(
    faulty: ModuleType, meanwhile: Callable[[Stage, Any], None]
) -> None:
    body = sealed(1, LARGE)
    point = 0
    pid: int | None = 0
    while pid is not None:
        point += 1
        with distinct_segment(4 << 20, module=faulty, stripes=1, entries=128) as (segment, fd):
            stage = Stage(segment, None, fd, [])
            fill, ticket = stage.begin()
            assert fill.share(ticket) and fill.write(body)
            pid = stopped_at(segment, faulty, point, partial(follow_once, segment, ticket, body))
            if pid is not None:
                meanwhile(stage, fill)
                for number in range(60):
                    put(segment, b"churn %d" % number, sealed(number, 30_000 + 1_000 * number))
                let_go(pid)
            segment.reap(1)
            assert segment.audit() == []
    assert point > 3


def follow_once(segment: Any, ticket: int, body: bytes) -> None:
    following = segment.cache.follow(KEY, ticket, NOW_NS)
    if following is not None:
        assert following.meta in (b"its meta", b"longer meta" * 50)
        assert read(following)[1] == body


def test_a_filler_that_stands_anywhere_is_followed_byte_for_byte(faulty: ModuleType) -> None:
    """Who begins to follow at any step of writing, trading the tail and publishing reads what was written."""
    body = sealed(1, 2 * 65_536 + 900)
    told = mmap.mmap(-1, 8)
    point, followed = 0, 0
    pid: int | None = 0
    while pid is not None:
        point += 1
        with distinct_segment(4 << 20, module=faulty, stripes=1, entries=128) as (segment, fd):
            stage = Stage(segment, None, fd, [])
            pid = stopped_at(segment, faulty, 0, partial(fill_from, stage, faulty, point, told, body))
            if pid is None:
                break
            following = segment.cache.follow(KEY, struct.unpack("<Q", told[:])[0], NOW_NS)
            if following is not None:
                followed += 1
                state, seen = read(following)
                assert body.startswith(seen) and (state == RUNNING or seen == body)
                views = following.views()
            let_go(pid)
            if following is not None:
                assert b"".join(views) == seen
                assert read(following) == (WHOLE, body)
                views.clear()
                following.release()
            assert get(segment, KEY) == body
            segment.reap(1)
            assert segment.audit() == []
    assert followed > 30


def fill_from(stage: Stage, faulty: ModuleType, point: int, told: mmap.mmap, body: bytes) -> None:
    fill, ticket = stage.begin()
    told[:] = struct.pack("<Q", ticket)
    faulty._arm_fault(point, signal.SIGSTOP)
    assert fill.share(ticket)
    assert fill.write(body[:100_000]) and fill.write(body[100_000:])
    assert fill.publish()


def test_who_begins_to_follow_while_a_dead_filler_is_cleaned_up_reads_its_bytes_or_nothing(
    faulty: ModuleType,
) -> None:
    """A filler dies at every point of publishing; whoever repairs its stripe is stopped in the middle."""
    body = sealed(1, 50_000)
    followed = 0

    def die_publishing(segment: Any, point: int) -> None:
        segment.join(1, NOW_NS)
        answer, ticket = segment.leases.claim(KEY, NOW_NS, LEASE_NS)
        fill = segment.cache.begin(KEY, b"m", None, **DATES)
        assert answer == CLAIMED and fill.share(ticket) and fill.write(body)
        faulty._arm_fault(point, signal.SIGKILL)
        fill.publish()

    def repair(segment: Any, point: int) -> None:
        segment.join(2, NOW_NS)
        faulty._arm_fault(point, signal.SIGSTOP)
        segment.cache.delete(b"nothing")

    for death, stop in itertools.product(range(1, 60), range(1, 5)):
        with distinct_segment(3 << 20, module=faulty, stripes=1, entries=64) as (segment, _):
            assert put(segment, b"bystander", b"whose slot repair sees first")
            if not was_killed(spawn(partial(die_publishing, segment, death))):
                break
            pid = spawn(partial(repair, segment, stop))
            _, status = os.waitpid(pid, os.WUNTRACED)
            answer, ticket = segment.leases.claim(KEY, NOW_NS, LEASE_NS)
            following = segment.cache.follow(KEY, ticket, NOW_NS) if answer == WAIT else None
            views = []
            if following is not None:
                _, filled = following.look()
                views = following.views(0, filled)
                followed += 1
            if os.WIFSTOPPED(status):
                let_go(pid)
            for number in range(80):
                put(segment, b"churn %d" % number, sealed(number, 40_000))
            assert b"".join(views) == body[: sum(map(len, views))], (
                f"died at {death}, repair stopped at {stop}"
            )
            views.clear()
            del following
            segment.reap(1)
            segment.reap(2)
            assert segment.audit() == []
    assert death > 10 and followed > 10


@pytest.mark.parametrize("size", [50_000, 150_000])
def test_a_filler_killed_anywhere_while_it_is_followed_takes_no_byte_with_it(
    faulty: ModuleType, size: int
) -> None:
    body = sealed(1, size)
    point = followed = 0
    while True:
        point += 1
        with distinct_segment(3 << 20, module=faulty, stripes=1, entries=64) as (segment, _):

            def publish(segment: Any = segment, point: int = point) -> None:
                segment.join(1, NOW_NS)
                answer, ticket = segment.leases.claim(KEY, NOW_NS, LEASE_NS)
                fill = segment.cache.begin(KEY, b"m", None, **DATES)
                assert answer == CLAIMED and fill.share(ticket) and fill.write(body)
                faulty._arm_fault(point, signal.SIGSTOP)
                fill.publish()

            pid = spawn(publish)
            _, status = os.waitpid(pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                break
            answer, ticket = segment.leases.claim(KEY, NOW_NS, LEASE_NS)
            following = segment.cache.follow(KEY, ticket, NOW_NS) if answer == WAIT else None
            os.kill(pid, signal.SIGKILL)
            assert was_killed(pid)
            if following is not None:
                followed += 1
                segment.reap(1)
                assert die_at(
                    segment, faulty, 2, 1, lambda it: put(it, b"new", b"so that it is repaired again")
                )
                segment.reap(2)
                for number in range(80):
                    put(segment, b"churn %d" % number, sealed(number, 40_000))
                _, filled = following.look()
                assert b"".join(following.views(0, filled)) == body[:filled], f"killed at {point}"
                del following
            else:
                segment.reap(1)
            assert segment.audit() == []
    assert point > 10 and followed > 5
