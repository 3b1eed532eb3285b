"""Floods of HTTP/2 frames: what a hostile client sends over and over, part by part.

`MANY` parts are more than any limit lets pass on one connection.
"""

import struct
from collections.abc import Callable, Iterator

from tests.support import h2_raw as raw
from tests.support.h2_raw import Head, frame, get, reset, settings, window_update

MANY = 3000

Flood = Callable[[Head], Iterator[bytes]]


def streams() -> Iterator[int]:
    return iter(range(1, 2 * MANY, 2))


def rapid_reset(fields: Head) -> Iterator[bytes]:
    """CVE-2023-44487."""
    for stream in streams():
        yield get(stream, fields=fields) + reset(stream)


# Six ways to have a stream reset by the server, whose work goes on (MadeYouReset, CVE-2025-8671).


def made_to_reset_by_window_overflow(fields: Head) -> Iterator[bytes]:
    for stream in streams():
        yield get(stream, fields=fields) + window_update(stream, 2**31 - 1)


def made_to_reset_by_empty_window_update(fields: Head) -> Iterator[bytes]:
    for stream in streams():
        yield get(stream, fields=fields) + window_update(stream, 0)


def made_to_reset_by_data_after_the_end(fields: Head) -> Iterator[bytes]:
    for stream in streams():
        yield get(stream, fields=fields) + frame(raw.DATA, 0, stream, b"x")


def made_to_reset_by_head_after_the_end(fields: Head) -> Iterator[bytes]:
    for stream in streams():
        yield get(stream, fields=fields) + get(stream, fields=fields)


def made_to_reset_by_priority_of_a_wrong_size(fields: Head) -> Iterator[bytes]:
    for stream in streams():
        yield get(stream, fields=fields) + frame(raw.PRIORITY, 0, stream, b"\0\0\0\0")


def made_to_reset_by_dependence_on_itself(fields: Head) -> Iterator[bytes]:
    for stream in streams():
        yield get(stream, fields=fields) + frame(raw.PRIORITY, 0, stream, struct.pack(">IB", stream, 16))


def made_to_reset_by_malformed_heads(fields: Head) -> Iterator[bytes]:
    block = raw.head([*fields, ("connection", "close")])
    for stream in streams():
        yield frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, stream, block)


def made_to_reset_by_a_belied_length(fields: Head) -> Iterator[bytes]:
    block = raw.head([*fields, ("content-length", "5")])
    for stream in streams():
        yield frame(raw.HEADERS, raw.END_HEADERS, stream, block) + frame(
            raw.DATA, raw.END_STREAM, stream, b"x"
        )


def streams_above_the_limit(fields: Head) -> Iterator[bytes]:
    """Requests whose bodies never come, so that each one too many is refused."""
    for stream in streams():
        yield get(stream, end=False, fields=fields)


# Header sections.


def continuations(fields: Head) -> Iterator[bytes]:
    """CVE-2024-27316 and its like."""
    yield frame(raw.HEADERS, raw.END_STREAM, 1, raw.head(fields))
    block = raw.head([("x", "a" * 100)])
    for _ in range(MANY):
        yield frame(raw.CONTINUATION, 0, 1, block)


def empty_continuations(fields: Head) -> Iterator[bytes]:
    yield frame(raw.HEADERS, raw.END_STREAM, 1, raw.head(fields))
    for _ in range(MANY):
        yield frame(raw.CONTINUATION, 0, 1)


def empty_heads(fields: Head) -> Iterator[bytes]:
    """Header sections without a field."""
    for stream in streams():
        yield frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, stream)


# Frames with neither request nor data.


def pings(fields: Head) -> Iterator[bytes]:
    for _ in range(MANY):
        yield frame(raw.PING, payload=b"12345678")


def ping_answers(fields: Head) -> Iterator[bytes]:
    for _ in range(MANY):
        yield frame(raw.PING, raw.ACK, payload=b"12345678")


def settings_frames(fields: Head) -> Iterator[bytes]:
    for _ in range(MANY):
        yield settings()


def settings_that_move_all_windows(fields: Head) -> Iterator[bytes]:
    for stream in range(1, 100, 2):
        yield get(stream, end=False, fields=fields)
    for number in range(MANY):
        yield settings(*((4, 65535 + number + at) for at in range(100)))


def settings_answers(fields: Head) -> Iterator[bytes]:
    for _ in range(MANY):
        yield frame(raw.SETTINGS, raw.ACK)


def empty_data(fields: Head) -> Iterator[bytes]:
    yield get(1, end=False, fields=fields)
    for _ in range(MANY):
        yield frame(raw.DATA, 0, 1)


def data_of_padding(fields: Head) -> Iterator[bytes]:
    yield get(1, end=False, fields=fields)
    for _ in range(MANY):
        yield frame(raw.DATA, raw.PADDED, 1, b"\x08" + bytes(8))


def window_updates(fields: Head) -> Iterator[bytes]:
    for _ in range(MANY):
        yield window_update(0, 1)


def priorities(fields: Head) -> Iterator[bytes]:
    for stream in streams():
        yield frame(raw.PRIORITY, 0, stream, b"\0\0\0\0\x10")


def priority_updates(fields: Head) -> Iterator[bytes]:
    """Of RFC 9218, for streams to come."""
    for stream in streams():
        yield frame(raw.PRIORITY_UPDATE, 0, 0, struct.pack(">I", stream) + b"u=1")


def unknown_frames(fields: Head) -> Iterator[bytes]:
    for _ in range(MANY):
        yield frame(0xF0, 0, 0, b"x" * 10)


def data_on_a_closed_stream(fields: Head) -> Iterator[bytes]:
    yield get(1, end=False, fields=fields) + reset(1)
    for _ in range(MANY):
        yield frame(raw.DATA, 0, 1, b"x" * 10)


def resets_of_a_closed_stream(fields: Head) -> Iterator[bytes]:
    yield get(1, fields=fields)
    for _ in range(MANY):
        yield reset(1)


FLOODS: tuple[Flood, ...] = (
    rapid_reset, made_to_reset_by_window_overflow, made_to_reset_by_empty_window_update,
    made_to_reset_by_data_after_the_end, made_to_reset_by_head_after_the_end,
    made_to_reset_by_priority_of_a_wrong_size, made_to_reset_by_dependence_on_itself,
    made_to_reset_by_malformed_heads, made_to_reset_by_a_belied_length, streams_above_the_limit,
    continuations, empty_continuations, empty_heads, pings, ping_answers, settings_frames,
    settings_that_move_all_windows, settings_answers, empty_data, data_of_padding, window_updates, priorities,
    priority_updates, unknown_frames, data_on_a_closed_stream, resets_of_a_closed_stream,
)  # fmt: skip
