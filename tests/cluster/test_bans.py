"""Bans: kept on disk, published, lifted, over in time; what cannot be meant is refused."""

import json
from pathlib import Path

import pytest

from cluster.control.bans import Bans
from worker.networks import SharedNetworks


class Clock:
    """Wall time that stands still."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def find(shared: SharedNetworks, *last: int) -> list[int]:
    return [shared.find(bytes((192, 0, 2, one))) for one in last]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bans.json"


def test_a_ban_is_published_kept_for_its_owner_alone_and_lifted(file: Path) -> None:
    shared, clock = SharedNetworks(64), Clock()
    bans = Bans(shared, file, clock)
    bans.ban("192.0.2.1", None, "a scanner")
    bans.ban("192.0.2.16/28", 60, "")
    assert find(shared, 1, 2, 16, 31, 32) == [1, 0, 1, 1, 0]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [(one.network, one.until_s) for one in bans.report()] == [
        ("192.0.2.1/32", None),
        ("192.0.2.16/28", 1060.0),
    ]
    assert bans.lift("192.0.2.1")
    assert not bans.lift("192.0.2.17"), "only what was banned can be lifted"
    assert find(shared, 1, 16) == [0, 1]


def test_a_ban_ends_with_its_time(file: Path) -> None:
    shared, clock = SharedNetworks(64), Clock()
    bans = Bans(shared, file, clock)
    bans.ban("192.0.2.1", 10, "")
    clock.now_s += 9.9
    bans.sweep()
    assert find(shared, 1) == [1]
    clock.now_s += 0.1
    bans.sweep()
    assert (find(shared, 1), bans.report(), json.loads(file.read_text())) == ([0], [], [])


def test_bans_outlive_their_process_but_not_their_time(file: Path) -> None:
    clock = Clock()
    first = Bans(SharedNetworks(64), file, clock)
    first.ban("192.0.2.1", 10, "")
    first.ban("192.0.2.2", 1000, "why not")
    clock.now_s += 20
    shared = SharedNetworks(64)
    second = Bans(shared, file, clock)
    assert find(shared, 1, 2) == [0, 1]
    assert [one.reason for one in second.report()] == ["why not"]


def test_a_second_ban_of_a_network_takes_the_place_of_the_first(file: Path) -> None:
    bans = Bans(SharedNetworks(64), file, Clock())
    bans.ban("192.0.2.1", 10, "")
    bans.ban("192.0.2.1", None, "")
    assert [one.until_s for one in bans.report()] == [None]


@pytest.mark.parametrize("given", ["nonsense", "192.0.2.1/24", "", "192.0.2.0/33"])
def test_what_is_no_network_is_refused(file: Path, given: str) -> None:
    with pytest.raises(ValueError, match="expected an address or a network"):
        Bans(SharedNetworks(64), file, Clock()).ban(given, None, "")


@pytest.mark.parametrize("left", ["{", "[1]", '[{"network": "x", "since_s": 1, "until_s": null}]', "[{}]"])
def test_a_file_that_cannot_be_read_is_no_ban_and_told(
    file: Path, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(left)
    assert Bans(SharedNetworks(64), file, Clock()).report() == []
    assert "are lost" in caplog.text


def test_what_cannot_be_kept_on_disk_is_not_in_force(tmp_path: Path) -> None:
    shared = SharedNetworks(64)
    bans = Bans(shared, tmp_path / "missing" / "bans.json", Clock())
    with pytest.raises(OSError, match="No such file"):
        bans.ban("192.0.2.1", None, "")
    assert (find(shared, 1), bans.report()) == ([0], [])
