"""QUIC over real UDP sockets: aioquic's client against our dispatcher, with an application that echoes."""

import asyncio
import gc
import os
import socket
import time
from contextlib import AsyncExitStack

import pytest
import uvloop
from aioquic.quic.packet import QuicErrorCode, QuicProtocolVersion
from aioquic.tls import AlertDescription
from trustme import KeyType

from tests.support.h1_edge import run
from tests.support.quic_client import QuicClient
from tests.support.quic_edge import SECRET, QuicEdge, default_pairs, pattern, pem_pair, until
from worker.context import Client
from worker.protocol.quic.bounds import Bounds
from worker.protocol.quic.certificates import Certificates
from worker.protocol.quic.identity import Identity, Owner
from worker.protocol.quic.link import Address
from worker.protocol.quic.transport import ISSUED_IDS, Transport
from worker.reasons import TurnedAway


def test_a_client_shakes_hands_and_gets_back_what_it_sends() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            assert await client.ask(b"hello") == b"hello"
            (application,) = edge.applications
            assert application.is_confirmed and not application.early
            assert application.link.cipher == "TLS_AES_128_GCM_SHA256"
            assert application.link.peer == client.sock.getsockname()

    run(test())


class Closed:
    """A door that keeps everybody out, and remembers whom."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def keeps_out(self, client: Client) -> TurnedAway | None:
        self.asked.append(client.address)
        return TurnedAway.BAN

    def enter(self, client: Client, now_ns: int) -> TurnedAway | None:
        raise AssertionError

    def leave(self, client: Client) -> None:
        raise AssertionError


def test_whom_the_door_keeps_out_gets_no_answer() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            door = edge.connections.door = Closed()
            connecting = asyncio.create_task(client.connect())
            await until(lambda: len(door.asked) > 1)  # it tries again
            assert set(door.asked) == {"127.0.0.1"}
            assert not edge.applications and not edge.quic._handshakes
            connecting.cancel()

    run(test())


def test_long_bodies_pass_whole_both_ways() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            up = pattern(0, 700_001)
            assert await client.ask(up) == up
            assert await client.ask(b"GIVE 3000000") == pattern(0, 3_000_000)

    run(test())


def test_many_streams_at_a_time_are_kept_apart() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            sent = [b"%d " % number * 500 for number in range(100)]
            assert await asyncio.gather(*(client.ask(each) for each in sent)) == sent
            sent.reverse()  # the streams of the first hundred may be followed by as many
            assert await asyncio.gather(*(client.ask(each) for each in sent)) == sent

    run(test())


def test_a_thousand_connections_are_served() -> None:
    async def test() -> None:
        # On a busy machine the first has long been idle when the last one comes.
        async with QuicEdge(bounds={"idle_s": 600.0}) as edge, AsyncExitStack() as clients:

            async def come() -> QuicClient:
                client = QuicClient(edge.address, idle_timeout=600.0)
                return await (await clients.enter_async_context(client)).connect()

            everyone: list[QuicClient] = []
            while len(everyone) < 1000:  # few at a time: client and server share a core
                everyone += await asyncio.gather(*(come() for _ in range(20)))
            for number in range(0, 1000, 10):
                assert await everyone[number].ask(b"%d" % number) == b"%d" % number
            assert len({application.link.peer for application in edge.applications}) == 1000

    uvloop.run(test())  # takes longer than `run` waits on a busy machine


def test_connections_leave_nothing_behind() -> None:
    async def test() -> None:
        async with QuicEdge() as edge:
            for _ in range(10):
                async with AsyncExitStack() as clients:
                    group = [await clients.enter_async_context(QuicClient(edge.address)) for _ in range(20)]
                    await asyncio.gather(*(client.connect() for client in group))
            await until(lambda: len(edge.applications) == 200)
            await until(lambda: all(each.lost_by is not None for each in edge.applications))
            await until(lambda: not edge.quic._routes)  # packets under way have had their time
            assert not edge.quic._handshakes and not edge.quic._lingering
            edge.applications.clear()
            gc.collect()
            assert not [each for each in gc.get_objects() if isinstance(each, Transport)]

    run(test())


# -- newcomers -----------------------------------------------------------------------------------------------


def test_a_client_gets_through_a_retry() -> None:
    async def test() -> None:
        async with QuicEdge(always_retry=True) as edge, QuicClient(edge.address) as client:
            await client.connect()
            assert client.quic._retry_count == 1 and edge.quic.retries == 1
            assert await client.ask(b"hello") == b"hello"

    run(test())


def test_only_those_above_the_bound_must_come_again() -> None:
    async def test() -> None:
        async with QuicEdge(bounds={"unproven": 3}) as edge, AsyncExitStack() as clients:
            for _ in range(3):
                stuck = await clients.enter_async_context(QuicClient(edge.address))
                stuck.hears = False
            async with QuicClient(edge.address) as late:
                await late.connect()
                assert late.quic._retry_count == 1
            assert edge.quic.retries == 1

    run(test())


def test_above_the_most_handshakes_nobody_new_is_heard_until_some_have_run_out() -> None:
    async def test() -> None:
        bounds = {"handshakes": 2, "handshake_s": 0.3}
        async with QuicEdge(bounds=bounds) as edge, AsyncExitStack() as clients:
            stuck = [await clients.enter_async_context(QuicClient(edge.address)) for _ in range(2)]
            for client in stuck:
                client.hears = False
            await until(lambda: len(edge.quic._handshakes) == 2)
            for client in stuck:
                client.abandon()
            async with QuicClient(edge.address) as late:
                await late.connect()  # its later attempts find room
            assert len(edge.applications) == 1  # the others were never there

    run(test())


@pytest.mark.parametrize("why", ["another address", "expired", "another worker's secret", "changed"])
def test_a_token_that_does_not_count_is_refused(why: str) -> None:
    async def test() -> None:
        async with QuicEdge(always_retry=True) as edge:
            maker = Identity(0, 1, bytes(32)) if why == "another worker's secret" else edge.identity
            client = QuicClient(edge.address)
            address = ("127.0.0.9", 1) if why == "another address" else client.sock.getsockname()
            made_s = time.monotonic() - (100 if why == "expired" else 0)
            cid = client.quic._peer_cid.cid
            token = maker.retry_token(address, b"12345678", cid, made_s)
            client.quic._peer_token = token[:-1] + b"\0" if why == "changed" else token
            async with client:
                end = await client.until_terminated()
            assert end.error_code == QuicErrorCode.INVALID_TOKEN
            assert not edge.applications and not edge.quic._routes

    run(test())


def test_a_token_made_by_another_worker_counts() -> None:
    """The worker that asked for it may be gone by the time the client comes back."""

    async def test() -> None:
        async with QuicEdge(always_retry=True, member=1) as gone, QuicEdge(member=2) as edge:
            async with QuicClient(gone.address) as client:
                client.target = edge.address  # for all but the first Initial
                await client.connect()
                assert client.quic._retry_count == 1
            assert len(edge.applications) == 1

    run(test())


def test_a_version_we_do_not_speak_is_answered_with_those_we_do() -> None:
    async def test() -> None:
        async with QuicEdge() as edge:
            newer = QuicProtocolVersion.VERSION_2
            async with QuicClient(
                edge.address,
                original_version=newer,
                supported_versions=[newer, QuicProtocolVersion.VERSION_1],
            ) as client:
                await client.connect()
                assert client.quic._version_negotiated_incompatible
                assert await client.ask(b"hello") == b"hello"

    run(test())


@pytest.mark.parametrize(
    "data",
    [
        b"\xc0\xfa\xce\xfa\xce\x08" + bytes(8) + b"\x00" + bytes(1100),  # too small to be answered
        b"\xc0\x00\x00\x00\x00\x08" + bytes(8) + b"\x00" + bytes(1200),  # itself a negotiation
        b"\xc0\x00\x00\x00\x01\x08" + bytes(8) + b"\x00\x00\x44\xd0" + bytes(1100),  # a small Initial
        b"\xc0\x00\x00\x00\x01\x08"
        + bytes(8)
        + b"\x00\x00\x44\xb0"
        + bytes(1200),  # garbage behind its header
        b"\x40" + bytes(1300),  # of no connection, to an ID of nobody's
        b"\xe0\x00\x00\x00\x01\x08"
        + bytes(8)
        + b"\x00\x00\x44\xd0"
        + bytes(1300),  # a handshake nobody has begun
        b"",
        b"\xc0",
        b"\x40",
    ],
)
def test_what_deserves_no_answer_gets_none_and_leaves_nothing(data: bytes) -> None:
    async def test() -> None:
        async with QuicEdge() as edge:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(data, edge.address)
                async with QuicClient(edge.address) as client:
                    await client.connect()  # so the datagram before has been seen to
                with pytest.raises(BlockingIOError):
                    sock.recvfrom(2000)
            assert len(edge.applications) == 1

    run(test())


def test_an_alpn_that_is_not_h3_is_refused() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address, alpn_protocols=["hq-interop"]) as client:
            end = await client.until_terminated()
            assert end.error_code == QuicErrorCode.CRYPTO_ERROR + AlertDescription.no_application_protocol
            assert not edge.applications

    run(test())


@pytest.mark.parametrize("name", ["localhost", "other.test", "deep.wild.test"])
def test_the_certificate_is_that_of_the_name_asked_for(name: str) -> None:
    async def test() -> None:
        pairs = [*default_pairs(), pem_pair("other.test", key_type=KeyType.RSA), pem_pair("*.wild.test")]
        async with QuicEdge(pairs=pairs) as edge, QuicClient(edge.address, server_name=name) as client:
            await client.connect()
            assert client.quic.tls._peer_certificate == Certificates.load(pairs).choose(name, ()).leaf

    run(test())


# -- whose datagram it is -----------------------------------------------------------------------------------


def short_packet(cid: bytes, size: int = 60) -> bytes:
    return b"\x40" + cid + os.urandom(size - 9)


async def answer_to(edge: QuicEdge, data: bytes) -> bytes | None:
    """What comes back when `data` is sent; None when nothing does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(edge.address)
        sock.send(data)
        async with QuicClient(edge.address) as client:
            await client.connect()
        try:
            return sock.recv(2000)
        except BlockingIOError:
            return None


def test_a_packet_of_a_connection_that_is_gone_is_answered_with_a_reset() -> None:
    async def test() -> None:
        async with QuicEdge() as edge:
            cid = edge.identity.new_connection_id()
            reset = await answer_to(edge, short_packet(cid))
            assert reset is not None and reset.endswith(edge.identity.reset_token(cid)) and len(reset) < 60
            assert await answer_to(edge, short_packet(cid, 21)) is None

    run(test())


def test_a_client_learns_by_the_reset_that_its_server_was_replaced() -> None:
    """The token is the one it was given at the handshake, or with the ID, by a process that is no more."""

    async def test() -> None:
        async with QuicEdge() as before, QuicClient(before.address) as client:
            await client.connect()
            await client.ask(b"hello")
            given = [client.quic._peer_cid, *client.quic._peer_cid_available]
            assert len(given) == ISSUED_IDS
            async with QuicEdge() as after:
                for each in given:
                    reset = await answer_to(after, short_packet(each.cid))
                    assert reset is not None and reset[-16:] == each.stateless_reset_token

    run(test())


def test_resets_are_bounded() -> None:
    async def test() -> None:
        async with QuicEdge(bounds={"answers": 10}) as edge:
            for _ in range(1000):
                packet = short_packet(edge.identity.new_connection_id())
                edge.quic.receive(packet, ("127.0.0.1", 9), passed_on=False, now_s=1000.0)
            assert edge.quic.resets == 10

    run(test())


def test_a_packet_of_another_worker_is_passed_on_and_not_a_second_time() -> None:
    async def test() -> None:
        passed: list[tuple[int, bytes]] = []

        def pass_on(member: int, data: bytes, peer: Address) -> bool:
            passed.append((member, data))
            return True

        async with QuicEdge(member=1, pass_on=pass_on) as edge:
            other = Identity(0, 2, SECRET).new_connection_id()
            for data in (short_packet(other), b"\xe0\0\0\0\1\x08" + other + b"\0" + bytes(1300)):
                edge.quic.receive(data, ("127.0.0.1", 9), passed_on=False, now_s=time.monotonic())
                assert passed == [(2, data)]
                edge.quic.receive(data, ("127.0.0.1", 9), passed_on=True, now_s=time.monotonic())
                assert passed == [(2, data)]
                passed.clear()
            assert edge.quic.passed_on == 2

    run(test())


def test_a_connection_is_served_by_its_worker_though_another_reads_the_socket() -> None:
    """As after a reload: all that a client sends arrives at the new worker, and goes on to the old one."""

    async def test() -> None:
        workers: dict[int, QuicEdge] = {}

        def pass_on(member: int, data: bytes, peer: Address) -> bool:
            if member not in workers:
                return False
            workers[member].quic.receive(data, peer, passed_on=True, now_s=time.monotonic())
            return True

        async with QuicEdge(member=1, pass_on=pass_on) as old, QuicEdge(member=2, pass_on=pass_on) as new:
            workers.update({1: old, 2: new})
            async with QuicClient(old.address) as client:
                await client.until(lambda: client.packets)  # in the middle of the handshake
                client.target = new.address
                client.flush()
                await client.connect()
                assert await client.ask(b"GIVE 300000") == pattern(0, 300_000)
                assert len(old.applications) == 1 and not new.applications
                # What ends the handshake and what asks; how often is acknowledged is not given.
                assert new.quic.passed_on >= 2

                old.connections.draining = True  # takes nobody new, and goes on with those it has
                client.quic.change_connection_id()
                assert await client.ask(b"hello") == b"hello"
                async with QuicClient(new.address) as later:
                    await later.connect()
                assert len(new.applications) == 1

    run(test())


def test_a_draining_worker_takes_nobody_new() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            edge.connections.draining = True
            async with QuicClient(edge.address) as late:
                for _ in range(20):
                    assert await client.ask(b"hello") == b"hello"
                assert late.completed is None and not late.packets
            assert len(edge.applications) == 1

    run(test())


def test_a_drain_can_wait_for_handshakes_under_way() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await edge.quic.wait_settled()
            client.hears = False
            await until(lambda: edge.quic._handshakes)
            edge.connections.draining = True
            settled = asyncio.ensure_future(edge.quic.wait_settled())
            await asyncio.sleep(0)
            assert not settled.done()
            client.hears = True
            await client.connect()
            await settled
            assert await client.ask(b"hello") == b"hello"

    run(test())


# -- clients that move --------------------------------------------------------------------------------------


def test_a_download_goes_on_when_the_client_comes_from_another_port() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            before = client.sock.getsockname()
            stream = client.begin(b"GIVE 2000000")
            for size in range(200_000, 2_000_000, 400_000):
                await client.until(lambda size=size: len(client.received[stream]) > size)
                client.move()
                client.quic.send_ping(size)
                client.flush()
            assert await client.read(stream) == pattern(0, 2_000_000)
            assert client.sock.getsockname() != before
            assert edge.applications[0].link.peer == client.sock.getsockname()

    run(test())


def test_the_peer_stays_where_it_was_until_the_new_address_has_answered() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            await client.ask(b"hello")
            before = client.sock.getsockname()
            client.move()
            client.hears = False  # as one who sends under a borrowed address, and gets no answer
            client.quic.send_ping(1)
            client.flush()
            await client.until(lambda: len(client.packets) > 20 or time.monotonic())
            async with QuicClient(edge.address) as other:
                await other.connect()
            assert edge.applications[0].link.peer == before
            client.hears = True
            client.quic.send_ping(2)
            client.flush()
            await until(lambda: edge.applications[0].link.peer == client.sock.getsockname())

    run(test())


def test_every_connection_id_a_client_changes_to_leads_to_it() -> None:
    async def test() -> None:
        async with QuicEdge(lane=5, member=6) as edge, QuicClient(edge.address) as client:
            await client.connect()
            used = {client.quic._peer_cid.cid}
            for number in range(30):
                await client.until(lambda: client.quic._peer_cid_available)
                client.quic.change_connection_id()
                used.add(client.quic._peer_cid.cid)
                assert await client.ask(b"%d" % number) == b"%d" % number
            assert len(used) == 31
            assert all(edge.identity.owner_of(cid) == Owner(5, 6) for cid in used)
            assert len(edge.quic._routes) <= 2 + ISSUED_IDS + 8  # those given back are forgotten in time

    run(test())


# -- back-pressure ------------------------------------------------------------------------------------------


def test_a_reader_that_does_not_read_holds_no_more_than_a_stream_window() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            edge.reads = False
            stream = client.begin(pattern(0, 1_000_000))
            window = Bounds().stream_bytes
            await until(lambda: edge.applications and held(edge) == window)
            async with QuicClient(edge.address) as other:  # some round trips for more to come
                await other.connect()
            assert held(edge) == window
            edge.reads = True
            edge.applications[0].read()
            assert await client.read(stream) == pattern(0, 1_000_000)

    run(test())


def held(edge: QuicEdge) -> int:
    return sum(len(data) for _, data, _ in edge.applications[0].unread)


def test_all_streams_together_hold_no_more_than_the_connection_window() -> None:
    async def test() -> None:
        async with QuicEdge(bounds={"connection_bytes": 300_000}) as edge, QuicClient(edge.address) as client:
            await client.connect()
            edge.reads = False
            streams = [client.begin(pattern(0, 100_000)) for _ in range(20)]
            await until(lambda: edge.applications and held(edge) == 300_000)
            edge.reads = True
            edge.applications[0].read()
            for stream in streams:
                assert await client.read(stream) == pattern(0, 100_000)

    run(test())


def test_a_widened_stream_may_have_more_on_the_way() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            edge.reads = False
            stream = client.begin(pattern(0, 1_000_000))
            await until(lambda: edge.applications and held(edge) == Bounds().stream_bytes)
            link = edge.applications[0].link
            link.widen(stream, 500_000)
            await until(lambda: held(edge) == 500_000)

    run(test())


def test_what_a_client_breaks_off_frees_the_connection_window() -> None:
    async def test() -> None:
        async with QuicEdge(bounds={"connection_bytes": 200_000}) as edge, QuicClient(edge.address) as client:
            await client.connect()
            edge.reads = False
            for _ in range(10):
                stream = client.begin(pattern(0, 60_000), end=False)
                await until(lambda: edge.applications and held(edge) == 60_000)
                client.quic.reset_stream(stream, 7)
                client.flush()
                await until(lambda stream=stream: edge.applications[0].resets.get(stream) == 7)
                edge.applications[0].unread.clear()
                edge.applications[0].link.reset(stream, 8)
            edge.reads = True
            assert await client.ask(pattern(0, 150_000)) == pattern(0, 150_000)

    run(test())


def test_what_waits_is_what_the_client_has_not_acknowledged() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            stream = client.begin(b"", end=False)
            client.quic.send_stream_data(stream, b"x")
            client.flush()
            await client.until(lambda: client.received[stream])
            link = edge.applications[0].link
            client.hears = False
            link.send(stream, bytes(5000), False)
            link.flush_soon()
            assert link.waiting(stream) >= 5000
            client.hears = True
            client.flush()
            await until(lambda: link.waiting(stream) == 0)

    run(test())


def test_a_stream_broken_off_holds_nothing() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address, max_stream_data=10_000) as client:
            await client.connect()
            stream = client.begin(b"GIVE 1000000")
            await client.until(lambda: client.received[stream])
            application = edge.applications[0]
            assert application.link.waiting(stream) > 100_000
            application.owed.clear()
            application.link.reset(stream, 11)
            application.link.flush_soon()
            assert application.link.waiting(stream) == 0
            await client.until(lambda: client.resets.get(stream) == 11)

    run(test())


def test_a_client_that_wants_no_more_of_a_stream_stops_it() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address, max_stream_data=10_000) as client:
            await client.connect()
            stream = client.begin(b"GIVE 1000000")
            await client.until(lambda: client.received[stream])
            client.quic.stop_stream(stream, 12)
            client.flush()
            await until(lambda: edge.applications[0].stops.get(stream) == 12)
            assert edge.applications[0].link.waiting(stream) == 0
            assert await client.ask(b"hello") == b"hello"

    run(test())


def test_what_was_stopped_is_not_delivered_and_does_not_clog_the_connection() -> None:
    async def test() -> None:
        async with QuicEdge(bounds={"connection_bytes": 100_000}) as edge, QuicClient(edge.address) as client:
            await client.connect()
            edge.reads = False
            stream = client.begin(b"x", end=False)
            await until(lambda: edge.applications and edge.applications[0].unread)
            application = edge.applications[0]
            application.unread.clear()
            application.link.stop(stream, 13)
            application.link.flush_soon()
            # aioquic's client does not stop of itself: it is drained.
            client.quic.send_stream_data(stream, bytes(500_000), end_stream=True)
            client.flush()
            edge.reads = True
            assert await client.ask(pattern(0, 50_000)) == pattern(0, 50_000)
            assert not application.unread

    run(test())


# -- the end -------------------------------------------------------------------------------------------------


def test_a_close_reaches_the_client_with_its_code_and_the_application_is_told() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            await client.ask(b"hello")
            edge.applications[0].link.close(0x10C, "enough")
            end = await client.until_terminated()
            assert (end.error_code, end.reason_phrase, end.frame_type) == (0x10C, "enough", None)
            assert edge.applications[0].lost_by == 0x10C

    run(test())


def test_a_client_that_missed_the_close_is_told_again() -> None:
    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            await client.ask(b"hello")
            client.hears = False
            edge.applications[0].link.close(0x10C)
            await until(lambda: edge.applications[0].lost_by == 0x10C)
            await client.until(lambda: client.packets)
            client.hears = True
            client.begin(b"are you there?")
            assert (await client.until_terminated()).error_code == 0x10C

    run(test())


def test_the_application_is_told_that_the_client_has_closed() -> None:
    async def test() -> None:
        async with QuicEdge() as edge:
            async with QuicClient(edge.address) as client:
                await client.connect()
                await client.ask(b"hello")
                client.quic.close(error_code=0x101)
            await until(lambda: edge.applications[0].lost_by == 0x101)

    run(test())


def test_a_client_that_fell_silent_is_given_up() -> None:
    async def test() -> None:
        async with QuicEdge(bounds={"idle_s": 0.2}) as edge:
            client = await QuicClient(edge.address).__aenter__()
            await client.connect()
            await until(lambda: edge.applications)
            client.abandon()
            await until(lambda: edge.applications[0].lost_by is not None)
            await until(lambda: not edge.quic._routes)

    run(test())


@pytest.mark.parametrize("where", ["stream_data", "moved"])
def test_an_error_in_an_application_ends_its_connection_and_no_other(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    async def test() -> None:
        async with (
            QuicEdge() as edge,
            QuicClient(edge.address) as client,
            QuicClient(edge.address) as other,
        ):
            await client.connect()
            await until(lambda: edge.applications)
            monkeypatch.setattr(edge.applications[0], where, fail)
            client.begin(b"hello")
            assert (await client.until_terminated()).error_code == QuicErrorCode.INTERNAL_ERROR
            await until(lambda: edge.applications[0].lost_by == QuicErrorCode.INTERNAL_ERROR)
            await other.connect()
            assert await other.ask(b"hello") == b"hello"

    run(test())
    assert "a fault" in caplog.text


def test_a_connection_that_is_over_may_still_be_told_to_send() -> None:
    """A task of the application may learn of the end later than the application."""

    async def test() -> None:
        async with QuicEdge() as edge, QuicClient(edge.address) as client:
            await client.connect()
            stream = client.begin(b"hello", end=False)
            await client.until(lambda: client.received[stream])
            link = edge.applications[0].link
            link.close(0x100)
            await until(lambda: edge.applications[0].lost_by == 0x100)
            lingering = len(edge.quic._lingering)
            for _ in range(3):
                link.send(stream, b"too late", False)
                link.reset(stream, 1)
                link.stop(stream, 1)
                link.consumed(stream, 5)
                link.close(0x101)
                link.flush_soon()
                await asyncio.sleep(0)
            assert len(edge.quic._lingering) == lingering == 1

    run(test())
