"""The programs that choose a socket, judged by who gets real datagrams: groups as a reload makes them."""

import itertools
import logging
import os
import socket
from collections.abc import Iterator

import pytest

from cluster import datagrams, steering
from cluster.sockets import Sockets
from worker.settings import ListenerSettings

ANY = ListenerSettings("https", "127.0.0.1", 0)


def short(connection_id: bytes) -> bytes:
    """A packet with a short header (RFC 9000 17.3)."""
    return b"\x40" + connection_id + os.urandom(30)


def long(connection_id: bytes, first: int = 0xC0) -> bytes:
    """A packet with a long header (RFC 9000 17.2)."""
    return bytes((first, 0, 0, 0, 1, len(connection_id))) + connection_id + b"\x00" + os.urandom(40)


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    sockets = Sockets()
    yield sockets
    sockets.close()


def lanes_of(sockets: Sockets) -> list[socket.socket]:
    (group,) = sockets.datagrams.groups.values()
    return group.lanes


def landed(sockets: Sockets, packet: bytes) -> list[int]:
    """Send it from a port of its own; the lanes that got it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(packet, ("127.0.0.1", sockets.bound(ANY).port))
    found = []
    for lane, receiver in enumerate(lanes_of(sockets)):
        try:
            assert receiver.recv(2048) == packet
        except BlockingIOError:
            continue
        found.append(lane)
    return found


def assert_steered(sockets: Sockets, lanes: int) -> None:
    """Packets go to the lane that their connection ID names, modulo `lanes`."""
    for named in (*range(9), 200, 255):
        assert landed(sockets, short(bytes((named, 99, 1, 2, 3, 4, 5, 6)))) == [named % lanes]
        assert landed(sockets, long(bytes((named, 98, 1, 2, 3, 4, 5, 6)))) == [named % lanes]


@pytest.mark.parametrize("lanes", range(1, 9))
def test_the_first_byte_of_the_connection_id_names_the_lane(sockets: Sockets, lanes: int) -> None:
    sockets.open((ANY,), lanes, http3=True)
    assert_steered(sockets, lanes)


@pytest.mark.parametrize("size", [1, 8, 20])
def test_the_connection_id_may_have_any_length(sockets: Sockets, size: int) -> None:
    sockets.open((ANY,), 4, http3=True)
    assert landed(sockets, long(b"\x03" * size)) == [3]


@pytest.mark.parametrize("packet", [b"\x40", b"\xc0", b"\xc0\x00\x00\x00\x01", b"\xc0\x00\x00\x00\x01\x08"])
def test_what_is_too_short_for_a_connection_id_goes_to_the_first_lane(
    sockets: Sockets, packet: bytes
) -> None:
    sockets.open((ANY,), 4, http3=True)
    assert landed(sockets, packet) == [0]


def test_new_lanes_get_nothing_until_they_are_steered_to(sockets: Sockets) -> None:
    sockets.open((ANY,), 2, http3=True)
    sockets.steer(2)
    sockets.open((ANY,), 5, http3=True)
    assert_steered(sockets, 2)
    sockets.steer(5)
    assert_steered(sockets, 5)
    sockets.release()
    assert_steered(sockets, 5)


def test_lanes_that_leave_get_nothing_before_and_after_they_are_closed(sockets: Sockets) -> None:
    sockets.open((ANY,), 6, http3=True)
    sockets.steer(3)
    assert_steered(sockets, 3)
    sockets.shrink(3)
    assert len(lanes_of(sockets)) == 6  # a draining worker may have one open still
    sockets.prune((ANY,), 3, http3=True)
    assert len(lanes_of(sockets)) == 3
    assert_steered(sockets, 3)


def test_lanes_that_come_back_are_in_their_old_places(sockets: Sockets) -> None:
    sockets.open((ANY,), 4, http3=True)
    for lanes in (1, 3, 2, 4, 2):
        sockets.steer(lanes)
        sockets.prune((ANY,), lanes, http3=True)
        sockets.open((ANY,), lanes, http3=True)
        assert_steered(sockets, lanes)


def test_a_lane_that_a_worker_has_open_keeps_its_place_when_lanes_come_back(sockets: Sockets) -> None:
    sockets.open((ANY,), 4, http3=True)
    with lanes_of(sockets)[2].dup():
        sockets.steer(2)
        sockets.shrink(2)
        sockets.open((ANY,), 4, http3=True)
        sockets.steer(4)
        assert_steered(sockets, 4)


def test_where_the_kernel_refuses_every_datagram_still_reaches_one_lane(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A program the kernel itself finds wanting: it jumps behind its end.
    monkeypatch.setattr(steering, "by_connection_id", lambda lanes: ((0x05, 0, 0, 9),))
    with caplog.at_level(logging.WARNING):
        sockets.open((ANY, ListenerSettings("https", "127.0.0.2", 0)), 4, http3=True)
        sockets.steer(4)
    assert [record.name for record in caplog.records] == [datagrams.log.name]
    assert "does not steer QUIC by connection ID" in caplog.text
    sockets.datagrams.keep([next(iter(sockets.datagrams.groups))], 4)
    places = [landed(sockets, short(bytes((named,)) * 8)) for named in range(40)]
    assert all(len(place) == 1 for place in places)
    assert len(set(itertools.chain(*places))) > 1
