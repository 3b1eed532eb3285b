"""The named segment: reserved in full, private, removed; what a dead supervisor left is replaced."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import BootError
from cluster.segment import SHM, NamedSegment, boot_id, segment_name
from shmcache.core import MEMBERS

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
    named = NamedSegment(tmp_path, 32 * MIB)
    assert path.stat().st_size == 32 * MIB
    assert "the cache starts empty" in caplog.text
    named.close()


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
