"""The audit finds planted damage, and a rebuilt stripe is sound again."""

import os
import re
import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import pytest

from shmcache import Segment
from tests.support.processes import spawn
from tests.support.segments import BOOT_ID, NOW_NS, ROOT, get, put, sealed, was_killed

SIZE = 4 << 20
PAGE = 65_536
FREE, FILLING, LIVE, ZOMBIE = range(4)
REGIONS_AT = 136  # offsets of the regions in the header: struct header of layout.h
REGIONS = re.findall(r"^    (REGION_\w+),", (ROOT / "shmcache/layout.h").read_text(), re.MULTILINE)
SLOTS, ENTRIES, PAGES, BITMAPS, HINTS = (
    REGIONS.index(f"REGION_{name}") for name in ("SLOTS", "ENTRIES", "PAGES", "BITMAPS", "FREE")
)


@dataclass
class Damaged:
    """A segment with a few objects, and a pen that writes into it."""

    segment: Segment
    fd: int

    def read(self, at: int, kind: str) -> int:
        return int(struct.unpack("<" + kind, os.pread(self.fd, struct.calcsize(kind), at))[0])

    def write(self, at: int, kind: str, value: int) -> None:
        os.pwrite(self.fd, struct.pack("<" + kind, value), at)

    def region(self, number: int) -> int:
        return self.read(REGIONS_AT + number * 8, "Q")

    def entry(self, large: bool) -> int:
        """Where a live entry lies."""
        at = self.region(ENTRIES)
        while self.read(at, "Q") & 0xFF != LIVE or bool(self.read(at + 52, "B")) != large:
            at += 128
        return at

    def page_of(self, chunk: int) -> int:
        """The page of a chunk, by its reference."""
        data = (self.region(HINTS) + 64 + PAGE - 1) // PAGE
        return chunk // (PAGE // 64) - data


@pytest.fixture
def damaged(faulty: ModuleType) -> Iterator[Damaged]:
    fd = os.memfd_create("segment")
    os.ftruncate(fd, SIZE)
    segment = faulty.Segment(fd, SIZE, create=True, boot_id=BOOT_ID, stripes=1)
    segment.join(0, NOW_NS)
    for number in range(20):
        assert put(segment, b"small %d" % number, sealed(number, 700))
    assert put(segment, b"large", sealed(50, 150_000))
    assert segment.audit() == []
    yield Damaged(segment, fd)
    segment.close()
    os.close(fd)


def lose_slot(it: Damaged) -> None:
    at = it.region(SLOTS)
    while not it.read(at, "Q"):
        at += 8
    it.write(at, "Q", 0)


def double_slot(it: Damaged) -> None:
    at = it.region(SLOTS)
    while not it.read(at, "Q"):
        at += 8
    empty = at
    while it.read(empty, "Q"):
        empty += 8
    it.write(empty, "Q", it.read(at, "Q"))


def make_zombie(it: Damaged) -> None:
    at = it.entry(large=False)
    it.write(at, "B", ZOMBIE)


def lose_entry(it: Damaged) -> None:
    at = it.entry(large=False)
    it.write(at, "B", FREE)


def half_made_by_nobody(it: Damaged) -> None:
    at = it.entry(large=False)
    it.write(at, "B", FILLING)


def stray_pin(it: Damaged) -> None:
    it.write(it.entry(large=True) + 64, "Q", 1 << 40)


def share_chunk(it: Damaged) -> None:
    first = it.entry(large=False)
    second = first + 128
    it.write(second + 32, "I", it.read(first + 32, "I"))


def free_chunk(it: Damaged) -> None:
    page = it.page_of(it.read(it.entry(large=False) + 32, "I"))
    it.write(it.region(BITMAPS) + page * 64, "Q", 0)


def free_page(it: Damaged) -> None:
    page = it.page_of(it.read(it.entry(large=True) + 32, "I"))
    it.write(it.region(PAGES) + page * 16, "I", 0)


def lose_page(it: Damaged) -> None:
    """A page that no entry names is marked as in use for a body."""
    at = it.region(PAGES)
    while it.read(at, "I"):
        at += 16
    it.write(at, "I", 2 << 24)


def lose_hint(it: Damaged) -> None:
    it.write(it.region(HINTS), "Q", 0)


def wrong_size(it: Damaged) -> None:
    it.write(it.entry(large=True) + 24, "Q", 400_000)


def wrong_key(it: Damaged) -> None:
    it.write(it.entry(large=False) + 8, "B", it.read(it.entry(large=False) + 8, "B") ^ 1)


def cut_queue(it: Damaged) -> None:
    it.write(it.entry(large=False) + 84, "I", 0)


def wrong_charge(it: Damaged) -> None:
    at = it.entry(large=False) + 88
    it.write(at, "I", it.read(at, "I") + 1)


DAMAGES = [
    lose_slot,
    double_slot,
    make_zombie,
    lose_entry,
    half_made_by_nobody,
    stray_pin,
    share_chunk,
    free_chunk,
    free_page,
    lose_page,
    lose_hint,
    wrong_size,
    wrong_key,
    cut_queue,
    wrong_charge,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_planted_damage_is_found(damaged: Damaged, damage: Callable[[Damaged], None]) -> None:
    damage(damaged)
    faults = damaged.segment.audit()
    assert faults
    assert all(fault.isprintable() for fault in faults)


HARMLESS = (stray_pin, wrong_key)  # reaping heals the one; the other is an entry that nobody will ever find


@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage not in HARMLESS])
def test_rebuilding_a_stripe_drops_what_makes_no_sense(
    damaged: Damaged, faulty: ModuleType, damage: Callable[[Damaged], None]
) -> None:
    segment = damaged.segment
    damage(damaged)

    def die_in_the_stripe() -> None:
        segment.join(1, NOW_NS)
        faulty._arm_fault(1, signal.SIGKILL)
        put(segment, b"new", b"x")

    assert was_killed(spawn(die_in_the_stripe))
    assert put(segment, b"alive", sealed(1, 1_000))
    segment.reap(1)
    assert segment.audit() == []
    assert segment.statistics.totals()[0] == 1, "repaired once"
    whole = [get(segment, b"small %d" % number) for number in range(20)]
    assert all(body in (None, sealed(number, 700)) for number, body in enumerate(whole))
    assert get(segment, b"large") in (None, sealed(50, 150_000))
    assert get(segment, b"alive") == sealed(1, 1_000)
    kept = sum(body is not None for body in whole)
    assert kept >= 19 or damage is free_page


def test_many_faults_are_summed_up(damaged: Damaged) -> None:
    at = damaged.region(PAGES)
    for number in range(40):
        damaged.write(at + number * 16, "I", 7 << 24)
    faults = damaged.segment.audit()
    assert len(faults) >= 40


def test_a_foreign_page_is_never_handed_out(damaged: Damaged) -> None:
    """Damage to hints costs room, never a body."""
    damaged.write(damaged.region(HINTS), "Q", 0xFFFFFFFFFFFFFFFF)
    for number in range(200):
        put(damaged.segment, b"more %d" % number, sealed(number, 9_000))
    assert get(damaged.segment, b"large") in (None, sealed(50, 150_000))
