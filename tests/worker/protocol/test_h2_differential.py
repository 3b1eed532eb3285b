"""Sequences of frames, judged by ours and by the state machine of the `h2` package: who ends the connection?

`Session` is driven without a socket. Where the two differ, RFC 9113 must say why.
"""

from dataclasses import dataclass

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamReset
from h2.exceptions import ProtocolError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support import h2_raw as raw
from tests.support.h2_raw import frame, get, reset, window_update
from worker.fields import Fields
from worker.protocol.h2.session import Session
from worker.protocol.stream import Stream

NO_FIELDS = Fields.trusted(b"")


class Seen(Stream):
    """A stream that writes down what came."""

    def __init__(self, owner: object) -> None:
        self.data = b""
        self.whole = False

    def receive(self, data: bytes) -> None:
        self.data += data

    def receive_end(self, trailers: Fields | None) -> None:
        self.whole = True


ids = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 7, 2])
heads = st.builds(lambda stream, end: get(stream, end=end), ids, st.booleans())
data = st.builds(
    lambda stream, end, size: frame(raw.DATA, raw.END_STREAM if end else 0, stream, b"x" * size),
    ids, st.booleans(), st.sampled_from([0, 1, 1000]),
)  # fmt: skip
trailers = st.builds(
    lambda stream: frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, stream, raw.head([("x", "y")])), ids
)
others = st.one_of(
    st.builds(reset, ids),
    st.builds(window_update, ids, st.sampled_from([0, 1, 1000, 2**31 - 1])),
    st.builds(lambda size: frame(raw.PING, payload=b"x" * size), st.sampled_from([8, 8, 7])),
    st.builds(
        lambda *pairs: raw.settings(*pairs),
        st.sampled_from([(4, 1000), (4, 2**31), (5, 100), (1, 0), (77, 1)]),
    ),
    st.builds(lambda stream: frame(raw.CONTINUATION, raw.END_HEADERS, stream, b""), ids),
    st.just(frame(0xFA, 0, 1, b"grease")),
    st.just(frame(raw.SETTINGS, raw.ACK, 0, b"x")),
)
sequences = st.lists(st.one_of(heads, data, trailers, others), max_size=12)


@dataclass
class Verdict:
    """Was the connection ended; which streams' requests were taken; which streams were reset, by whomever."""

    ended: bool
    taken: set[int]
    reset: set[int]


def by_h2(frames: list[bytes]) -> Verdict:
    peer = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    peer.initiate_connection()
    verdict = Verdict(False, set(), set())
    try:
        for one in [raw.PREFACE + raw.settings(), *frames]:
            for event in peer.receive_data(one):
                if isinstance(event, RequestReceived):
                    verdict.taken.add(event.stream_id)
                elif isinstance(event, StreamReset):
                    verdict.reset.add(event.stream_id)
    except ProtocolError:
        verdict.ended = True
    return verdict


def by_ours(frames: list[bytes]) -> Verdict:
    session: Session[Seen] = Session(
        None, Seen, streams=100, header_bytes=65536, header_count=128, resets=200, empty_frames=2000
    )
    verdict = Verdict(False, set(), set())
    out = b""
    for one in [raw.PREFACE + raw.settings(), *frames]:
        for stream in session.receive(one):
            verdict.taken.add(stream.id)
        while piece := session.take():
            out += piece
    at = 0
    while at < len(out):
        size = int.from_bytes(out[at : at + 3], "big")
        if out[at + 3] == raw.GOAWAY:
            verdict.ended = True
        elif out[at + 3] == raw.RST_STREAM:
            verdict.reset.add(int.from_bytes(out[at + 5 : at + 9], "big"))
        at += 9 + size
    assert at == len(out)  # whole frames only
    assert session.is_over is verdict.ended
    assert all(stream.closed for stream in session.close())
    return verdict


def names_an_idle_stream(frames: list[bytes]) -> bool:
    """Is there a RST_STREAM for a stream never opened? `h2` does not mind; RFC 9113 6.4 does."""
    newest = 0
    for one in frames:
        kind, stream = one[3], int.from_bytes(one[5:9], "big")
        if kind == raw.HEADERS:
            newest = max(newest, stream)
        elif kind == raw.RST_STREAM and (stream > newest or stream % 2 == 0):
            return True
    return False


def names_a_closed_stream(frames: list[bytes]) -> bool:
    """Is there a frame for a stream passed over (RFC 9113 5.1.1), or reset before by the client?

    What may come for a closed stream, the two libraries see differently; neither takes a request from it.
    """
    opened: list[int] = []
    reset: set[int] = set()
    for one in frames:
        kind, stream = one[3], int.from_bytes(one[5:9], "big")
        if stream in reset or (stream % 2 and opened and stream < max(opened) and stream not in opened):
            return True
        if kind == raw.RST_STREAM:
            reset.add(stream)
        if kind == raw.HEADERS and stream % 2:
            opened.append(stream)
    return False


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(sequences)
@example([get(3), get(1)])
@example([get(1, end=False), reset(1), window_update(1, 0)])
def test_ours_ends_the_connection_where_the_state_machine_of_h2_does(frames: list[bytes]) -> None:
    theirs, ours = by_h2(frames), by_ours(frames)
    if theirs.ended and not ours.ended:
        # Malformed is an error of the stream (RFC 9113 8.1.1), to `h2` of the connection.
        assert ours.reset or names_a_closed_stream(frames)
    elif ours.ended and not theirs.ended:
        # An error of a stream may be treated as one of the connection (RFC 9113 5.4.2).
        assert theirs.reset or names_an_idle_stream(frames) or names_a_closed_stream(frames)
    elif not ours.ended:
        assert ours.taken == theirs.taken


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.binary(min_size=0, max_size=64), max_size=8), st.integers(0, 255), st.integers(0, 2**31 - 1)
)
def test_no_bytes_do_more_than_end_the_connection(pieces: list[bytes], kind: int, stream: int) -> None:
    by_ours([frame(kind, piece[0] if piece else 0, stream, piece) for piece in pieces])
    by_ours([b"".join(pieces)])
