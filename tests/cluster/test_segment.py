"""The named segment: reserved in full, private, removed; what was left is taken over or replaced."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import segment as cluster_segment
from cluster.config.check import findings
from cluster.errors import BootError
from cluster.segment import (
    SHM,
    CacheStart,
    NamedSegment,
    boot_id,
    left_bytes,
    segment_name,
    too_large_objects,
)
from shmcache.core import MEMBERS
from tests.support.cluster import settings
from tests.support.processes import spawn, wait_exit
from tests.support.segments import get, put, sealed
from worker.cache.entry import FORMAT
from worker.settings import CacheSettings

MIB = 1024**2


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = SHM / segment_name(tmp_path).lstrip("/")
    yield path
    path.unlink(missing_ok=True)


def test_it_is_private_reserved_and_removed(tmp_path: Path, path: Path) -> None:
    named = NamedSegment(tmp_path, 32 * MIB)
    found = path.stat()
    assert (found.st_size, found.st_mode & 0o777) == (32 * MIB, 0o600)
    assert found.st_blocks * 512 >= 32 * MIB
    assert len(named.doorbells) == MEMBERS
    named.close()
    assert not path.exists()


def test_its_name_belongs_to_the_state_directory(tmp_path: Path) -> None:
    assert segment_name(tmp_path) == segment_name(tmp_path / "x" / "..")
    assert segment_name(tmp_path) != segment_name(tmp_path / "x")


def test_what_a_dead_supervisor_left_is_replaced_saying_so(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"left behind")
    path.chmod(0o600)
    named = NamedSegment(tmp_path, 32 * MIB)
    assert path.stat().st_size == 32 * MIB
    assert "the cache starts empty" in caplog.text
    assert named.start == CacheStart(False, f"it has 11 bytes and the cache is to have {32 * MIB}")
    named.close()


# --- taking over ----------------------------------------------------------------------------------------


def leave(state_dir: Path, size_bytes: int = 32 * MIB) -> None:
    """A segment with an object in it, as a supervisor leaves it that is killed."""
    named = NamedSegment(state_dir, size_bytes)
    named.segment.join(0, 1)
    assert put(named.segment, b"key", sealed(1, 100_000))
    named.segment.close()
    named.close(keep=True)


def assert_empty(named: NamedSegment, reason: str) -> None:
    """It began empty for that reason, and is as good as new."""
    assert (named.start.is_warm, named.start.objects) == (False, 0)
    assert reason in named.start.reason
    named.segment.join(0, 1)
    assert get(named.segment, b"key") is None
    assert put(named.segment, b"key", b"x")
    assert named.segment.audit() == []
    named.segment.close()
    named.close()


def test_the_first_segment_says_why_it_is_empty(tmp_path: Path) -> None:
    assert_empty(NamedSegment(tmp_path, 32 * MIB), "nothing was left to take over")


def test_what_was_left_is_taken_over(tmp_path: Path, path: Path) -> None:
    leave(tmp_path)
    inode = path.stat().st_ino
    assert left_bytes(tmp_path) == 32 * MIB
    named = NamedSegment(tmp_path, 32 * MIB)
    assert named.start == CacheStart(True, "the last supervisor left it whole", objects=1)
    assert path.stat().st_ino == inode
    named.segment.join(0, 1)
    assert get(named.segment, b"key") == sealed(1, 100_000)
    assert len(named.doorbells) == MEMBERS
    named.segment.close()
    named.close()
    assert left_bytes(tmp_path) == 0


def test_taking_over_wants_no_second_memory(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path)
    monkeypatch.setattr(cluster_segment, "_available_bytes", lambda: 1)
    named = NamedSegment(tmp_path, 32 * MIB)
    assert named.start.is_warm
    named.segment.close()
    named.close()


def cut(path: Path) -> None:
    os.truncate(path, 20 * MIB)


def open_to_others(path: Path) -> None:
    path.chmod(0o644)


def from_another_boot(path: Path) -> None:
    overwrite(path, 32, b"another boot's id")


def with_responses_of_another_format(path: Path) -> None:
    overwrite(path, 32 + len(boot_id()), bytes([FORMAT + 1]))


def of_another_version(path: Path) -> None:
    overwrite(path, 8, b"\xff")


def noise(path: Path) -> None:
    overwrite(path, 0, os.urandom(4096))


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, f"it has {20 * MIB} bytes and the cache is to have {32 * MIB}"),
        (open_to_others, "others may write to it"),
        (from_another_boot, "another boot"),
        (with_responses_of_another_format, "another format"),
        (of_another_version, "its layout is not version"),
        (noise, "it carries no segment's mark"),
    ],
)
def test_what_cannot_be_taken_over_is_replaced_and_the_reason_told(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], reason: str
) -> None:
    leave(tmp_path)
    damage(path)
    named = NamedSegment(tmp_path, 32 * MIB)
    assert reason in caplog.text
    assert_empty(named, reason)


def test_another_size_starts_empty(tmp_path: Path, path: Path) -> None:
    leave(tmp_path)
    named = NamedSegment(tmp_path, 40 * MIB)
    assert path.stat().st_size == 40 * MIB
    assert_empty(named, f"it has {32 * MIB} bytes and the cache is to have {40 * MIB}")


def test_it_is_dropped_when_asked_for(tmp_path: Path, path: Path) -> None:
    leave(tmp_path)
    inode = path.stat().st_ino
    named = NamedSegment(tmp_path, 32 * MIB, drop="somebody asked for that")
    assert path.stat().st_ino != inode
    assert_empty(named, "somebody asked for that")


def test_a_fault_of_the_audit_starts_empty(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Doubtful(cluster_segment.Segment):
        def audit(self) -> list[str]:
            return ["entry 5: is odd", "entry 6: is odd"]

    leave(tmp_path)
    monkeypatch.setattr(cluster_segment, "Segment", Doubtful)
    assert NamedSegment(tmp_path, 32 * MIB).start == CacheStart(
        False, "2 faults found in it, the first: entry 5: is odd"
    )


def test_holes_get_their_memory_before_anybody_writes_there(tmp_path: Path, path: Path) -> None:
    leave(tmp_path)
    os.truncate(path, 30 * MIB)
    os.truncate(path, 32 * MIB)
    named = NamedSegment(tmp_path, 32 * MIB)
    assert named.start.is_warm
    assert left_bytes(tmp_path) == 32 * MIB
    named.segment.close()
    named.close()


def test_those_who_still_live_in_it_are_waited_for_and_then_ended(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    named = NamedSegment(tmp_path, 32 * MIB)

    def drain() -> None:
        named.segment.join(1, 1)
        assert put(named.segment, b"late", b"stored while draining")

    def hang() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        named.segment.join(2, 1)
        time.sleep(600)

    draining, hanging = spawn(drain), spawn(hang)
    named.segment.close()
    named.close(keep=True)
    monkeypatch.setattr(cluster_segment, "TENANT_PATIENCE_S", 1.0)
    named = NamedSegment(tmp_path, 32 * MIB)
    assert (wait_exit(draining), wait_exit(hanging)) == (0, -signal.SIGKILL)
    assert f"killing those that have not finished: {hanging}" in caplog.text
    assert named.start.is_warm
    named.segment.join(0, 1)
    assert get(named.segment, b"late") == b"stored while draining"
    named.segment.close()
    named.close()


def test_whoever_cannot_be_seen_keeps_us_out(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container, root may not look into the maps of other users' processes."""
    named = NamedSegment(tmp_path, 32 * MIB)
    unseen = spawn(lambda: time.sleep(600))
    named.segment.close()
    named.close(keep=True)
    monkeypatch.setattr(cluster_segment, "TENANT_PATIENCE_S", 0.1)
    monkeypatch.setattr(cluster_segment, "KILLED_S", 0.1)
    monkeypatch.setattr(cluster_segment, "tenants", lambda fd: set())
    assert_empty(NamedSegment(tmp_path, 32 * MIB), "processes that cannot be ended use it")
    os.kill(unseen, signal.SIGKILL)
    assert wait_exit(unseen) == -signal.SIGKILL


# --- limits ----------------------------------------------------------------------------------------------


def test_more_than_there_is_room_for_names_both_sizes_and_leaves_nothing(tmp_path: Path, path: Path) -> None:
    with pytest.raises(BootError, match=rf"{2**60} bytes .* asked for, \d+ bytes .* available in /dev/shm"):
        NamedSegment(tmp_path, 2**60)
    assert not path.exists()


def test_too_small_to_lay_out_leaves_nothing(tmp_path: Path, path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(BootError, match="cannot be laid out"):
        NamedSegment(tmp_path, 4096)
    assert not path.exists()
    assert set(os.listdir("/proc/self/fd")) == before


def test_the_boot_id_is_16_bytes_and_stays(tmp_path: Path) -> None:
    assert len(boot_id()) == 16
    assert boot_id() == boot_id()


def test_a_max_object_that_no_segment_of_this_size_holds_is_told_with_the_numbers(tmp_path: Path) -> None:
    def words(max_object_bytes: int, enabled: bool = True) -> str | None:
        cache = CacheSettings(enabled=enabled, max_object_bytes=max_object_bytes)
        return too_large_objects(settings(tmp_path, cache_bytes=256 * MIB, cache=cache))

    told = words(100 * MIB)
    assert told is not None
    assert "max_object of 100 MiB" in told
    assert "32 MiB, and larger ones are not stored; set cache memory to 800 MiB" in told
    assert words(100 * MIB, enabled=False) is None
    assert words(32 * MIB) is None
    assert words(CacheSettings().max_object_bytes) is None  # nobody asked for it
    made = settings(tmp_path, cache_bytes=64 * MIB, cache=CacheSettings(max_object_bytes=9 * MIB))
    assert [found.level for found in findings(made) if "max_object of" in found.message] == ["warning"]
