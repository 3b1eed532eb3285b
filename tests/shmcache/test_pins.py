"""A lent body stays as it is, whatever becomes of its entry."""

import os
import signal

import pytest

from shmcache import PinnedBody, Segment
from tests.support.processes import spawn
from tests.support.segments import NOW_NS, cache_segment, get, put, sealed, was_killed, whole

SIZE = 150_000


def pinned(segment: Segment, key: bytes) -> PinnedBody:
    hit = segment.cache.get(key, NOW_NS)
    assert hit is not None and isinstance(hit.body, PinnedBody)
    return hit.body


def crowd_out(segment: Segment) -> None:
    """Store enough to evict everything that can be."""
    for number in range(400):
        put(segment, b"crowd %d" % number, bytes(SIZE if number % 2 else 3_000))


@pytest.mark.parametrize("fate", ["deleted", "replaced", "evicted", "purged", "freshened"])
def test_the_bytes_stay_until_released(fate: str) -> None:
    with cache_segment(8 << 20) as segment:
        body = sealed(1, SIZE)
        assert put(segment, b"key", body)
        lent = pinned(segment, b"key")
        match fate:
            case "deleted":
                assert segment.cache.delete(b"key")
            case "replaced":
                assert put(segment, b"key", sealed(2, SIZE))
            case "purged":
                segment.cache.purge_all()
            case "freshened":
                assert segment.cache.freshen(b"key", b"m", now_ns=0, fresh_until_ns=1, keep_until_ns=1)
        crowd_out(segment)
        assert whole(lent) == body
        lent.release()
        assert segment.audit() == []


def test_a_deleted_body_takes_room_until_its_last_pin_goes() -> None:
    with cache_segment(8 << 20) as segment:
        assert put(segment, b"key", bytes(SIZE))
        first, second = pinned(segment, b"key"), pinned(segment, b"key")
        assert segment.cache.delete(b"key")
        first.release()
        first.release()
        assert segment.occupancy()["entries_used"] == 1
        second.release()
        assert segment.occupancy()["entries_used"] == segment.occupancy()["pages_used"] == 0


def test_a_view_keeps_the_body_even_after_release() -> None:
    with cache_segment(8 << 20) as segment:
        body = sealed(3, SIZE)
        assert put(segment, b"key", body)
        lent = pinned(segment, b"key")
        views = lent.views()
        lent.release()
        with pytest.raises(ValueError, match="released"):
            lent.views()
        assert segment.cache.delete(b"key")
        del lent
        crowd_out(segment)
        assert b"".join(views) == body
        assert segment.occupancy()["objects"] > 0
        used = segment.occupancy()["entries_used"] - segment.occupancy()["objects"]
        views.clear()
        assert (used, segment.occupancy()["entries_used"] - segment.occupancy()["objects"]) == (1, 0)
        assert segment.audit() == []


def test_dropping_the_last_reference_releases() -> None:
    with cache_segment(8 << 20) as segment:
        assert put(segment, b"key", bytes(SIZE))
        lent = pinned(segment, b"key")
        assert segment.cache.delete(b"key")
        del lent
        assert segment.occupancy()["entries_used"] == 0


def test_a_view_cannot_be_written() -> None:
    with cache_segment(8 << 20) as segment:
        assert put(segment, b"key", bytes(SIZE))
        view = pinned(segment, b"key").views()[0]
        with pytest.raises(TypeError):
            view[0] = 1


def test_reaping_gives_back_the_pins_of_the_dead() -> None:
    with cache_segment(8 << 20) as segment:
        assert put(segment, b"deleted", bytes(SIZE))
        assert put(segment, b"kept", bytes(SIZE))

        def child() -> None:
            segment.join(1, NOW_NS)
            lent = [pinned(segment, b"deleted"), pinned(segment, b"kept"), pinned(segment, b"kept")]
            assert segment.cache.delete(b"deleted")
            fill = segment.cache.begin(b"half", b"", None, now_ns=0, fresh_until_ns=1, keep_until_ns=1)
            assert fill is not None and fill.write(bytes(SIZE))
            assert lent
            os.kill(os.getpid(), signal.SIGKILL)

        assert was_killed(spawn(child))
        assert segment.occupancy()["entries_used"] == 3
        given = segment.reap(1)
        assert (given["pins"], given["fills"], given["zombies"], given["skipped_stripes"]) == (2, 1, 1, 0)
        assert segment.audit() == []
        assert segment.occupancy()["entries_used"] == 1
        assert get(segment, b"kept") == bytes(SIZE)
        assert segment.reap(1) == dict.fromkeys(given, 0)


def test_a_body_pinned_by_one_process_is_not_freed_by_another() -> None:
    with cache_segment(8 << 20) as segment:
        body = sealed(4, SIZE)
        assert put(segment, b"key", body)
        lent = pinned(segment, b"key")

        def child() -> None:
            segment.join(1, NOW_NS)
            assert segment.cache.delete(b"key")
            crowd_out(segment)

        assert not was_killed(spawn(child))
        assert whole(lent) == body
        lent.release()
        segment.reap(1)
        assert segment.audit() == []
