"""Taking over a segment whose processes are all dead, whole or damaged."""

import os
import random
import signal
import struct
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from shmcache import LAYOUT_VERSION, MEMBERS, LayoutMismatch, Segment, SegmentError, core
from tests.support.processes import spawn
from tests.support.segments import (
    BOOT_ID,
    FOREVER_NS,
    NOW_NS,
    get,
    is_sealed,
    put,
    regions_of,
    sealed,
    was_killed,
    whole,
)

SIZE = 4 << 20
SIZES = {"stripes": 2, "entries": 512}
DATES: dict[str, Any] = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}
HOUR_NS = 3_600 * 10**9
HEADER_BYTES = 4096
OBJECTS = {b"key %d" % number: sealed(number, 40 * number * number) for number in range(30)} | {
    b"large": sealed(100, 150_000),
    b"two tails": sealed(101, 110_000),
    b"empty": sealed(102, 0),
}


def memory(image: bytes = bytes(SIZE)) -> int:
    """A file in memory with those bytes."""
    fd = os.memfd_create("segment")
    os.truncate(fd, len(image))
    os.pwrite(fd, image, 0)
    return fd


@pytest.fixture
def fd() -> Iterator[int]:
    number = memory()
    yield number
    os.close(number)


def make(fd: int, module: Any = core) -> Segment:
    segment: Segment = module.Segment(fd, SIZE, create=True, boot_id=BOOT_ID, **SIZES)
    segment.join(0, NOW_NS)
    return segment


def attach(fd: int, size: int = SIZE, boot_id: bytes = BOOT_ID, module: Any = core) -> Segment:
    segment: Segment = module.Segment(fd, size, create=False, boot_id=boot_id)
    return segment


def fill(segment: Segment) -> None:
    for key, body in OBJECTS.items():
        assert put(segment, key, body)


def restart(fd: int, now_ns: int = NOW_NS) -> tuple[Segment, dict[str, int]]:
    """Attach and adopt as a new supervisor does."""
    segment = attach(fd)
    kept = segment.adopt(now_ns)
    assert segment.audit() == []
    segment.join(0, now_ns)
    return segment, kept


@pytest.fixture(scope="module")
def image() -> bytes:
    """A segment with a few of everything, as its file holds it."""
    fd = memory()
    segment = make(fd)
    fill(segment)
    segment.cache.put(b"tagged", b"meta", sealed(200, 500), tags=(b"one", b"two"), **DATES)
    segment.cache.purge_tag(b"three")
    segment.buckets.take(b"client", NOW_NS, 10**9, 5)
    segment.leases.claim(b"key", NOW_NS, HOUR_NS)
    segment.close()
    found = os.pread(fd, SIZE, 0)
    os.close(fd)
    return found


# --- what is kept --------------------------------------------------------------------------------------


def test_what_was_stored_is_found_again(fd: int) -> None:
    first = make(fd)
    fill(first)
    first.close()
    segment, kept = restart(fd)
    assert kept == {"objects": len(OBJECTS), "damaged": 0, "fills": 0, "zombies": 0, "pins": 0}
    assert {key: get(segment, key) for key in OBJECTS} == OBJECTS
    assert segment.statistics.core()["warm_starts"] == 1
    assert segment.statistics.core()["damaged"] == 0
    for number in range(200):  # and it works on: room is made, bodies are replaced
        put(segment, b"more %d" % number, sealed(number, number * 300))
    assert segment.audit() == []
    segment.close()


def test_what_the_dead_held_is_given_back(fd: int) -> None:
    segment = make(fd)
    fill(segment)

    def die_holding_everything() -> None:
        segment.join(3, NOW_NS)
        lent = segment.cache.get(b"large", NOW_NS)
        segment.cache.delete(b"large")
        also = segment.cache.get(b"two tails", NOW_NS)
        half = segment.cache.begin(b"half", b"m", None, **DATES)
        assert lent and also and half and half.write(bytes(200_000))
        segment.leases.claim(b"half", NOW_NS, HOUR_NS)
        os.kill(os.getpid(), signal.SIGKILL)

    assert was_killed(spawn(die_holding_everything))
    segment.close()
    segment, kept = restart(fd)
    assert kept == {"objects": len(OBJECTS) - 1, "damaged": 0, "fills": 1, "zombies": 1, "pins": 2}
    assert (get(segment, b"large"), get(segment, b"half")) == (None, None)
    assert get(segment, b"two tails") == OBJECTS[b"two tails"]
    answer, _ = segment.leases.claim(b"half", NOW_NS, HOUR_NS)
    assert answer == 0, "the lease of the dead is free to claim"
    segment.close()


def test_nobody_is_a_member_and_epochs_have_risen(fd: int) -> None:
    segment = make(fd)
    before = [segment.member_info(member).epoch for member in range(MEMBERS)]
    segment.close()
    segment = attach(fd)
    segment.adopt(NOW_NS)
    after = [segment.member_info(member) for member in range(MEMBERS)]
    assert [info.epoch for info in after] == [epoch + 1 for epoch in before]
    assert {(info.pid, info.joined, info.heartbeat_ns) for info in after} == {(0, False, 0)}
    segment.close()


def test_statistics_go_on(fd: int) -> None:
    segment = make(fd)
    segment.statistics.add(70, 5)
    segment.close()
    segment, _ = restart(fd)
    assert (segment.statistics.total(70), segment.statistics.of(0)[70]) == (5, 0)
    segment.statistics.add(70, 2)
    assert (segment.statistics.total(70), segment.statistics.of(0)[70]) == (7, 2)
    segment.close()


def test_purges_and_rate_limits_go_on(fd: int) -> None:
    segment = make(fd)
    segment.cache.put(b"purged", b"meta", b"old", tags=(b"tag",), **DATES)
    segment.cache.put(b"kept", b"meta", b"good", tags=(b"other",), **DATES)
    generation = segment.cache.purge_tag(b"tag")
    for _ in range(5):
        assert segment.buckets.take(b"client", NOW_NS, 10**9, 5) == 0
        assert segment.windows.take(b"client", NOW_NS, 60, 5) == 0
    segment.close()
    segment, _ = restart(fd)
    assert (get(segment, b"purged"), get(segment, b"kept")) == (None, b"good")
    assert segment.cache.generation() == generation
    assert segment.buckets.take(b"client", NOW_NS, 10**9, 5) == 10**9
    assert segment.windows.take(b"client", NOW_NS, 60, 5) > 0
    segment.close()


def test_it_can_be_taken_over_again_and_again(fd: int) -> None:
    segment = make(fd)
    fill(segment)
    for start in range(3):
        segment.close()
        segment, kept = restart(fd)
        assert (kept["objects"], kept["damaged"]) == (len(OBJECTS), 0)
        assert segment.statistics.core()["warm_starts"] == start + 1
    segment.close()


def test_a_member_does_not_adopt(fd: int) -> None:
    segment = make(fd)
    with pytest.raises(SegmentError, match="before joining"):
        segment.adopt(NOW_NS)
    segment.close()


@pytest.mark.parametrize("size", [3_000, 20_000, 150_000])
def test_whatever_writers_died_at_is_taken_over(faulty: ModuleType, size: int) -> None:
    """Processes killed in the middle of stores, lock and all; nobody repairs before the takeover."""
    for point in range(1, 60):
        fd = memory()
        segment = make(fd, faulty)
        assert put(segment, b"other", sealed(1, size))
        assert put(segment, b"key", sealed(2, size))

        def die_storing(segment: Any = segment, point: int = point) -> None:
            segment.join(1, NOW_NS)
            faulty._arm_fault(point, signal.SIGKILL)
            put(segment, b"key", sealed(3, size + 1))

        died = was_killed(spawn(die_storing))
        segment.close()
        segment = attach(fd, module=faulty)
        assert segment.adopt(NOW_NS)["damaged"] == 0, f"point {point}"
        assert segment.audit() == [], f"point {point}"
        segment.join(0, NOW_NS)
        assert get(segment, b"other") == sealed(1, size)
        assert get(segment, b"key") in (sealed(2, size), sealed(3, size + 1))
        segment.close()
        os.close(fd)
        if not died:
            return
    assert point > 5


def test_a_takeover_that_is_killed_is_begun_again(faulty: ModuleType, image: bytes) -> None:
    point, died = 1, True
    while died:
        fd = memory(image)
        segment = attach(fd, module=faulty)

        def die_adopting(segment: Any = segment, point: int = point) -> None:
            faulty._arm_fault(point, signal.SIGKILL)
            segment.adopt(NOW_NS)

        died = was_killed(spawn(die_adopting))
        segment.close()
        segment, _ = restart(fd)
        assert {key: get(segment, key) for key in OBJECTS} == OBJECTS
        segment.close()
        os.close(fd)
        point += 61  # the points are alike: one for each entry, page, slot
    assert point > 1_000


# --- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, b"x", "mark"),
        (8, struct.pack("<I", LAYOUT_VERSION + 1), "version"),
        (8, struct.pack("<I", LAYOUT_VERSION - 1), "version"),
        (12, b"shap", "structures"),
        (16, struct.pack("<Q", SIZE + 1), "another size"),
        (24, struct.pack("<I", 1), "never finished"),
        (28, struct.pack("<I", 1 << 31), "another boot"),
        (32, b"X", "another boot"),
        (104, struct.pack("<I", 4), "table of contents"),
        (108, struct.pack("<I", 1 << 31), "table of contents"),
        (108, struct.pack("<I", 0), "table of contents"),
        (116, struct.pack("<I", 1 << 20), "table of contents"),
        (136, struct.pack("<Q", 1 << 62), "table of contents"),
    ],
)
def test_a_header_that_lies_is_refused_with_the_reason(
    image: bytes, at: int, value: bytes, reason: str
) -> None:
    fd = memory(image)
    os.pwrite(fd, value, at)
    with pytest.raises(LayoutMismatch, match=reason):
        attach(fd)
    os.close(fd)


def test_another_boot_is_refused(fd: int) -> None:
    make(fd).close()
    with pytest.raises(LayoutMismatch, match="another boot"):
        attach(fd, boot_id=b"the next boot")


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65_536, SIZE - 1, SIZE + 1])
def test_a_file_of_another_length_is_refused(image: bytes, size: int) -> None:
    fd = memory(image)
    os.truncate(fd, size)
    with pytest.raises(LayoutMismatch, match="does not have the"):
        attach(fd)
    os.close(fd)


def test_a_truncated_file_grown_again_loses_what_was_cut_off(image: bytes) -> None:
    for size in range(HEADER_BYTES, SIZE, 190_000):
        fd = memory(image)
        os.truncate(fd, size)
        os.truncate(fd, SIZE)
        survive(fd)
        os.close(fd)


@pytest.mark.parametrize("region", ["TAGS", "SOFT", "RULES"])
@pytest.mark.parametrize("mark", [2, 50, 1 << 63])
def test_a_record_of_purges_that_cannot_be_is_refused(fd: int, region: str, mark: int) -> None:
    segment = make(fd)
    assert put(segment, b"key", b"body")
    segment.close()
    os.pwrite(fd, struct.pack("<Q", mark), regions_of(os.pread(fd, HEADER_BYTES, 0))[region])
    segment = attach(fd)
    if mark == 2:  # the purge of a process that died before it moved the epoch
        segment.adopt(NOW_NS)
        assert segment.cache.generation() == 2
    else:
        with pytest.raises(LayoutMismatch, match="purges"):
            segment.adopt(NOW_NS)
    segment.close()


def test_what_would_refuse_a_client_for_ever_is_forgotten(fd: int) -> None:
    segment = make(fd)
    assert segment.buckets.take(b"client", NOW_NS, 10**9, 1) == 0
    assert segment.windows.take(b"client", NOW_NS, 60, 1) == 0
    segment.close()
    regions = regions_of(os.pread(fd, HEADER_BYTES, 0))
    for cell in range(regions["BUCKETS"], regions["TAGS"], 16):
        key, value = struct.unpack("<QQ", os.pread(fd, 16, cell))
        if key:
            os.pwrite(fd, struct.pack("<Q", value | 1 << 62), cell + 8)
    segment, _ = restart(fd)
    assert segment.buckets.take(b"client", NOW_NS, 10**9, 1) == 0
    assert segment.windows.take(b"client", NOW_NS, 60, 1) == 0
    segment.close()


# --- what is damaged -----------------------------------------------------------------------------------


def survive(fd: int) -> dict[str, int] | None:
    """Take over a damaged segment: None when it is refused; whatever is served is what had been stored."""
    try:
        segment = attach(fd)
    except LayoutMismatch:
        return None
    try:
        try:
            kept = segment.adopt(NOW_NS)
        except LayoutMismatch:
            return None
        assert segment.audit() == []
        segment.join(0, NOW_NS)
        for key, body in OBJECTS.items():
            hit = segment.cache.get(key, NOW_NS)
            assert hit is None or (whole(hit.body) == body and hit.meta == b"meta"), key
        assert put(segment, b"alive", sealed(1, 70_000))
        for number in range(8):  # into every queue
            assert put(segment, b"alive %d" % number, sealed(number, 9 * number))
        assert segment.audit() == []
        assert segment.cache.purge_prefix(b"key ")
        assert get(segment, b"key 7") is None
        segment.cache.purge_all()
        assert all(get(segment, key) is None for key in OBJECTS), "a purge reaches everything"
        return kept
    finally:
        segment.close()


def test_every_byte_of_the_header_flipped_is_refused_or_harmless(image: bytes) -> None:
    fd = memory(image)
    refused = 0
    for at in range(512):
        os.pwrite(fd, image, 0)
        os.pwrite(fd, bytes((image[at] ^ 0xFF,)), at)
        refused += survive(fd) is None
    assert refused > 150
    os.close(fd)


def flipped(image: bytes, dice: random.Random, count: int) -> bytes:
    damaged = bytearray(image)
    for _ in range(count):
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def test_flipped_bits_cost_entries_never_a_wrong_body(image: bytes) -> None:
    dice = random.Random(7)
    fd = memory()
    dropped = 0
    for _ in range(400):
        os.pwrite(fd, flipped(image, dice, 10), 0)
        kept = survive(fd)
        dropped += kept["damaged"] if kept else 0
    assert dropped > 100
    os.close(fd)


def test_regions_of_garbage_cost_entries_never_a_wrong_body(image: bytes) -> None:
    """Each region in turn, from the members to the free pages, is overwritten by noise."""
    regions = list(regions_of(image).values())
    dice = random.Random(8)
    fd = memory()
    for start, end in zip(regions, (*regions[1:], SIZE), strict=True):
        for share in (0.01, 0.3, 1.0):
            damaged = bytearray(image)
            for at in range(start, end, 64):
                if dice.random() < share:
                    damaged[at : min(at + 64, end)] = dice.randbytes(min(64, end - at))
            os.pwrite(fd, damaged, 0)
            survive(fd)
    os.close(fd)


def test_no_byte_of_a_stored_object_may_change(image: bytes) -> None:
    """Of its head (but for the name of its entry, which is made anew), key, meta and body."""
    key = b"key 7"
    body = image.index(OBJECTS[key])
    head = image.rindex(key, 0, body) - 40
    fd = memory()
    meta_end = image.index(b"meta", head) + len(b"meta")  # then padding
    for at in (*range(head + 4, meta_end), *range(body, body + 60)):
        os.pwrite(fd, image, 0)
        os.pwrite(fd, bytes((image[at] ^ 0x10,)), at)
        kept = survive(fd)
        assert kept is not None and kept["damaged"] == 1, f"byte {at - head} of the chunk"
    os.close(fd)


def test_every_word_of_live_entries_may_be_wrong(image: bytes) -> None:
    entries = regions_of(image)["ENTRIES"]
    fd = memory()
    for entry in range(entries, entries + 512 * 128, 128):
        if image[entry] != 2:
            continue
        for word in range(0, 128, 4):
            for value in (bytes(4), b"\xff" * 4, b"\xff" * 8, image[entry + 128 + word : entry + 132 + word]):
                os.pwrite(fd, image, 0)
                os.pwrite(fd, value, entry + word)
                survive(fd)
        if entry > entries + 40 * 128:
            break
    os.close(fd)


def test_the_test_would_see_a_wrong_body() -> None:
    assert is_sealed(sealed(1, 100))
    assert not is_sealed(sealed(1, 100)[:-1] + b"?")
