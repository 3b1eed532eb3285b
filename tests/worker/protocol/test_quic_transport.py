"""What we have bent in aioquic: each of these fails when a new release no longer calls what we override."""

from functools import partial

import pytest
from aioquic.buffer import Buffer
from aioquic.quic import packet
from aioquic.quic.packet import QuicTransportParameters

from tests.support.h1_edge import run
from tests.support.quic_client import QuicClient
from tests.support.quic_edge import QuicEdge, pattern, pem_pair, until
from tests.support.quic_relay import BadWay
from worker.protocol.quic.bounds import Bounds
from worker.protocol.quic.transport import ISSUED_IDS


def test_the_client_is_told_our_bounds() -> None:
    async def test() -> None:
        bounds = {"streams": 7, "one_way_streams": 4, "stream_bytes": 11_000, "connection_bytes": 90_000}
        async with QuicEdge(bounds=bounds) as edge, QuicClient(edge.address) as client:
            await client.connect()
            quic = client.quic
            assert (quic._remote_max_streams_bidi, quic._remote_max_streams_uni) == (7, 4)
            assert quic._remote_max_stream_data_bidi_remote == quic._remote_max_stream_data_uni == 11_000
            assert quic._remote_max_data == 90_000
            assert quic._remote_max_idle_timeout == Bounds().idle_s
            for number in range(30):  # every stream that ends lets another begin
                assert await client.ask(b"%d" % number) == b"%d" % number

    run(test())


def test_the_first_id_and_all_others_are_ours_and_have_our_tokens() -> None:
    async def test() -> None:
        async with QuicEdge(lane=9, member=8) as edge, QuicClient(edge.address) as client:
            await client.connect()
            given = [client.quic._peer_cid, *client.quic._peer_cid_available]
            assert len(given) == ISSUED_IDS
            for each in given:
                assert edge.identity.owner_of(each.cid) == edge.identity.owner
                assert each.stateless_reset_token == edge.identity.reset_token(each.cid)

    run(test())


@pytest.mark.parametrize(("told", "largest"), [(None, 1452), (1210, 1210), (1300, 1300), (65527, 1452)])
def test_no_datagram_is_larger_than_the_client_takes(
    told: int | None, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = packet.push_quic_transport_parameters

    def tell(buf: Buffer, parameters: QuicTransportParameters) -> None:
        if parameters.original_destination_connection_id is None:  # a client's
            parameters.max_udp_payload_size = told
        push(buf, parameters)

    monkeypatch.setattr("aioquic.quic.connection.push_quic_transport_parameters", tell)

    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            assert await client.ask(b"GIVE 100000") == pattern(0, 100_000)
            sizes = [len(data) for data in client.packets]
            assert max(sizes[4:]) == largest

    run(test())


def test_a_request_that_is_answered_at_once_is_acknowledged_along_with_it() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            await client.ask(b"hello")
            before = len(client.packets)
            for _ in range(100):
                await client.ask(b"GIVE 500")
            # Now and then the client itself asks for an acknowledgement of its own acknowledgements.
            assert len(client.packets) - before < 130

    run(test())


def test_an_address_proven_by_a_retry_may_be_sent_more_than_thrice_what_came_from_it() -> None:
    async def test() -> None:
        names = [f"{number:050}.test" for number in range(150)]  # some 9 KB in the certificate
        pairs = [pem_pair("localhost", *names)]
        async with QuicEdge(always_retry=True, pairs=pairs) as edge, QuicClient(edge.address) as client:
            await client.until(lambda: client.quic._retry_count)
            client.hears = False
            await until(lambda: sum(map(len, client.packets)) > 3 * sum(map(len, client.sent)))

    run(test())


def test_a_reader_that_lets_go_of_a_stream_by_resetting_is_rid_of_its_bytes() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address, max_stream_data=5000) as client:
            await client.connect()
            stream = client.begin(b"GIVE 400000")
            await client.until(lambda: client.received[stream])
            quic = edge.applications[0].link._quic  # type: ignore[attr-defined]
            assert len(quic._streams[stream].sender._buffer) > 200_000
            client.quic.stop_stream(stream, 1)
            client.flush()
            await until(lambda: edge.applications[0].stops)
            assert stream not in quic._streams or not quic._streams[stream].sender._buffer

    run(test())


class NarrowWay(BadWay):
    """Loses every datagram that is larger than `most`, as a tunnel on the way may."""

    most = 1400

    def _carry(self, give: "partial[None]") -> None:
        if len(give.args[1]) <= self.most:
            super()._carry(give)
        else:
            self.dropped += 1


def test_datagrams_stay_small_where_large_ones_do_not_arrive() -> None:
    async def test() -> None:
        async with (
            QuicEdge() as edge,
            NarrowWay(edge.address) as way,
            QuicClient(way.address) as client,
        ):
            await client.connect()
            assert await client.ask(b"GIVE 500000") == pattern(0, 500_000)
            assert max(map(len, client.packets)) == Bounds().datagram_bytes
            assert way.dropped == 1  # the probe

    run(test())


def test_datagrams_become_small_again_where_large_ones_no_longer_arrive() -> None:
    async def test() -> None:
        async with (
            QuicEdge() as edge,
            NarrowWay(edge.address) as way,
            QuicClient(way.address) as client,
        ):
            way.most = 2000
            await client.connect()
            await client.ask(b"GIVE 100000")
            assert max(map(len, client.packets)) == Bounds().large_datagram_bytes
            way.most = 1400
            assert await client.ask(b"GIVE 200000") == pattern(0, 200_000)
            assert way.dropped

    run(test())


def test_in_another_network_nothing_measured_before_counts() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            await client.ask(b"GIVE 1000000")
            (application,) = edge.applications
            quic = application.link._quic  # type: ignore[attr-defined]
            assert quic._loss.congestion_window > 20 * 1452 and quic._max_datagram_size == 1452
            client.move()
            await client.ask(b"a new port is the old network")
            await until(lambda: application.link.peer == client.sock.getsockname())
            assert quic._loss.congestion_window > 20 * 1452 and quic._max_datagram_size == 1452
            client.move("127.0.0.2")
            stream = client.begin(b"another host is not", end=False)
            await until(lambda: application.link.peer == client.sock.getsockname())
            assert quic._loss.congestion_window < 20 * 1452 and quic._max_datagram_size == 1232
            client.quic.send_stream_data(stream, b"", end_stream=True)
            client.flush()
            await client.read(stream)

    run(test())


def test_a_connection_that_is_complete_lets_go_of_what_the_handshake_needed() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            quic = edge.applications[0].link._quic  # type: ignore[attr-defined]
            assert not quic._crypto_buffers
            client.quic.request_key_update()
            assert await client.ask(b"under new keys") == b"under new keys"
            client.send_frames(b"\x06\x00\x04\x01\x00\x00\x00")  # a ClientHello once more
            assert (await client.until_terminated()).error_code == 0x100 + 10  # unexpected_message

    run(test())
