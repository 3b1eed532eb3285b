"""Making, attaching to and joining a segment."""

import os
from collections.abc import Iterator

import pytest

from shmcache import LAYOUT_VERSION, MEMBERS, LayoutMismatch, Segment, SegmentError
from tests.support.processes import spawn
from tests.support.segments import BOOT_ID, NOW_NS, cache_segment, get, put, was_killed

SIZE = 4 << 20


@pytest.fixture
def fd() -> Iterator[int]:
    number = os.memfd_create("segment")
    os.ftruncate(number, SIZE)
    yield number
    os.close(number)


def make(fd: int) -> Segment:
    return Segment(fd, SIZE, create=True, boot_id=BOOT_ID)


def attach(fd: int, size: int = SIZE, boot_id: bytes = BOOT_ID) -> Segment:
    return Segment(fd, size, create=False, boot_id=boot_id)


def test_a_second_mapping_finds_what_the_first_stored(fd: int) -> None:
    first = make(fd)
    first.join(0, NOW_NS)
    assert put(first, b"key", b"body")
    second = attach(fd)
    second.join(1, NOW_NS)
    assert get(second, b"key") == b"body"
    assert second.audit() == []
    second.close()
    first.close()


def test_attach_refuses_another_boot(fd: int) -> None:
    make(fd).close()
    with pytest.raises(LayoutMismatch, match="another boot"):
        attach(fd, boot_id=b"the next boot")


def test_attach_refuses_another_size(fd: int) -> None:
    make(fd).close()
    os.ftruncate(fd, SIZE * 2)
    with pytest.raises(LayoutMismatch, match="another size"):
        attach(fd, SIZE * 2)


def test_attach_refuses_another_version(fd: int) -> None:
    make(fd).close()
    os.pwrite(fd, (LAYOUT_VERSION + 1).to_bytes(4, "little"), 8)
    with pytest.raises(LayoutMismatch, match="version"):
        attach(fd)


def test_attach_refuses_structures_of_another_shape(fd: int) -> None:
    make(fd).close()
    os.pwrite(fd, bytes(byte ^ 0xFF for byte in os.pread(fd, 4, 12)), 12)
    with pytest.raises(LayoutMismatch, match="structures"):
        attach(fd)


def test_attach_refuses_what_is_no_segment(fd: int) -> None:
    with pytest.raises(LayoutMismatch, match="mark"):
        attach(fd)


def test_attach_refuses_a_segment_whose_making_broke_off(fd: int) -> None:
    make(fd).close()
    os.pwrite(fd, (1).to_bytes(4, "little"), 24)
    with pytest.raises(LayoutMismatch, match="never finished"):
        attach(fd)


def test_too_small_a_segment_names_the_minimum() -> None:
    with pytest.raises(SegmentError, match=r"at least (\d+) bytes") as refusal, cache_segment(1 << 20):
        pass
    minimum = int(str(refusal.value).split("at least ")[1].split()[0])
    with cache_segment(minimum) as segment:
        assert put(segment, b"key", b"body")
        assert get(segment, b"key") == b"body"


def test_a_descriptor_that_cannot_be_mapped_is_a_clear_error() -> None:
    reading, writing = os.pipe()
    with pytest.raises(SegmentError, match="cannot map"):
        Segment(reading, SIZE, create=True, boot_id=BOOT_ID)
    os.close(reading)
    os.close(writing)


def test_doorbells_are_one_per_member_or_none(fd: int) -> None:
    with pytest.raises(ValueError, match="2 doorbells"):
        Segment(fd, SIZE, create=True, boot_id=BOOT_ID, doorbells=(1, 2))


def test_a_member_is_seen_by_the_others() -> None:
    with cache_segment() as segment:
        assert segment.member_info(5).joined is False

        def child() -> None:
            segment.join(5, 7)
            segment.beat(9)

        pid = spawn(child)
        assert not was_killed(pid)
        seen = segment.member_info(5)
        assert (seen.member, seen.pid, seen.joined) == (5, pid, True)
        assert (seen.started_ns, seen.heartbeat_ns) == (7, 9)
        segment.reap(5)
        after = segment.member_info(5)
        assert (after.joined, after.pid, after.epoch) == (False, 0, seen.epoch + 1)


@pytest.mark.parametrize("member", [-1, MEMBERS])
def test_there_are_no_other_members(member: int) -> None:
    with cache_segment() as segment, pytest.raises(ValueError, match=str(member)):
        segment.join(member, NOW_NS)


def test_nobody_reaps_himself() -> None:
    with cache_segment() as segment, pytest.raises(ValueError, match="very process"):
        segment.reap(0)


def test_the_cache_wants_a_member(fd: int) -> None:
    segment = make(fd)
    with pytest.raises(SegmentError, match="join"):
        segment.cache.get(b"key", NOW_NS)
    with pytest.raises(SegmentError, match="join"):
        segment.beat(NOW_NS)
    segment.close()


def test_everything_is_dead_after_close() -> None:
    with cache_segment() as segment:
        cache = segment.cache
        assert put(segment, b"big", bytes(200_000))
        hit = cache.get(b"big", NOW_NS)
        assert hit is not None
    for use in (
        segment.audit,
        cache.generation,
        lambda: cache.get(b"big", NOW_NS),
        lambda: cache.delete(b"big"),
    ):
        with pytest.raises(SegmentError, match="closed"):
            use()
    del hit  # the pin of a closed segment is dropped without touching it
