"""QPACK (RFC 9204) by ls-qpack, with bounds on what a client may make it hold or unfold."""

import pylsqpack

from worker.fields import Fields
from worker.protocol.h3.codes import (
    EXCESSIVE_LOAD,
    QPACK_DECODER_STREAM_ERROR,
    QPACK_DECOMPRESSION_FAILED,
    QPACK_ENCODER_STREAM_ERROR,
    H3Error,
)

TABLE_BYTES = 4096  # of either side's dynamic table
BLOCKED_STREAMS = 16  # that may wait for the other side's table

OF_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)

Pairs = list[tuple[bytes, bytes]]


class Blocked(Exception):
    """The section refers to what has not come yet."""


class Qpack:
    """One connection's tables. What is to be sent on the two streams of QPACK gathers in `out_*`."""

    __slots__ = ("_decoder", "_encoder", "_max_lines", "out_decoder", "out_encoder")

    def __init__(self, max_lines: int) -> None:
        """`max_lines`: sections of more fields are not even unfolded: each may be the table's largest."""
        self._decoder = pylsqpack.Decoder(TABLE_BYTES, BLOCKED_STREAMS)
        self._encoder = pylsqpack.Encoder()
        self._max_lines = max_lines
        self.out_decoder = b""
        self.out_encoder = b""

    def decode(self, stream_id: int, section: bytes) -> Pairs:
        """The fields of a section. Raises Blocked, and H3Error."""
        # A field takes at least a byte, so that short sections need not be counted.
        if len(section) > self._max_lines and has_more_lines(section, self._max_lines):
            raise H3Error(EXCESSIVE_LOAD, "too many fields")
        try:
            out, pairs = self._decoder.feed_header(stream_id, section)
        except pylsqpack.StreamBlocked:
            raise Blocked from None
        except pylsqpack.DecompressionFailed:
            raise H3Error(QPACK_DECOMPRESSION_FAILED, "field section cannot be read") from None
        self.out_decoder += out
        return pairs

    def resume(self, stream_id: int) -> Pairs:
        """The fields of a section that is blocked no more."""
        try:
            out, pairs = self._decoder.resume_header(stream_id)
        except pylsqpack.DecompressionFailed:
            raise H3Error(QPACK_DECOMPRESSION_FAILED, "field section cannot be read") from None
        self.out_decoder += out
        return pairs

    def cancel(self, stream_id: int) -> None:
        """Whatever else comes on that stream is not read (RFC 9204 2.2.2.2)."""
        self.out_decoder += self._decoder.cancel_stream(stream_id)

    def feed_encoder(self, data: bytes) -> list[int]:
        """What the client's encoder says; the streams that it sets free."""
        try:
            return self._decoder.feed_encoder(data)
        except pylsqpack.EncoderStreamError:
            raise H3Error(QPACK_ENCODER_STREAM_ERROR, "instruction that cannot be followed") from None

    def feed_decoder(self, data: bytes) -> None:
        """What the client's decoder says."""
        try:
            self._encoder.feed_decoder(data)
        except pylsqpack.DecoderStreamError:
            raise H3Error(QPACK_DECODER_STREAM_ERROR, "instruction that cannot be followed") from None

    def allow(self, table_bytes: int, blocked_streams: int) -> None:
        """What the client's settings let our encoder use."""
        self.out_encoder += self._encoder.apply_settings(
            min(table_bytes, TABLE_BYTES), min(blocked_streams, BLOCKED_STREAMS)
        )

    def encode(self, stream_id: int, pairs: Pairs) -> bytes:
        """The section of these fields. ValueError for a value of more than 65,535 bytes."""
        out, section = self._encoder.encode(stream_id, pairs)
        self.out_encoder += out
        return section


def pairs_of(fields: Fields) -> Pairs:
    """Fields of a message of ours as HTTP/3 wants them (RFC 9114 4.2)."""
    lower = [(name.lower(), value) for name, value in fields.items()]
    return [pair for pair in lower if pair[0] not in OF_CONNECTION]


def has_more_lines(section: bytes, limit: int) -> bool:
    """Does an encoded section (RFC 9204 4.5) hold more than `limit` fields? Damaged ones are not judged."""
    at = _skip_integer(section, _skip_integer(section, 0, 8), 7)
    count = 0
    while at < len(section):
        count += 1
        if count > limit:
            return True
        first = section[at]
        if first & 0x80:  # indexed
            at = _skip_integer(section, at, 6)
        elif first & 0x40:  # name reference
            at = _skip_string(section, _skip_integer(section, at, 4), 7)
        elif first & 0x20:  # literal name
            at = _skip_string(section, _skip_string(section, at, 3), 7)
        elif first & 0x10:  # indexed, post-base
            at = _skip_integer(section, at, 4)
        else:  # name reference, post-base
            at = _skip_string(section, _skip_integer(section, at, 3), 7)
    return False


def _read_integer(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """A prefixed integer (RFC 7541 5.1) and where it ends; what lies behind the end of `data` is zero."""
    if at >= len(data):
        return 0, at + 1
    most = (1 << bits) - 1
    value = data[at] & most
    at += 1
    if value < most:
        return value, at
    shift = 0
    while at < len(data) and shift < 63:
        byte = data[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at


def _skip_integer(data: bytes, at: int, bits: int) -> int:
    return _read_integer(data, at, bits)[1]


def _skip_string(data: bytes, at: int, bits: int) -> int:
    size, at = _read_integer(data, at, bits)
    return at + size
