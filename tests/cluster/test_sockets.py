"""Lanes over real sockets: one port for all, foreign ports refused, steering, queues."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from cluster import datagrams
from cluster.errors import BootError
from cluster.sockets import Sockets
from tests.support.ports import free_port
from worker.settings import ListenerSettings

ANY = ListenerSettings("http", "127.0.0.1", 0)
ANY_TLS = ListenerSettings("https", "127.0.0.1", 0)


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    sockets = Sockets()
    yield sockets
    sockets.close()


@contextlib.contextmanager
def connections(port: int, count: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        yield


def queues(sockets: Sockets, lanes: int) -> list[int]:
    return [sockets.queued(lane) for lane in range(lanes)]


def test_all_lanes_share_the_port_the_kernel_chose(sockets: Sockets) -> None:
    sockets.open((ANY,), 3)
    ports = {sockets.of(ANY, lane).getsockname()[1] for lane in range(3)}
    assert ports == {sockets.bound(ANY).port}
    assert sockets.bound(ANY).scheme == "http"


def test_two_listeners_on_any_port_get_two_ports(sockets: Sockets) -> None:
    sockets.open((ANY, ANY_TLS), 1)
    assert sockets.bound(ANY).port != sockets.bound(ANY_TLS).port


def test_ipv6_has_lanes_of_its_own(sockets: Sockets) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    sockets.open((ANY,), 1)
    both = ListenerSettings("http", "::1", sockets.bound(ANY).port)
    sockets.open((ANY, both), 2)
    assert sockets.bound(both).url == f"http://[::1]:{both.port}"


def test_opening_again_keeps_what_is_open(sockets: Sockets) -> None:
    sockets.open((ANY,), 1)
    first = sockets.of(ANY, 0)
    sockets.open((ANY, ANY_TLS), 2)
    assert sockets.of(ANY, 0) is first
    assert len(sockets.filenos()) == 4


def test_a_port_others_share_with_reuseport_is_still_refused(sockets: Sockets) -> None:
    other = Sockets()
    other.open((ANY,), 1)
    try:
        with pytest.raises(BootError, match="in use by"):
            sockets.open((other.bound(ANY),), 1)
    finally:
        other.close()
    assert not sockets.filenos()


def test_what_a_failed_open_had_opened_is_closed_and_nothing_else(sockets: Sockets) -> None:
    sockets.open((ANY,), 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = ListenerSettings("http", "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(BootError):
            sockets.open((ANY, ANY_TLS, busy), 3)
    assert sockets.filenos() == {sockets.of(ANY, 0).fileno()}


def test_an_address_no_interface_has_is_refused_saying_so(sockets: Sockets) -> None:
    with pytest.raises(BootError, match="no network interface has this address"):
        sockets.open((ListenerSettings("http", "192.0.2.1", 0),), 1)


def test_a_port_that_comes_free_in_time_is_taken(sockets: Sockets) -> None:
    port = free_port()
    # Its last connection in TIME_WAIT must not count as somebody listening.
    with socket.create_server(("127.0.0.1", port)) as server:
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()
    sockets.open((ListenerSettings("http", "127.0.0.1", port),), 2, patience_s=5)
    assert len(sockets.filenos()) == 2


def test_every_lane_gets_connections_and_queued_counts_those_not_accepted(sockets: Sockets) -> None:
    sockets.open((ANY,), 2)
    with connections(sockets.bound(ANY).port, 64):
        waiting = queues(sockets, 2)
        assert sum(waiting) == 64
        assert min(waiting) > 0


def test_steering_spares_the_upper_lanes_even_those_opened_later(sockets: Sockets) -> None:
    sockets.open((ANY,), 2)
    sockets.steer(2)
    sockets.open((ANY,), 4)
    with connections(sockets.bound(ANY).port, 64):
        waiting = queues(sockets, 4)
        assert waiting[2:] == [0, 0]
        assert min(waiting[:2]) > 0
        assert sum(waiting) == 64


def test_after_release_every_lane_gets_connections_again(sockets: Sockets) -> None:
    sockets.open((ANY,), 3)
    sockets.release()  # nothing attached yet: nothing happens
    sockets.steer(1)
    sockets.release()
    with connections(sockets.bound(ANY).port, 96):
        assert min(queues(sockets, 3)) > 0


def test_closing_the_upper_lanes_while_steered_loses_nothing(sockets: Sockets) -> None:
    sockets.open((ANY,), 3)
    sockets.steer(1)
    port = sockets.bound(ANY).port
    with connections(port, 8):
        assert sockets.queued(2) == 0
        sockets.shrink(1)
        sockets.release()
        with connections(port, 8):
            assert sockets.queued(0) == 16
        assert sockets.queued(2) == 0


def test_keep_closes_the_other_addresses(sockets: Sockets) -> None:
    sockets.open((ANY, ANY_TLS), 2)
    gone = sockets.bound(ANY_TLS).port
    sockets.keep((ANY,))
    assert len(sockets.filenos()) == 2
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gone))


# --- UDP, for HTTP/3 ---------------------------------------------------------------------------------


def test_https_has_udp_lanes_on_the_port_of_tcp_and_http_has_none(sockets: Sockets) -> None:
    sockets.open((ANY, ANY_TLS), 3, http3=True)
    ports = {sockets.udp(ANY_TLS, lane).socket.getsockname()[1] for lane in range(3)}
    assert ports == {sockets.bound(ANY_TLS).port}
    assert len(sockets.filenos()) == 9


def test_a_udp_port_somebody_has_is_refused_saying_what_to_do(sockets: Sockets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        busy = ListenerSettings("https", "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(BootError) as refusal:
            sockets.open((ANY_TLS, busy), 2, http3=True)
        assert not sockets.filenos()
        sockets.open((busy,), 2)
    words = str(refusal.value)
    assert words.startswith(
        f"cannot listen on {busy.url} for HTTP/3 (UDP port {busy.port}): the port is in use"
    )
    assert f"(pid {os.getpid()})" in words
    assert words.endswith("stop it or listen on another port, or set http3 to false")


def test_a_udp_port_others_share_with_reuseport_is_still_refused(sockets: Sockets) -> None:
    other = Sockets()
    other.open((ANY_TLS,), 1, http3=True)
    bound = other.bound(ANY_TLS)
    other.shrink(0)  # TCP is free
    try:
        with pytest.raises(BootError, match="UDP port"):
            sockets.open((bound,), 1, http3=True)
    finally:
        other.close()


def test_any_port_is_one_that_is_free_for_both(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    clashes: list[socket.socket] = []
    probe = datagrams.probe

    def taken_at_first(listener: ListenerSettings, kind: socket.SocketKind, patience_s: float) -> None:
        if len(clashes) < 3:
            clashes.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            clashes[-1].bind((listener.host, listener.port))
        probe(listener, kind, patience_s)

    monkeypatch.setattr(datagrams, "probe", taken_at_first)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [clash.close() for clash in clashes])
        sockets.open((ANY_TLS,), 2, http3=True)
        assert len(clashes) == 3
        assert sockets.bound(ANY_TLS).port not in {clash.getsockname()[1] for clash in clashes}
        assert sockets.udp(ANY_TLS, 1).socket.getsockname()[1] == sockets.bound(ANY_TLS).port
        assert len(sockets.filenos()) == 4


def test_udp_sockets_of_an_address_that_went_are_kept_until_nobody_has_them(sockets: Sockets) -> None:
    sockets.open((ANY, ANY_TLS), 2, http3=True)
    bound = sockets.bound(ANY_TLS)
    sockets.keep((ANY,))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        with pytest.raises(OSError):
            other.bind((bound.host, bound.port))
        sockets.prune((ANY,), 2, http3=True)
        other.bind((bound.host, bound.port))
    assert len(sockets.filenos()) == 2


def test_http3_may_be_switched_on_and_off_while_tcp_stays(sockets: Sockets) -> None:
    fixed = ListenerSettings("https", "127.0.0.1", 0)
    sockets.open((fixed,), 2)
    tcp = sockets.filenos()
    sockets.open((fixed,), 2, http3=True)
    assert len(sockets.filenos()) == 4
    sockets.prune((fixed,), 2, http3=False)
    assert sockets.filenos() == tcp


def test_ipv6_has_udp_lanes_of_its_own(sockets: Sockets) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    sockets.open((ANY_TLS,), 1, http3=True)
    both = ListenerSettings("https", "::1", sockets.bound(ANY_TLS).port)
    sockets.open((ANY_TLS, both), 1, http3=True)
    assert sockets.udp(both, 0).number != sockets.udp(ANY_TLS, 0).number
    assert sockets.udp(both, 0).socket.family == socket.AF_INET6
