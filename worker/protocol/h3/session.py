"""One connection's HTTP/3 framing (RFC 9114): streams in, requests out; answers in, bytes of streams out.

Knows a `Link` in place of QUIC, no clock and no pipeline. One reader judges every header section, the one
of `worker.fields`; what it refuses is reset and never seen above.
"""

from collections.abc import Callable
from typing import Generic

from worker.fields import CONTENT_LENGTH, Fields, Section
from worker.protocol.h3 import codes
from worker.protocol.h3.codes import H3Error
from worker.protocol.h3.control import ControlReader
from worker.protocol.h3.frames import DATA, GOAWAY, HEADERS, SETTINGS, frame, read_varint, varint
from worker.protocol.h3.opened import Opened
from worker.protocol.h3.outlet import LEAST_BYTES, Outlet
from worker.protocol.h3.qpack import Blocked, Pairs, Qpack, pairs_of
from worker.protocol.h3.request_reader import RequestReader
from worker.protocol.h3.settings import QPACK_BLOCKED_STREAMS, QPACK_MAX_TABLE_CAPACITY, our_settings
from worker.protocol.quic.link import Link
from worker.protocol.stream import CANCEL, INTERNAL_ERROR, NO_ERROR, Framing, Made, Stream

CONTROL, PUSH, ENCODER, DECODER = 0, 1, 2, 3  # types of unidirectional streams (RFC 9114 6.2, RFC 9204 4.2)
ALL_REQUESTS = (1 << 62) - 4  # in a GOAWAY: whatever is on its way is taken

SLICE_BYTES = 64 * 1024  # given to the link at once
JOINED_BYTES = 16 * 1024  # up to this size a piece is copied behind its frame's header
OWN_STREAM_BYTES = 64 * 1024  # waiting on a stream of ours: the client lets us tell it nothing
TOO_LARGE_FACTOR = 8  # a header section so many times the limit is an attack, and ends the connection

_CODES = {NO_ERROR: codes.NO_ERROR, CANCEL: codes.REQUEST_CANCELLED, INTERNAL_ERROR: codes.INTERNAL_ERROR}


class Session(Framing[Made], Generic[Made]):
    """One connection, as its server. `make_stream` makes a Stream for each request."""

    def __init__(
        self,
        link: Link,
        make_stream: Callable[[], Made],
        *,
        streams: int,
        header_bytes: int,
        header_count: int,
        resets: int,
        empty_frames: int,
    ) -> None:
        """`streams` at a time; `resets` of streams and `empty_frames` (that carry neither request nor data)
        between two calls of `forgive`: more end the connection with H3_EXCESSIVE_LOAD."""
        self.failed = False  # the connection is ended; nothing more is said or heard
        self.resets = 0
        self.empty_frames = 0
        self._link = link
        self._make_stream = make_stream
        self._max_streams = streams
        self._max_bytes = header_bytes
        self._max_fields = header_count
        self._max_resets = resets
        self._max_empty_frames = empty_frames
        self._section = Section()
        self._qpack = Qpack(TOO_LARGE_FACTOR * header_count)
        self._outlet = Outlet(link)
        self._requests: dict[int, RequestReader[Made]] = {}
        self._held_back: dict[int, RequestReader[Made]] = {}  # those that have more to send than they may
        self._opened = Opened(0)
        self._end_id = ALL_REQUESTS  # requests from here on are rejected
        self._types: dict[int, bytes] = {}  # beginnings of unidirectional streams, their type not all there
        self._critical: dict[int, int] = {}  # the client's streams of types that there is one of
        self._opened_uni = Opened(2)
        self._control_reader = ControlReader()
        self._ready: list[Made] = []
        self._control, self._encoder, self._decoder = (link.open_stream() for _ in range(3))
        link.send(self._control, varint(CONTROL) + frame(SETTINGS, our_settings(header_bytes)), False)
        link.send(self._encoder, varint(ENCODER), False)
        link.send(self._decoder, varint(DECODER), False)

    # What comes.

    def receive(self, stream_id: int, data: bytes, ended: bool) -> list[Made]:
        """The streams whose request heads `data` completes; what it says of others has been told to them."""
        if self.failed:
            return []
        try:
            if stream_id & 2:
                self._receive_uni(stream_id, data, ended)
            else:
                self._receive_request(stream_id, data, ended)
            self._check_flood()
            self._tell_qpack()
        except H3Error as error:
            self.fail(error.code, error.reason)
        ready, self._ready = self._ready, []
        return ready

    def receive_reset(self, stream_id: int, code: int) -> None:
        """The client broke off what it sent."""
        self._receive_end_of(stream_id, code, stopped=False)

    def receive_stop(self, stream_id: int, code: int) -> None:
        """The client wants no more of what we send."""
        self._receive_end_of(stream_id, code, stopped=True)

    def _receive_end_of(self, stream_id: int, code: int, *, stopped: bool) -> None:
        if self.failed:
            return
        try:
            if stream_id in self._critical or stream_id in (self._control, self._encoder, self._decoder):
                raise H3Error(codes.CLOSED_CRITICAL_STREAM, "stream that must stay open")
            if stream_id & 2:
                self._opened_uni.is_new(stream_id)
                self._types.pop(stream_id, None)
                return
            reader = self._requests.get(stream_id)
            if reader is None and not self._opened.is_new(stream_id):
                return
            self.resets += 1
            if stopped:
                if reader is None or not reader.stream.ended:
                    self._link.stop(stream_id, codes.REQUEST_CANCELLED)
            elif reader is None or not reader.out_ended:
                self._link.reset(stream_id, codes.REQUEST_CANCELLED)
            if reader is not None:
                self._outlet.forget(stream_id)
                self._close(reader, code or codes.NO_ERROR)
            self._check_flood()
            self._tell_qpack()
        except H3Error as error:
            self.fail(error.code, error.reason)

    def _check_flood(self) -> None:
        if self.resets > self._max_resets:
            raise H3Error(codes.EXCESSIVE_LOAD, "too many streams reset")
        if self.empty_frames > self._max_empty_frames:
            raise H3Error(codes.EXCESSIVE_LOAD, "too many frames without request or data")

    # Unidirectional streams.

    def _receive_uni(self, stream_id: int, data: bytes, ended: bool) -> None:
        self._link.consumed(stream_id, len(data))
        kind = self._critical.get(stream_id)
        if kind is None:
            if self._opened_uni.is_new(stream_id):
                self._types[stream_id] = b""
            elif stream_id not in self._types:
                return
            data = self._types.pop(stream_id) + data
            found = read_varint(data, 0)
            if found is None:
                if not ended:
                    self._types[stream_id] = data
                return
            kind, at = found
            data = data[at:]
            if not self._open_uni(stream_id, kind, ended):
                return
        if kind == CONTROL:
            self._receive_control(data)
        elif kind == ENCODER:
            for unblocked in self._qpack.feed_encoder(data):
                self._unblock(unblocked)
        else:
            self._qpack.feed_decoder(data)
        if ended:
            raise H3Error(codes.CLOSED_CRITICAL_STREAM, "stream that must stay open")

    def _open_uni(self, stream_id: int, kind: int, ended: bool) -> bool:
        """The type of a unidirectional stream is known; is it one that is read?"""
        if kind == PUSH:
            raise H3Error(codes.STREAM_CREATION_ERROR, "push stream from a client")
        if kind not in (CONTROL, ENCODER, DECODER):
            self.empty_frames += 1
            if not ended:
                self._link.stop(stream_id, codes.STREAM_CREATION_ERROR)
            return False
        if kind in self._critical.values():
            raise H3Error(codes.STREAM_CREATION_ERROR, "second stream of a type that there is one of")
        self._critical[stream_id] = kind
        return True

    def _receive_control(self, data: bytes) -> None:
        reader = self._control_reader
        settings = reader.read(data)
        self.empty_frames += reader.frames
        reader.frames = 0
        if settings is not None:
            self._qpack.allow(
                settings.get(QPACK_MAX_TABLE_CAPACITY, 0), settings.get(QPACK_BLOCKED_STREAMS, 0)
            )

    def _tell_qpack(self) -> None:
        """Send what the two halves of QPACK have to say."""
        qpack = self._qpack
        if qpack.out_encoder:
            self._link.send(self._encoder, qpack.out_encoder, False)
            qpack.out_encoder = b""
        if qpack.out_decoder:
            self._link.send(self._decoder, qpack.out_decoder, False)
            qpack.out_decoder = b""

    # Requests.

    def _receive_request(self, stream_id: int, data: bytes, ended: bool) -> None:
        reader = self._requests.get(stream_id)
        if reader is None:
            reader = self._open(stream_id)
            if reader is None:
                self._link.consumed(stream_id, len(data))
                return
        reader.owed += len(data)
        reader.fin = ended
        reader.push(data)
        self._read_on(reader)

    def _open(self, stream_id: int) -> RequestReader[Made] | None:
        """The reader of a stream that nothing came on before; None if it is over, or rejected."""
        if not self._opened.is_new(stream_id):
            return None
        if stream_id >= self._end_id or len(self.streams) >= self._max_streams:
            self._link.reset(stream_id, codes.REQUEST_REJECTED)
            self._link.stop(stream_id, codes.REQUEST_REJECTED)
            self.empty_frames += 1
            return None
        stream = self._make_stream()
        stream.belong(self, stream_id)
        reader = self._requests[stream_id] = RequestReader(stream, TOO_LARGE_FACTOR * self._max_bytes)
        return reader

    def _unblock(self, stream_id: int) -> None:
        reader = self._requests.get(stream_id)
        if reader is not None and reader.blocked:
            reader.blocked = False
            self._take_section(reader, self._qpack.resume(stream_id))
            self._read_on(reader)

    def _read_on(self, reader: RequestReader[Made]) -> None:
        """Read what was pushed, as far as it goes."""
        stream = reader.stream
        while not stream.closed and not reader.blocked and (found := reader.take()) is not None:
            kind, payload = found
            if kind == DATA:
                self._take_data(reader, payload)
            else:
                try:
                    pairs = self._qpack.decode(stream.id, payload)
                except Blocked:
                    reader.blocked = True
                else:
                    self._take_section(reader, pairs)
        self.empty_frames += reader.empty_frames
        reader.empty_frames = 0
        if (
            stream.closed or reader.blocked
        ):  # what waits behind a blocked section is held to the stream's window
            return
        if reader.owed:
            self._link.consumed(stream.id, reader.owed)
            reader.owed = 0
        if reader.fin and not stream.ended:
            self._take_end(reader)

    def _take_section(self, reader: RequestReader[Made], pairs: Pairs) -> None:
        """A header section, or a trailer section."""
        section = self._section
        section.read(pairs, reader.has_head, self._max_bytes, self._max_fields)
        if section.taken > TOO_LARGE_FACTOR * self._max_bytes:
            raise H3Error(codes.EXCESSIVE_LOAD, "field section too large")
        if section.why() is not None or (reader.has_head and section.too_large):
            self._refuse(reader, codes.MESSAGE_ERROR)
            return
        if reader.has_head:
            reader.has_trailers = True
            reader.trailers = section.fields()
            return
        stream = reader.stream
        reader.has_head = True
        stream.read_head(section)
        fields = stream.fields
        assert fields is not None
        if fields.mask & CONTENT_LENGTH and stream.protocol is None:
            reader.length = int(fields.get(b"content-length") or b"0")
        if reader.fin and reader.is_between:
            if reader.length:
                self._refuse(reader, codes.MESSAGE_ERROR)
                return
            stream.ended = True
        self._ready.append(stream)

    def _take_data(self, reader: RequestReader[Made], piece: bytes) -> None:
        reader.received += len(piece)
        if reader.length is not None and reader.received > reader.length:
            self._refuse(reader, codes.MESSAGE_ERROR)
            return
        reader.owed -= len(piece)
        reader.unread += len(piece)
        reader.stream.receive(piece)

    def _take_end(self, reader: RequestReader[Made]) -> None:
        """The client has ended the stream."""
        stream = reader.stream
        if not reader.is_between:
            raise H3Error(codes.FRAME_ERROR, "stream ended within a frame")
        if not reader.has_head:
            self._refuse(reader, codes.REQUEST_INCOMPLETE)
            return
        if reader.length is not None and reader.received != reader.length:
            self._refuse(reader, codes.MESSAGE_ERROR)
            return
        stream.ended = True
        stream.receive_end(reader.trailers)
        if reader.out_ended and not stream.closed:  # a tunnel that was half-closed by us
            self._end_well(reader)

    def _refuse(self, reader: RequestReader[Made], code: int) -> None:
        """Reset a stream whose client makes us do so: it has us do the same work for nothing."""
        self.resets += 1
        self._break_off(reader, code)

    def _break_off(self, reader: RequestReader[Made], code: int) -> None:
        stream_id = reader.stream.id
        if not reader.out_ended:
            self._link.reset(stream_id, code)
            self._outlet.forget(stream_id)
        if not reader.fin:
            self._link.stop(stream_id, code)
        self._close(reader, code)

    def _close(self, reader: RequestReader[Made], code: int) -> None:
        """The stream has ended; `code` is 0 if all went well."""
        stream = reader.stream
        del self._requests[stream.id]
        self._held_back.pop(stream.id, None)
        if not stream.ended:
            self._qpack.cancel(stream.id)
        left = reader.owed + reader.unread
        if left:
            self._link.consumed(stream.id, left)
        self.forget(stream, code)

    # stream.Framing: what goes out.

    def answer(
        self, stream: Stream, status: int, fields: Fields, date_line: bytes | None, length: int
    ) -> int:
        pairs = [(b":status", b"%d" % status), *pairs_of(fields)]
        if date_line is not None and b"date" not in fields:
            pairs.append((b"date", date_line[6:-2]))
        if length >= 0:
            pairs.append((b"content-length", b"%d" % length))
        reader = self._requests[stream.id]
        section = self._encode(stream, pairs)
        if section is not None:
            reader.head = section
            self._push(reader)
        return 0

    def interim(self, stream: Stream, status: int, fields: Fields) -> int:
        section = self._encode(stream, [(b":status", b"%d" % status), *pairs_of(fields)])
        if section is not None:
            self._give(stream, section, False)
        return 0

    def resume(self, stream: Stream) -> int:
        self._push(self._requests[stream.id])
        return 0

    def reset(self, stream: Stream, code: int) -> int:
        reader = self._requests[stream.id]
        if code == NO_ERROR and reader.out_ended:  # all of the answer is on its way
            self._end_well(reader)
        else:
            self._break_off(reader, _CODES[code])
        return 0

    def consumed(self, stream: Stream, size: int) -> int:
        self._requests[stream.id].unread -= size
        self._link.consumed(stream.id, size)
        return 0

    def widen(self, stream: Stream, size: int) -> int:
        self._link.widen(stream.id, size)
        return 0

    def has_ended(self, stream: Stream) -> bool:
        return self._requests[stream.id].out_ended

    def moved(self) -> None:
        """The client may have acknowledged something."""
        self._outlet.moved()
        if self._held_back and not self.failed:
            held_back, self._held_back = self._held_back, {}
            for reader in held_back.values():
                self._push(reader)
            self._tell_qpack()

    def _encode(self, stream: Stream, pairs: Pairs) -> bytes | None:
        """A HEADERS frame; None if these fields have none, and the stream is reset."""
        try:
            section = self._qpack.encode(stream.id, pairs)
        except ValueError:  # a value above 64 KiB
            self._break_off(self._requests[stream.id], codes.INTERNAL_ERROR)
            return None
        if self._qpack.out_encoder:
            self._tell_qpack()
        return frame(HEADERS, section)

    def _push(self, reader: RequestReader[Made]) -> None:
        """Give the link what the stream holds, as far as it may have it."""
        stream = reader.stream
        while left := stream.left:
            room = self._outlet.room(stream.id)
            if room < min(left, LEAST_BYTES):
                self._held_back[stream.id] = reader
                if reader.head:
                    self._give(stream, reader.head, False)
                    reader.head = b""
                return
            lead, reader.head = reader.head, b""
            if not reader.frame_left:
                reader.frame_left = left
                lead += varint(DATA) + varint(left)
            piece = stream.take(min(room, SLICE_BYTES))
            reader.frame_left -= len(piece)
            is_last = stream.last and not stream.left and not stream.trailers
            if lead and len(piece) <= JOINED_BYTES:
                self._give(stream, lead + piece, is_last)
            else:
                if lead:
                    self._give(stream, lead, False)
                self._give(stream, piece, is_last)
            if is_last:
                self._end_ours(reader)
                return
        self._push_end(reader)

    def _push_end(self, reader: RequestReader[Made]) -> None:
        """Nothing of the body is at hand: send a head that waits, and the end if it has come."""
        stream = reader.stream
        data, reader.head = reader.head, b""
        if stream.last:
            if stream.trailers:
                section = self._encode(stream, pairs_of(stream.trailers))
                if section is None:
                    return
                data += section
            self._give(stream, data, True)
            self._end_ours(reader)
        elif data:
            self._give(stream, data, False)

    def _give(self, stream: Stream, data: bytes, end: bool) -> None:
        stream.bytes_sent += len(data)
        stream.moved = True
        self._outlet.give(stream.id, data, end)

    def _end_ours(self, reader: RequestReader[Made]) -> None:
        """The answer is whole; what is left of the request nobody wants (RFC 9114 4.1)."""
        reader.out_ended = True
        if not reader.stream.tunnelled or reader.stream.ended:
            self._end_well(reader)

    def _end_well(self, reader: RequestReader[Made]) -> None:
        if not reader.fin:
            self._link.stop(reader.stream.id, codes.NO_ERROR)
        self._close(reader, 0)

    # The connection.

    def forgive(self) -> None:
        """A second has passed: resets and empty frames are counted anew."""
        self.resets = self.empty_frames = 0

    def sweep(self, now_ns: int, patience_ns: int) -> None:
        """Give up what the client does not take, of answers that are whole and of what QPACK says."""
        if self.failed:
            return
        self._outlet.sweep(now_ns, patience_ns, self._requests)
        for stream_id in (self._control, self._encoder, self._decoder):
            if self._link.waiting(stream_id) > OWN_STREAM_BYTES:
                self.fail(codes.EXCESSIVE_LOAD, "our own streams are not read")
                return

    def give_notice(self) -> None:
        if not self.failed:
            self._link.send(self._control, frame(GOAWAY, varint(ALL_REQUESTS)), False)

    def go_away(self) -> None:
        if not self.failed:
            self._end_id = self._opened.next
            self._link.send(self._control, frame(GOAWAY, varint(self._end_id)), False)

    def fail(self, code: int, reason: str = "") -> None:
        """End the connection by that code."""
        if self.failed:
            return
        self.failed = True
        for stream in tuple(self.streams.values()):
            self.forget(stream, code)
        self._requests.clear()
        self._held_back.clear()
        self._link.close(code, reason)

    def close(self) -> list[Made]:
        """The connection is gone. The streams that were open, which will hear no more of it."""
        self.failed = True
        self._requests.clear()
        self._held_back.clear()
        return self.give_up(codes.REQUEST_CANCELLED)

    @property
    def is_idle(self) -> bool:
        """No request is in hand, and all answers have arrived."""
        return not self.streams and self._outlet.is_empty

    @property
    def is_over(self) -> bool:
        """All is said, and has arrived: the connection may be closed."""
        return self._end_id != ALL_REQUESTS and self.is_idle and not self._link.waiting(self._control)
