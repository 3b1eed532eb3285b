"""How much of an answer may be on its way, by the bookkeeping alone."""

from tests.support.h3_link import WrittenDown
from worker.protocol.h3.codes import EXCESSIVE_LOAD, REQUEST_CANCELLED
from worker.protocol.h3.outlet import LEAST_BYTES, MANY, STREAM_BYTES, TOTAL_BYTES, Outlet
from worker.protocol.h3.session import OWN_STREAM_BYTES, Session
from worker.protocol.stream import Stream

SECOND = 10**9


def give(outlet: Outlet, stream: int) -> int:
    """Give as much as may be given; how much that was."""
    size = max(0, outlet.room(stream))
    outlet.give(stream, bytes(size), False)
    return size


def test_a_stream_may_have_its_share_and_all_together_theirs_and_each_the_least() -> None:
    outlet = Outlet(WrittenDown())
    given = [give(outlet, 4 * number) for number in range(10)]
    shares = TOTAL_BYTES // STREAM_BYTES
    assert given == [STREAM_BYTES] * shares + [LEAST_BYTES] * (10 - shares)
    assert all(give(outlet, 4 * number) == 0 for number in range(10))


def test_what_is_acknowledged_makes_room_once_the_link_has_moved() -> None:
    link = WrittenDown()
    outlet = Outlet(link)
    for number in range(100):
        assert give(outlet, 4 * number) == STREAM_BYTES
        link.acknowledge(4 * number)
        outlet.moved()
    assert outlet.is_empty


def test_streams_that_are_done_are_forgotten_by_and_by() -> None:
    link = WrittenDown()
    outlet = Outlet(link)
    for number in range(10 * MANY):
        outlet.give(4 * number, b"x", True)
        link.acknowledge(4 * number)
        assert len(outlet._seen) <= MANY


def test_what_nobody_takes_is_reset_unless_its_request_is_in_hand() -> None:
    link = WrittenDown()
    outlet = Outlet(link)
    for stream in (0, 4, 8):
        outlet.give(stream, b"x" * 1000, True)
    outlet.sweep(1 * SECOND, 60 * SECOND, {4})
    outlet.sweep(60 * SECOND, 60 * SECOND, {4})
    assert link.resets == {}
    link.acknowledged[8] = 1  # it takes a little
    outlet.sweep(62 * SECOND, 60 * SECOND, {4})
    assert link.resets == {0: REQUEST_CANCELLED}
    assert not outlet.is_empty


def test_a_client_that_lets_us_say_nothing_on_our_own_streams_is_left() -> None:
    link = WrittenDown()
    session = Session(
        link, Stream, streams=100, header_bytes=65536, header_count=128, resets=200, empty_frames=2000
    )
    session.sweep(1 * SECOND, 60 * SECOND)
    assert link.closed is None
    link.send(11, bytes(OWN_STREAM_BYTES), False)
    session.sweep(2 * SECOND, 60 * SECOND)
    assert link.closed == EXCESSIVE_LOAD
