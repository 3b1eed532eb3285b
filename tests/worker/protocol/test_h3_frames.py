"""What a client of HTTP/3 may send on which stream, frame by frame, and what ends its connection."""

from dataclasses import dataclass

import pytest

from tests.support import h3_raw as raw
from tests.support.h1_edge import run, text
from tests.support.h3_client import H3Client
from tests.support.h3_edge import H3Edge
from tests.support.h3_raw import control, frame, head, post, settings, varint
from worker.context import Context
from worker.message import Response
from worker.protocol.h3 import codes
from worker.protocol.h3.frames import FrameReader, Manner, read_varint
from worker.protocol.h3.frames import varint as our_varint
from worker.protocol.h3.opened import Opened
from worker.protocol.h3.qpack import has_more_lines


async def upload(ctx: Context) -> Response:
    """Answers once the request's body is whole."""
    size = 0
    while ctx.request.body is not None and (piece := await ctx.request.body.read()):
        size += len(piece)
    return text(ctx, str(size).encode())


@dataclass(frozen=True)
class Breach:
    """Bytes on a request stream or on unidirectional ones; the code that they end the connection with."""

    name: str
    code: int
    request: bytes = b""
    uni: tuple[bytes, ...] = (control(),)
    end: bool = False


BREACHES = [
    Breach("DATA before HEADERS", codes.FRAME_UNEXPECTED, frame(raw.DATA, b"x")),
    Breach("DATA behind trailers", codes.FRAME_UNEXPECTED, post() + head([(b"x", b"y")]) + frame(raw.DATA)),
    Breach("HEADERS behind trailers", codes.FRAME_UNEXPECTED, post() + 2 * head([(b"x", b"y")])),
    Breach("SETTINGS on a request stream", codes.FRAME_UNEXPECTED, settings()),
    Breach("GOAWAY on a request stream", codes.FRAME_UNEXPECTED, frame(raw.GOAWAY, b"\0")),
    Breach("MAX_PUSH_ID on a request stream", codes.FRAME_UNEXPECTED, frame(raw.MAX_PUSH_ID, b"\0")),
    Breach("CANCEL_PUSH on a request stream", codes.FRAME_UNEXPECTED, frame(raw.CANCEL_PUSH, b"\0")),
    Breach("PUSH_PROMISE from a client", codes.FRAME_UNEXPECTED, frame(raw.PUSH_PROMISE, b"\0")),
    *(
        Breach(f"frame {kind} of HTTP/2 on a request stream", codes.FRAME_UNEXPECTED, frame(kind, b"x"))
        for kind in (2, 6, 8, 9)
    ),
    Breach("half a frame", codes.FRAME_ERROR, post() + frame(raw.DATA, b"xyz")[:-1], end=True),
    Breach("half a frame's type", codes.FRAME_ERROR, post() + b"\x40", end=True),
    Breach("half a head", codes.FRAME_ERROR, head()[:-1], end=True),
    Breach("half an unknown frame", codes.FRAME_ERROR, post() + frame(raw.GREASE, b"xyz")[:-1], end=True),
    Breach("a head of a megabyte", codes.EXCESSIVE_LOAD, varint(raw.HEADERS) + varint(1 << 20)),
    Breach("garbage for QPACK", codes.QPACK_DECOMPRESSION_FAILED, frame(raw.HEADERS, b"\xff" * 8)),
    Breach("a section without a prefix", codes.QPACK_DECOMPRESSION_FAILED, frame(raw.HEADERS)),
    Breach(
        "a section that refers to no entry", codes.QPACK_DECOMPRESSION_FAILED, frame(raw.HEADERS, b"\0\0\xbf")
    ),
    Breach("another frame before SETTINGS", codes.MISSING_SETTINGS, uni=(b"\0" + frame(raw.GOAWAY, b"\0"),)),
    Breach("an unknown frame before SETTINGS", codes.MISSING_SETTINGS, uni=(b"\0" + frame(raw.GREASE),)),
    Breach("SETTINGS twice", codes.FRAME_UNEXPECTED, uni=(control(settings()),)),
    Breach("DATA on the control stream", codes.FRAME_UNEXPECTED, uni=(control(frame(raw.DATA)),)),
    Breach("HEADERS on the control stream", codes.FRAME_UNEXPECTED, uni=(control(head()),)),
    Breach("PUSH_PROMISE on the control stream", codes.FRAME_UNEXPECTED, uni=(control(frame(5, b"\0")),)),
    *(
        Breach(f"frame {kind} of HTTP/2 there", codes.FRAME_UNEXPECTED, uni=(control(frame(kind)),))
        for kind in (2, 6, 8, 9)
    ),
    Breach("DATA before SETTINGS", codes.MISSING_SETTINGS, uni=(b"\0" + frame(0),)),
    *(
        Breach(f"setting {name} of HTTP/2", codes.SETTINGS_ERROR, uni=(b"\0" + settings((name, 1)),))
        for name in (0, 2, 3, 4, 5)
    ),
    Breach("a setting twice", codes.SETTINGS_ERROR, uni=(b"\0" + settings((0x99, 1), (0x99, 1)),)),
    Breach("ENABLE_CONNECT_PROTOCOL of 2", codes.SETTINGS_ERROR, uni=(b"\0" + settings((8, 2)),)),
    Breach("H3_DATAGRAM of 2", codes.SETTINGS_ERROR, uni=(b"\0" + settings((0x33, 2)),)),
    Breach("SETTINGS that end within a setting", codes.FRAME_ERROR, uni=(b"\0" + frame(4, b"\x06"),)),
    Breach("SETTINGS of 100 KB", codes.EXCESSIVE_LOAD, uni=(b"\0" + varint(4) + varint(100_000),)),
    Breach("GOAWAY without an id", codes.FRAME_ERROR, uni=(control(frame(raw.GOAWAY)),)),
    Breach("GOAWAY with more than an id", codes.FRAME_ERROR, uni=(control(frame(raw.GOAWAY, b"\0\0")),)),
    Breach("GOAWAY that goes up", codes.ID_ERROR, uni=(control(frame(7, b"\1"), frame(7, b"\2")),)),
    Breach("MAX_PUSH_ID that goes down", codes.ID_ERROR, uni=(control(frame(13, b"\2"), frame(13, b"\1")),)),
    Breach("CANCEL_PUSH of no push", codes.ID_ERROR, uni=(control(frame(raw.CANCEL_PUSH, b"\0")),)),
    Breach("a push stream", codes.STREAM_CREATION_ERROR, uni=(control(), varint(raw.PUSH) + b"\0")),
    Breach("a second control stream", codes.STREAM_CREATION_ERROR, uni=(control(), control())),
    Breach("a second encoder stream", codes.STREAM_CREATION_ERROR, uni=(control(), b"\2", b"\2")),
    Breach("a second decoder stream", codes.STREAM_CREATION_ERROR, uni=(control(), b"\3", b"\3")),
    Breach("a control stream that ends", codes.CLOSED_CRITICAL_STREAM, uni=(control(),), end=True),
    Breach("an encoder stream that ends", codes.CLOSED_CRITICAL_STREAM, uni=(control(), b"\2"), end=True),
    Breach("a decoder stream that ends", codes.CLOSED_CRITICAL_STREAM, uni=(control(), b"\3"), end=True),
    Breach("a table too large", codes.QPACK_ENCODER_STREAM_ERROR, uni=(control(), b"\2\x3f\xff\xff\x7f")),
    Breach("garbage from the decoder", codes.QPACK_DECODER_STREAM_ERROR, uni=(control(), b"\3\x3f\x7f")),
]  # fmt: skip


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: breach.name)
@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
def test_what_breaks_the_protocol_ends_the_connection(breach: Breach, bytewise: bool) -> None:
    async def test() -> None:
        async with (
            H3Edge(lambda ctx: None, upload) as edge,
            await edge.client(speaks=False) as client,
        ):
            for data in breach.uni:
                is_last = data is breach.uni[-1] and not breach.request
                send_all(client, data, bytewise, breach.end and is_last)
            if breach.request:
                send_all(client, breach.request, bytewise, breach.end, is_request=True)
            await client.until_closed()
            assert client.closed_by == breach.code
            await edge.until(lambda: not edge.server.connections and not edge.tasks)

    run(test())


def send_all(client: H3Client, data: bytes, bytewise: bool, end: bool, *, is_request: bool = False) -> None:
    """Send on a new stream; no matter whether the edge still listens."""
    stream = client.quic.get_next_available_stream_id(is_unidirectional=not is_request)
    for at in range(0, len(data), 1 if bytewise else len(data)):
        piece = data[at:] if not bytewise else data[at : at + 1]
        client.quic.send_stream_data(stream, piece, end and at + len(piece) == len(data))
        client.flush()


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("ours", [False, True], ids=["theirs", "ours"])
def test_nobody_may_break_off_a_critical_stream(which: int, ours: bool) -> None:
    async def test() -> None:
        async with H3Edge() as edge, await edge.client() as client:
            await client.ask()
            if ours:
                client.quic.stop_stream(3 + 4 * which, codes.REQUEST_CANCELLED)
            else:
                client.quic.reset_stream(2 + 4 * which, codes.REQUEST_CANCELLED)
            client.flush()
            await client.until_closed()
            assert client.closed_by == codes.CLOSED_CRITICAL_STREAM

    run(test())


def test_what_is_unknown_is_ignored_wherever_it_may_come() -> None:
    grease = frame(raw.GREASE, b"anything") + frame(raw.GREASE + 31 * 7) + frame(0xF0700, b"\0u=1")

    async def test() -> None:
        async with H3Edge(lambda ctx: None, upload) as edge, await edge.client(speaks=False) as client:
            client.open_uni(varint(raw.GREASE) + b"what is this")
            client.open_uni(b"\0" + settings((raw.GREASE, 1), (7, 1), (1, 0), (6, 9999)) + grease)
            client.open_uni(b"\x40")  # half a type
            reset = client.open_uni(b"\x40")
            client.quic.reset_stream(reset, 0)
            client.send(client.open_uni(b"\x40"), b"", end=True)
            data = b"".join(
                (grease, post(), grease, frame(raw.DATA, b"abc"), grease, frame(raw.DATA, b"de"),
                 grease, head([(b"x", b"y")]), grease)
            )  # fmt: skip
            for _ in range(3):
                stream = client.open_request(data, end=True)
                await client.until(lambda stream=stream: client.received(stream).endswith(b"5"))
            await edge.until(lambda: len(edge.finished) == 3)  # the client has the last piece before that
            assert not client.closed
            assert [ctx.bytes_in for ctx in edge.finished] == [5, 5, 5]

    run(test())


def test_our_control_stream_begins_with_settings() -> None:
    async def test() -> None:
        async with H3Edge() as edge, await edge.client() as client:
            await client.ask()
            assert client.h3 is not None
            assert client.h3.received_settings == {1: 4096, 6: edge.limits.header_bytes, 7: 16, 8: 1}

    run(test())


def test_a_stream_that_ends_without_a_request_is_reset() -> None:
    async def test() -> None:
        async with H3Edge() as edge, await edge.client() as client:
            for data in (b"", frame(raw.GREASE, b"x")):
                answer = await client.answer(client.open_request(data, end=True))
                assert answer.reset == codes.REQUEST_INCOMPLETE
            assert (await client.ask()).status == 200

    run(test())


def test_a_blocked_request_waits_for_its_table_and_is_then_answered() -> None:
    async def test() -> None:
        async with H3Edge(lambda ctx: None, upload) as edge, await edge.client(speaks=False) as client:
            client.open_uni(control())
            encoder = client.open_uni(b"\2")
            # Needs one entry: x: y, which comes later.
            get = raw.section([(b":method", b"POST"), *raw.GET[1:]])[2:]
            section = b"\2\0" + get + b"\x80"
            data = frame(raw.HEADERS, section) + frame(raw.DATA, b"abc") + head([(b"t", b"u")])
            stream = client.open_request(data, end=True)
            await edge.until(lambda: edge.server.active)
            assert edge.finished == []
            client.send(encoder, b"\x3f\xe1\x1f" + b"\x41x\1y")
            await client.until(lambda: client.received(stream).endswith(b"3"))
            await edge.until(lambda: edge.finished)
            assert edge.finished[0].request.fields.get(b"x") == b"y"

    run(test())


def test_a_cancelled_request_that_is_blocked_leaves_nothing_behind() -> None:
    async def test() -> None:
        async with H3Edge() as edge, await edge.client(speaks=False) as client:
            client.open_uni(control())
            for _ in range(50):  # more than may be blocked at a time
                stream = client.open_request(frame(raw.HEADERS, b"\2\0\x80"))
                await edge.until(lambda: edge.server.active)
                client.reset(stream)
                await edge.until(lambda: not edge.server.active)
            assert not client.closed
            for _ in range(17):
                client.open_request(frame(raw.HEADERS, b"\2\0\x80"))
            await client.until_closed()
            assert client.closed_by == codes.QPACK_DECOMPRESSION_FAILED

    run(test())


NUMBERS = [0, 1, 63, 64, 16383, 16384, 2**30 - 1, 2**30, 2**62 - 1]


@pytest.mark.parametrize("number", NUMBERS)
def test_integers_are_written_and_read_in_the_fewest_bytes(number: int) -> None:
    data = our_varint(number)
    assert data == varint(number)
    assert read_varint(b"x" + data, 1) == (number, 1 + len(data))
    assert all(read_varint(data[:size], 0) is None for size in range(len(data)))


class Any_(FrameReader):
    """DATA in pieces, HEADERS whole, others skipped."""

    def judge(self, kind: int, size: int) -> Manner:
        return {0: Manner.PIECES, 1: Manner.WHOLE}.get(kind, Manner.SKIPPED)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_frames_are_cut_the_same_however_they_come(step: int) -> None:
    data = (
        frame(0, b"abc") + frame(9, b"skip") + frame(1, b"head") + frame(0) + frame(1) + frame(0, b"x" * 99)
    )
    reader, found = Any_(), {0: b"", 1: b""}
    heads = 0
    for at in range(0, len(data), step):
        reader.push(data[at : at + step])
        while (one := reader.take()) is not None:
            found[one[0]] += one[1]
            heads += one[0] == 1
    assert found == {0: b"abc" + b"x" * 99, 1: b"head"}
    assert heads == 2 and reader.is_between
    reader.push(b"\x00\x05ab")
    assert reader.take() == (0, b"ab") and not reader.is_between


def test_streams_are_new_once_in_whatever_order_they_come() -> None:
    opened = Opened(0)
    assert [opened.is_new(one) for one in (8, 0, 0, 8, 4, 4, 12)] == [
        True, True, False, False, True, False, True
    ]  # fmt: skip
    assert opened.next == 16


def test_fields_of_a_section_are_counted_without_unfolding_it() -> None:
    fields = [(b"name-%d" % number, b"value" * number) for number in range(40)] + raw.GET * 3
    section = raw.section(fields)
    assert has_more_lines(section, 51) and not has_more_lines(section, 52)
    dynamic = b"\x02\x00" + b"\x80" * 10 + b"\x10" * 10 + b"\x00\x01a" * 10 + b"\x40\x01a" * 10
    assert has_more_lines(dynamic, 39) and not has_more_lines(dynamic, 40)
    assert not has_more_lines(b"", 0) and not has_more_lines(b"\xff" * 30, 1)
