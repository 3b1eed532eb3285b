"""Processes killed at random instants while they work on the same keys."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from shmcache import COPY_BYTES, PinnedBody, Segment
from tests.support.native import Build, run
from tests.support.processes import spawn
from tests.support.segments import (
    FOREVER_NS,
    NOW_NS,
    cache_segment,
    is_sealed,
    put,
    sealed,
    was_killed,
    whole,
)

KILLS = 80
VICTIMS = (1, 2, 3)
KEYS = 60
DATES = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}


def one_step(segment: Segment, dice: random.Random, lent: list[object]) -> None:
    """Any of the things a worker does; what it reads must be whole."""
    cache = segment.cache
    key = b"%d" % dice.randrange(KEYS)
    size = dice.choice([50, 900, 5_000, 30_000, 50_000, 150_000, 260_000])
    match dice.randrange(10):
        case 0 | 1 | 2:
            put(segment, key, sealed(dice.getrandbits(40), size))
        case 3:
            fill = cache.begin(key, b"meta", None, **DATES)
            body = sealed(dice.getrandbits(40), size)
            if fill is not None and fill.write(body[: size // 2]) and fill.write(body[size // 2 :]):
                fill.publish()
        case 4:
            cache.delete(key)
        case 5:
            cache.freshen(key, b"meta" * dice.randrange(200), **DATES)
        case _:
            hit = cache.get(key, NOW_NS)
            if hit is None:
                return
            assert is_sealed(whole(hit.body)), f"torn body of {hit.size} bytes under {key!r}"
            assert hit.meta == b"meta" * (len(hit.meta) // 4)
            lent.append(hit.body)
            if len(lent) > 5:
                lent.pop(dice.randrange(5))


def victim(segment: Segment, member: int, seed: int) -> Callable[[], None]:
    def work() -> None:
        segment.join(member, NOW_NS)
        dice = random.Random(seed)
        lent: list[object] = []
        while True:
            one_step(segment, dice, lent)

    return work


def test_kills_at_random_instants_leave_no_trace() -> None:
    dice = random.Random(2)
    lent: list[object] = []
    with cache_segment(6 << 20, stripes=2, entries=512) as segment:
        living = {member: spawn(victim(segment, member, member)) for member in VICTIMS}
        try:
            for kill in range(KILLS):
                for _ in range(dice.randrange(1, 40)):
                    one_step(segment, dice, lent)
                member = dice.choice(VICTIMS)
                os.kill(living[member], signal.SIGKILL)
                assert was_killed(living.pop(member))
                assert segment.reap(member)["skipped_stripes"] == 0
                living[member] = spawn(victim(segment, member, 100 + kill))
        finally:
            for member, pid in living.items():
                os.kill(pid, signal.SIGKILL)
                assert was_killed(pid)
                segment.reap(member)
        lent.clear()
        assert segment.audit() == []
        assert put(segment, b"after", sealed(1, 260_000))


def test_kills_of_eight_processes_at_random_steps_leave_no_trace(tmp_path: Path) -> None:
    """The short form of scripts/soak-cache: also with the dead left lying, and with reapers that die."""
    done = run(Build(tmp_path).driver("soak"), ["soak", "--kills", "60"])
    assert done.returncode == 0, done.stdout
    assert "torn 0, foreign 0, damaged 0" in done.stdout
    assert "all keys deleted: 0 pages and 0 entries in use" in done.stdout


def test_a_hot_key_is_never_torn() -> None:
    """One process rewrites a key as fast as it can, with bodies copied out and bodies lent."""

    def rewrite(segment: Segment) -> None:
        segment.join(1, NOW_NS)
        version = 0
        while True:
            version += 1
            byte = bytes([version % 251])
            put(segment, b"copied", byte * (9_000 + version % 3 * 8), byte * 40)
            put(segment, b"pinned", byte * (COPY_BYTES * 2 + version % 5 * 1_000), byte * 40)

    seen: dict[type, set[int]] = {bytes: set(), PinnedBody: set()}
    with cache_segment(8 << 20, stripes=1) as segment:
        pid = spawn(lambda: rewrite(segment))
        try:
            give_up = time.monotonic() + 60
            reads = 0
            while reads < 20_000 or min(map(len, seen.values())) < 20:
                assert time.monotonic() < give_up, f"read {reads}, saw {seen}"
                for key in (b"copied", b"pinned"):
                    hit = segment.cache.get(key, NOW_NS)
                    if hit is None:
                        continue
                    body = whole(hit.body)
                    assert body.count(body[0]) == len(body) == hit.size, "a body of two versions"
                    assert hit.meta == body[:1] * 40, "the meta of another version"
                    seen[type(hit.body)].add(body[0])
                    reads += 1
        finally:
            os.kill(pid, signal.SIGKILL)
            assert was_killed(pid)
        del hit
        segment.reap(1)
        assert segment.audit() == []


def test_a_stopped_lock_holder_costs_writes_not_reads(faulty: object) -> None:
    """A process stopped inside a stripe: others still read; their writes give up, and work later."""
    with cache_segment(4 << 20, module=faulty, stripes=1) as segment:
        assert put(segment, b"key", b"old")

        def child() -> None:
            segment.join(1, NOW_NS)
            faulty._arm_fault(3, signal.SIGSTOP)  # type: ignore[attr-defined]
            put(segment, b"key", b"new")

        pid = spawn(child)
        _, status = os.waitpid(pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        timeouts = segment.statistics.totals()[1]
        hit = segment.cache.get(b"key", NOW_NS)
        assert hit is not None and hit.body == b"old"
        assert not put(segment, b"other", b"x")
        assert segment.statistics.totals()[1] == timeouts + 1
        assert not any(put(segment, b"other", b"x") for _ in range(20))
        core = segment.statistics.core()
        assert core["lock_timeouts"] == timeouts + 21
        assert core["lock_waits"] < 20, "who waited in vain does not wait at every store"
        os.kill(pid, signal.SIGCONT)
        assert not was_killed(pid)
        assert put(segment, b"other", b"x")
        hit = segment.cache.get(b"key", NOW_NS)
        assert hit is not None and hit.body == b"new"
        segment.reap(1)
        assert segment.audit() == []
