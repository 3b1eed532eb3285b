"""Session tickets of QUIC: any worker resumes what another began, and of several exactly one."""

import asyncio
import os
import time
from collections.abc import Iterator

import pytest
from aioquic.tls import SessionTicket

from shmcache.core import Segment
from tests.support.h1_edge import run
from tests.support.quic_client import QuicClient
from tests.support.quic_edge import QuicEdge, default_pairs, pem_pair
from tests.support.segments import cache_segment
from worker.protocol.quic.tickets import SegmentTickets


@pytest.fixture
def segment() -> Iterator[Segment]:
    with cache_segment() as segment:
        yield segment


def test_a_ticket_is_given_out_once(segment: Segment) -> None:
    tickets = SegmentTickets(segment.cache)
    tickets.keep(b"name", b"secret")
    assert tickets.take(b"other") is None
    assert tickets.take(b"name") == b"secret"
    assert tickets.take(b"name") is None


def test_a_ticket_that_is_too_old_is_gone(segment: Segment) -> None:
    tickets = SegmentTickets(segment.cache, lifetime_s=0.001)
    tickets.keep(b"name", b"secret")
    time.sleep(0.01)
    assert tickets.take(b"name") is None


def test_of_two_processes_that_race_for_tickets_each_is_got_by_one(segment: Segment) -> None:
    """Both go through the same thousand; every ticket must be had exactly once."""
    names = [b"%d" % number for number in range(1000)]
    tickets = SegmentTickets(segment.cache)
    for name in names:
        tickets.keep(name, b"secret")
    got_read, got_write = os.pipe()
    start_read, start_write = os.pipe()
    children = []
    for member in (1, 2):
        child = os.fork()
        if child == 0:
            try:
                segment.join(member, time.monotonic_ns())
                os.close(start_write)
                os.read(start_read, 1)
                taken = [name for name in names if tickets.take(name) is not None]
                os.write(got_write, b"".join(name + b"\n" for name in taken))
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    os.close(start_write)  # both read the end of it at once
    os.close(start_read)
    os.close(got_write)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    with os.fdopen(got_read, "rb") as got:
        assert sorted(got.read().split()) == sorted(names)


async def a_ticket_of(edge: QuicEdge, name: str = "localhost") -> SessionTicket:
    async with QuicClient(edge.address, server_name=name) as client:
        await client.connect()
        await client.until(lambda: client.tickets)
        return client.tickets[0]


def test_another_worker_resumes_and_takes_early_data(segment: Segment) -> None:
    async def test() -> None:
        tickets = SegmentTickets(segment.cache)
        async with QuicEdge(tickets=tickets) as one, QuicEdge(lane=1, member=2, tickets=tickets) as other:
            ticket = await a_ticket_of(one)
            client = QuicClient(other.address, session_ticket=ticket)
            stream = client.quic.get_next_available_stream_id()
            async with client:
                client.quic.send_stream_data(stream, b"at once", end_stream=True)
                client.flush()
                assert await client.read(stream) == b"at once"
                await client.connect()
                assert client.completed and client.completed.session_resumed
                assert client.completed.early_data_accepted
                await client.until(lambda: client.tickets)  # the next visit may be as quick
                (application,) = other.applications
                assert application.early == [b"at once"] and application.is_confirmed
                assert not application.link.is_early

    run(test())


def test_early_data_is_taken_once_whatever_is_sent_again(segment: Segment) -> None:
    """What an eavesdropper has recorded of a client is of no use with any worker."""

    async def test() -> None:
        tickets = SegmentTickets(segment.cache)
        async with QuicEdge(tickets=tickets) as one, QuicEdge(lane=1, member=2, tickets=tickets) as other:
            ticket = await a_ticket_of(one)
            for attempt, edge in enumerate((other, one, other)):
                before = len(edge.applications)
                client = QuicClient(edge.address, session_ticket=ticket)
                async with client:
                    stream = client.quic.get_next_available_stream_id()
                    client.quic.send_stream_data(stream, b"pay", end_stream=True)
                    client.flush()
                    await client.connect()
                    assert client.completed and client.completed.session_resumed == (attempt == 0)
                    assert client.completed.early_data_accepted == (attempt == 0)
                    # Refused as early data it comes again, and is not early then.
                    assert await client.read(stream) == b"pay"
                    assert edge.applications[before].early == ([b"pay"] if attempt == 0 else [])

    run(test())


def test_a_session_is_not_resumed_under_another_name(segment: Segment) -> None:
    async def test() -> None:
        tickets = SegmentTickets(segment.cache)
        pairs = [*default_pairs(), pem_pair("other.test")]
        async with QuicEdge(tickets=tickets, pairs=pairs) as edge:
            ticket = await a_ticket_of(edge)
            ticket.server_name = "other.test"  # or aioquic's client would not offer it
            async with QuicClient(edge.address, server_name="other.test", session_ticket=ticket) as client:
                await client.connect()
                assert client.completed and not client.completed.session_resumed
                assert await client.ask(b"hello") == b"hello"

    run(test())


def test_a_session_begun_under_other_terms_is_not_resumed(segment: Segment) -> None:
    async def test() -> None:
        tickets = SegmentTickets(segment.cache)
        async with (
            QuicEdge(tickets=tickets) as wide,
            QuicEdge(tickets=tickets, bounds={"streams": 5}) as narrow,
        ):
            ticket = await a_ticket_of(wide)
            async with QuicClient(narrow.address, session_ticket=ticket) as client:
                await client.connect()
                assert client.completed and not client.completed.session_resumed

    run(test())


def test_visits_at_a_time_are_resumed_each_by_its_own_ticket(segment: Segment) -> None:
    async def test() -> None:
        tickets = SegmentTickets(segment.cache)
        async with QuicEdge(tickets=tickets) as one, QuicEdge(lane=1, member=2, tickets=tickets) as other:
            given = [await a_ticket_of(one) for _ in range(20)]

            async def resumed(ticket: SessionTicket, edge: QuicEdge) -> bool:
                async with QuicClient(edge.address, session_ticket=ticket) as client:
                    await client.connect()
                    assert client.completed is not None
                    return client.completed.session_resumed

            # Each is offered to both workers at once, which are in one process here: see above for two.
            offers = [resumed(ticket, edge) for ticket in given for edge in (one, other)]
            assert sum(await asyncio.gather(*offers)) == len(given)

    run(test())
