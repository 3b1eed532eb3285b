"""Datagrams between workers: what arrives, whom it does not reach, and that nobody ever waits."""

import os
import select
import socket
from collections.abc import Iterator

import pytest

from worker.protocol.quic.handover import Handover, make_inbox, pack, unpack

PATIENCE_S = 60.0
PEER = ("192.0.2.1", 4433)


class Inboxes:
    """Of a few members, as a supervisor makes them before it forks."""

    def __init__(self, count: int) -> None:
        self.pairs = [make_inbox() for _ in range(count)]
        self.alive = set(range(count))

    def of(self, member: int) -> Handover:
        writing = [pair[1] for pair in self.pairs]
        return Handover(self.pairs[member][0], writing, self.alive.__contains__)

    def close(self) -> None:
        for pair in self.pairs:
            for end in pair:
                end.close()


@pytest.fixture
def inboxes() -> Iterator[Inboxes]:
    made = Inboxes(3)
    yield made
    made.close()


@pytest.mark.parametrize(
    "peer",
    [
        ("192.0.2.1", 1),
        ("255.255.255.255", 65535),
        ("0.0.0.0", 0),
        ("2001:db8::1", 443),
        ("::", 443),
        ("::1", 443),
        ("fe80::1%2", 443),
        ("fe80::1%4294967295", 443),
    ],
)
@pytest.mark.parametrize("data", [b"", b"x", os.urandom(2048)])
def test_a_datagram_crosses_with_its_peer_and_its_listener(peer: tuple[str, int], data: bytes) -> None:
    assert unpack(pack(65535, data, peer)) == (65535, data, peer)


@pytest.mark.parametrize("host", ["edge.test", "", "192.0.2.300", "::g"])
def test_only_numeric_addresses_cross(host: str) -> None:
    with pytest.raises(ValueError):
        pack(0, b"x", (host, 1))


def test_what_is_passed_on_reaches_that_member_and_nobody_else(inboxes: Inboxes) -> None:
    first, second, third = map(inboxes.of, range(3))
    assert first.pass_on(7, 1, b"for the second", PEER)
    assert third.pass_on(8, 1, b"also", ("::1", 5))
    assert second.receive() == [(7, b"for the second", PEER), (8, b"also", ("::1", 5))]
    assert first.receive() == second.receive() == third.receive() == []
    assert (first.handed_over, second.handed_over, third.handed_over) == (1, 0, 1)


def test_a_member_nobody_is_gets_nothing_and_the_caller_is_told(inboxes: Inboxes) -> None:
    sender = inboxes.of(0)
    inboxes.alive.discard(1)
    assert not sender.pass_on(0, 1, b"x", PEER)
    assert not sender.pass_on(0, 3, b"x", PEER)  # no such place
    assert not sender.pass_on(0, 255, b"x", PEER)
    assert inboxes.of(1).receive() == []
    assert (sender.handed_over, sender.dropped) == (0, 0)


def test_a_full_inbox_loses_what_comes_and_nobody_waits(inboxes: Inboxes) -> None:
    sender, other, owner = map(inboxes.of, range(3))
    while not sender.dropped:
        assert sender.pass_on(0, 2, b"x" * 1200, PEER)
        assert sender.handed_over < 5000, "there is no bound"
    assert sender.handed_over >= 100
    assert other.pass_on(0, 2, b"x" * 1200, PEER)
    assert (other.handed_over, other.dropped) == (0, 1)
    assert sender.pass_on(0, 1, b"another's inbox has room", PEER)
    assert len(other.receive()) == 1
    taken = 0
    while frames := owner.receive():
        assert len(frames) <= 16
        taken += len(frames)
    assert taken == sender.handed_over - 1
    assert other.pass_on(0, 2, b"room again", PEER)
    assert owner.receive() == [(0, b"room again", PEER)]


def test_what_a_dead_process_left_unread_is_not_its_successors(inboxes: Inboxes) -> None:
    sender = inboxes.of(0)
    for _ in range(100):
        sender.pass_on(0, 1, b"x", PEER)
    successor = inboxes.of(1)
    successor.empty()
    assert successor.receive() == []
    assert sender.pass_on(0, 1, b"y", PEER)
    assert successor.receive() == [(0, b"y", PEER)]


def test_processes_forked_before_and_after_reach_each_other(inboxes: Inboxes) -> None:
    """Two members in processes of their own, one forked while the other runs already."""

    def fork(member: int, other: int) -> int:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                mine = inboxes.of(member)
                select.select([mine], [], [], PATIENCE_S)
                ((_, data, _),) = mine.receive()
                mine.pass_on(0, other, data + b" by %d" % member, PEER)
                code = 0
            finally:
                os._exit(code)
        return pid

    mine = inboxes.of(0)
    pids = [fork(1, 2)]
    assert mine.pass_on(0, 1, b"passed on", PEER)
    pids.append(fork(2, 0))
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    assert mine.receive() == [(0, b"passed on by 1 by 2", PEER)]


def test_when_all_readers_are_gone_a_datagram_is_lost_and_nothing_breaks() -> None:
    reading, writing = make_inbox()
    with writing:
        reading.close()
        mine, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with mine, _:
            sender = Handover(mine, [writing], lambda _member: True)
            assert sender.pass_on(0, 0, b"x", PEER)
            assert sender.dropped == 1
