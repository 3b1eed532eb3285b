"""Windows open by what was read, in steps, and never beyond what may be held."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.protocol.quic.windows import Windows

STREAM, CONNECTION = 1000, 4000


@pytest.fixture
def windows() -> Windows:
    return Windows(STREAM, CONNECTION)


def test_what_came_opens_nothing(windows: Windows) -> None:
    assert windows.deliver(0, 1000, False) == (True, None)
    assert windows.limit == CONNECTION


def test_what_was_read_opens_the_stream_in_steps_of_half_its_window(windows: Windows) -> None:
    windows.deliver(0, 1000, False)
    assert windows.consume(0, 499) is None
    assert windows.consume(0, 1) == 1500
    assert windows.consume(0, 499) is None
    assert windows.consume(0, 1) == 2000


def test_what_was_read_opens_the_connection_in_steps_of_a_quarter(windows: Windows) -> None:
    windows.deliver(0, 1000, False)
    windows.consume(0, 999)
    assert windows.limit == CONNECTION
    windows.consume(0, 1)
    assert windows.limit == CONNECTION + 1000


def test_nobody_can_read_more_than_came(windows: Windows) -> None:
    windows.deliver(0, 10, False)
    assert windows.consume(0, 100_000) is None
    assert windows.consume(4, 100_000) is None
    assert windows.limit == CONNECTION


def test_a_stream_that_ended_gets_no_new_limit_but_counts_for_the_connection(windows: Windows) -> None:
    windows.deliver(0, 1000, True)
    assert windows.consume(0, 1000) is None
    assert windows.limit == CONNECTION + 1000
    assert windows.consume(0, 1000) is None
    assert windows.limit == CONNECTION + 1000


def test_a_wide_stream_may_have_more_on_the_way(windows: Windows) -> None:
    windows.deliver(0, 600, False)
    assert windows.widen(0, 3000) == 3000
    assert windows.consume(0, 600) is None
    assert windows.widen(0, 3000) is None
    assert windows.widen(0, 10) is None
    assert windows.widen(4, 3000) is None


def test_what_nobody_wants_is_given_back_at_once(windows: Windows) -> None:
    windows.deliver(0, 600, False)
    assert windows.abandon(0) == 1600
    assert windows.deliver(0, 400, False) == (False, None)
    assert windows.deliver(0, 100, False) == (False, 2100)
    assert windows.limit == CONNECTION + 1000
    assert windows.consume(0, 1000) is None
    assert windows.limit == CONNECTION + 1000


def test_what_a_broken_off_stream_counted_for_is_given_back_whole(windows: Windows) -> None:
    windows.deliver(0, 600, False)
    windows.consume(0, 100)
    assert windows.cut(0, 1000)
    assert windows.limit == CONNECTION + 1000
    assert windows.consume(0, 500) is None
    assert windows.limit == CONNECTION + 1000


def test_the_end_of_a_stream_nobody_wants_is_nobodys_business(windows: Windows) -> None:
    windows.deliver(0, 1, False)
    windows.abandon(0)
    assert not windows.cut(0, 1000)


EVENTS = st.tuples(
    st.sampled_from(("deliver", "end", "consume", "abandon", "cut", "widen")),
    st.sampled_from((0, 4, 8)),
    st.integers(0, 700),
)


@given(st.lists(EVENTS, max_size=60))
def test_what_is_held_never_exceeds_the_windows(happened: list[tuple[str, int, int]]) -> None:
    """Against a client that sends all it may, and a plain count of what was delivered and read."""
    windows = Windows(STREAM, CONNECTION)
    delivered: dict[int, int] = {}
    read: dict[int, int] = {}
    over: set[int] = set()
    unwanted: set[int] = set()
    for kind, stream, size in happened:
        had, got = delivered.get(stream, 0), read.get(stream, 0)
        if kind in ("deliver", "end") and stream not in over:
            if sum(delivered.values()) + size > windows.limit:
                continue
            windows.deliver(stream, size, kind == "end")
            delivered[stream] = had + size
            if kind == "end":
                over.add(stream)
        elif kind == "consume":
            windows.consume(stream, size)
            read[stream] = min(had, got + size)
        elif kind == "abandon" and stream in delivered:
            windows.abandon(stream)
            unwanted.add(stream)
        elif kind == "cut" and stream not in over:
            windows.cut(stream, had)
            over.add(stream)
            unwanted.add(stream)
        elif kind == "widen":
            windows.widen(stream, size + STREAM)
        for gone in unwanted:
            read[gone] = delivered.get(gone, 0)
        held = sum(delivered.values()) - sum(read.values())
        free = windows.limit - sum(delivered.values())
        assert held + free <= CONNECTION
        assert held + free > CONNECTION * 3 // 4
