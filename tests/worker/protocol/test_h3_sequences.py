"""Any sequence of frames, cut anywhere: the connection goes on or ends by a code of the RFC; nothing is left.

`Session` is driven without QUIC. aioquic's reader of HTTP/3 is asked the same question.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived, StreamReset
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support import h3_raw as raw
from tests.support.h3_link import WrittenDown
from tests.support.h3_raw import control, frame, head, post
from worker.fields import Fields
from worker.protocol.h3 import codes
from worker.protocol.h3.session import Session
from worker.protocol.stream import CANCEL, Stream

LEGAL = {getattr(codes, name) for name in dir(codes) if name.isupper()}
NO_FIELDS = Fields.trusted(b"")
BODY = b"x" * 300_000


class Seen(Stream):
    """A stream that takes what comes and gives it back as read at once."""

    def __init__(self) -> None:
        self.data = 0
        self.whole = False

    def receive(self, data: bytes) -> None:
        assert not self.closed and not self.whole
        self.data += len(data)
        self.consumed(len(data))

    def receive_end(self, trailers: Fields | None) -> None:
        assert not self.closed and not self.whole
        self.whole = True


@dataclass(frozen=True)
class Step:
    """What the client does: bytes on a stream, its end, breaking it off or refusing it."""

    stream: int
    data: bytes = b""
    end: bool = False
    does: str = "send"


requests = st.sampled_from([0, 0, 0, 4, 4, 8, 12])
unis = st.sampled_from([2, 2, 6, 6, 10, 14])
payloads = st.sampled_from([b"", b"x", b"\0", b"\1", b"x" * 1000])
frames = st.one_of(
    st.sampled_from([head(), post(), post(3), head([(b"x", b"y")]), head([*raw.GET, (b"te", b"gzip")])]),
    st.builds(lambda payload: frame(raw.DATA, payload), payloads),
    st.builds(frame, st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 13, raw.GREASE]), payloads),
    st.sampled_from(
        [frame(raw.HEADERS, b"\2\0\x80"), frame(raw.HEADERS, raw.literal([*raw.GET, (b"", b"")]))]
    ),
    st.binary(max_size=8),
)
on_unis = st.sampled_from(
    [control(), control(frame(raw.GOAWAY, b"\0")), control(frame(raw.MAX_PUSH_ID, b"\1")), b"\0", b"\1",
     b"\2", b"\3", b"\2\x3f\xe1\x1f\x41x\1y", b"\3\x80", b"\x21grease", b"\x40", frame(raw.GREASE, b"x")]
)  # fmt: skip
steps = st.one_of(
    st.builds(lambda stream, parts, end: Step(stream, b"".join(parts), end), requests,
              st.lists(frames, min_size=1, max_size=3), st.booleans()),
    st.builds(Step, unis, on_unis, st.sampled_from([False, False, False, True])),
    st.builds(lambda stream: Step(stream, end=True), requests),
    st.builds(lambda stream, does: Step(stream, does=does), st.one_of(requests, unis, st.just(3)),
              st.sampled_from(["reset", "stop"])),
    st.builds(lambda stream: Step(stream, does="acknowledge"), requests),
)  # fmt: skip
answers = st.sampled_from(["whole", "nothing", "head", "cancel", "pieces"])
sequences = st.lists(steps, max_size=12)


def legal(sequence: list[Step]) -> list[Step]:
    """The steps that QUIC lets through: nothing behind a stream's end, nothing on a stream of ours."""
    over: set[int] = set()
    passed = []
    for step in sequence:
        if step.does in ("send", "reset"):
            if step.stream in over or step.stream == 3:
                continue
            if step.end or step.does == "reset":
                over.add(step.stream)
        elif step.does == "stop" and step.stream & 3 == 2:
            continue
        passed.append(step)
    return passed


def answer(stream: Stream, how: str) -> None:
    if how == "whole":
        stream.respond(200, NO_FIELDS, b"Date: x\r\n", len(BODY), BODY, False)
    elif how == "head":
        stream.respond(204, NO_FIELDS, None, -1, None, False)
    elif how == "cancel":
        stream.reset(CANCEL)
    elif how == "pieces":
        stream.interim(103, NO_FIELDS)
        stream.respond(200, NO_FIELDS, None, -1, None, True)
        stream.offer(b"piece")
        stream.finish(Fields.of([(b"x", b"y")]))


def play(sequence: list[Step], how: str, cut: int) -> tuple[WrittenDown, Session[Seen]]:
    link = WrittenDown()
    session = Session(
        link, Seen, streams=100, header_bytes=65536, header_count=128, resets=200, empty_frames=2000
    )
    delivered: dict[int, int] = {}
    for step in sequence:
        if link.closed is not None:
            break
        if step.does == "send":
            pieces = [step.data[at : at + cut] for at in range(0, len(step.data), cut)] or [b""]
            for number, piece in enumerate(pieces, 1):
                if link.closed is None:
                    delivered[step.stream] = delivered.get(step.stream, 0) + len(piece)
                    for stream in session.receive(step.stream, piece, step.end and number == len(pieces)):
                        if not stream.closed:
                            answer(stream, how)
        elif step.does == "reset":
            session.receive_reset(step.stream, 0x10C)
        elif step.does == "stop":
            if step.stream not in link.ended and step.stream not in link.resets and link.closed is None:
                link.resets[step.stream] = 0x10C  # by the engine
            session.receive_stop(step.stream, 0x10C)
        else:
            link.acknowledge(step.stream)
            session.moved()
    assert link.closed is None or link.closed in LEGAL
    check_windows(link, session, delivered)
    return link, session


def check_windows(link: WrittenDown, session: Session[Seen], delivered: dict[int, int]) -> None:
    """What came on a stream that is over was given back; never more than came."""
    for stream, size in delivered.items():
        assert link.read[stream] <= size
        if link.closed is None and stream not in session.streams:
            assert link.read[stream] == size


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(sequences, answers, st.sampled_from([1, 2, 3, 7, 10_000]))
@example([Step(0, frame(raw.HEADERS, b"\2\0\x80")), Step(2, b"\2\x3f\xe1\x1f\x41x\1y")], "whole", 10_000)
@example([Step(0, post(3) + frame(raw.DATA, b"x" * 4)), Step(0, b"x")], "nothing", 10_000)
@example([Step(8, head(), True), Step(0, head(), True), Step(4, does="stop")], "whole", 10_000)
def test_any_sequence_ends_by_a_code_of_the_rfc_or_goes_on(sequence: list[Step], how: str, cut: int) -> None:
    link, session = play(legal(sequence), how, cut)
    streams = list(session.streams.values())
    closed = session.close()
    assert closed == streams and all(stream.closed for stream in streams)
    assert not session.streams and not session._requests and not session._held_back
    assert all(stream.closed for stream in session.take_closed())
    assert link.opened == 3


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(sequences, st.integers(1, 7), st.integers(1, 7))
def test_it_does_not_matter_where_the_bytes_are_cut(sequence: list[Step], cut: int, other: int) -> None:
    sequence = [step for step in legal(sequence) if step.does == "send"]
    one, _ = play(sequence, "nothing", cut)
    two, _ = play(sequence, "nothing", other)
    assert one.closed == two.closed
    if one.closed is None:
        assert one.resets == two.resets


class Deaf:
    """As much of a QUIC connection as aioquic's HTTP/3 asks for."""

    def __init__(self) -> None:
        self.configuration = QuicConfiguration(is_client=False)
        self._quic_logger = None
        self._remote_max_datagram_frame_size = None
        self.closed: int | None = None
        self._next = 3

    def close(self, error_code: int, reason_phrase: str = "") -> None:
        self.closed = int(error_code)

    def get_next_available_stream_id(self, is_unidirectional: bool = False) -> int:
        self._next += 4
        return self._next - 4

    send_stream_data: Callable[..., None] = staticmethod(lambda *_: None)
    reset_stream: Callable[..., None] = staticmethod(lambda *_: None)


def by_aioquic(sequence: list[Step]) -> int | None:
    """The code aioquic ends the connection with."""
    quic = Deaf()
    theirs = H3Connection(quic)  # type: ignore[arg-type]
    for step in sequence:
        if step.does == "send":
            theirs.handle_event(StreamDataReceived(step.data, step.end, step.stream))
        elif step.does == "reset":
            theirs.handle_event(StreamReset(0x10C, step.stream))
    return quic.closed


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(sequences)
def test_the_connection_ends_where_it_ends_for_aioquic(sequence: list[Step]) -> None:
    sequence = [step for step in legal(sequence) if step.does in ("send", "reset")]
    theirs = by_aioquic(sequence)
    link, _ = play(sequence, "nothing", 10_000)
    if theirs == codes.MESSAGE_ERROR:  # malformed is an error of the stream (RFC 9114 4.1.2)
        assert link.closed is not None or codes.MESSAGE_ERROR in link.resets.values()
    elif theirs is not None and codes.MESSAGE_ERROR not in link.resets.values():
        assert link.closed is not None  # by another code, where two rules are broken at once
