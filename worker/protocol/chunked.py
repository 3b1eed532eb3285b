"""The chunked transfer coding, read strictly (RFC 9112 7.1). Bytes in, bytes out; knows no connection.

Ours rather than llhttp's because httptools does not tell where in its input a message ended, and what
follows is the next request.
"""

import re

from worker.fields import CONTENT_LENGTH, HOST, TRANSFER_ENCODING, FieldError, Fields

# chunk-size and chunk-ext. No white space around ";" and "=": RFC 9112 7.1.1 calls it bad, and readers differ
# over it, as they do over a quote that does not end with its line.
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;%b(?:=(?:%b|%b))?)*+" % (_TOKEN, _TOKEN, _QUOTED))
_MAX_LINE = 1024
_MAX_EXTENSIONS = 16 * 1024  # of all chunks of one body together: nobody uses them but attackers

_TRAILERS_MARK_BEGUN = 3  # so much of the empty line that ends trailers may be there, and is no part of them

_SIZE, _DATA, _DATA_END, _TRAILERS, _END = range(5)


class ChunkError(ValueError):
    """A body that breaks the coding; `args[0]` says how, in a few words."""


class ChunkedReader:
    """Decodes one body. After `ended`, `rest` is what lies behind it, `trailers` its trailer section."""

    __slots__ = ("_extensions", "_input", "_left", "_max_trailers", "_state", "ended", "rest", "trailers")

    def __init__(self, max_trailers: int) -> None:
        self.ended = False
        self.rest = b""
        self.trailers: Fields | None = None
        self._state = _SIZE
        self._left = 0  # bytes of the current chunk still to come
        self._input = b""  # an incomplete line
        self._extensions = 0
        self._max_trailers = max_trailers  # bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The body's bytes in `data`. Raises ChunkError."""
        if self._input:
            data = self._input + data
            self._input = b""
        pieces: list[bytes] = []
        at = 0
        while at < len(data):
            if self._state == _DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._state = _DATA_END
            elif self._state == _DATA_END:
                if not b"\r\n".startswith(data[at : at + 2]):
                    raise ChunkError("chunk longer than its size")
                if len(data) - at < 2:
                    break
                at += 2
                self._state = _SIZE
            elif self._state == _SIZE:
                end = self._line_end(data, at)
                if end < 0:
                    break
                self._begin_chunk(data[at:end])
                at = end + 2
            else:
                end = self._trailers_end(data, at)
                if end < 0:
                    break
                self._end(data[at:end])
                self.rest = data[end:]
                return pieces
        self._input = data[at:]
        return pieces

    def _line_end(self, data: bytes, at: int) -> int:
        """Where the line's CRLF begins; -1 while it is still to come."""
        end = data.find(b"\n", at, at + _MAX_LINE)
        if end < 0:
            if len(data) - at >= _MAX_LINE:
                raise ChunkError("chunk size line too long")
            return -1
        if end == at or data[end - 1] != 0x0D:
            raise ChunkError("line ended by a bare LF")
        return end - 1

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise ChunkError("bad chunk size")
        self._extensions += len(line) - match.end(1)
        if self._extensions > _MAX_EXTENSIONS:
            raise ChunkError("too many chunk extensions")
        self._left = int(match.group(1), 16)
        self._state = _DATA if self._left else _TRAILERS

    def _trailers_end(self, data: bytes, at: int) -> int:
        """Just behind the empty line that ends the trailer section; -1 while it is still to come."""
        if data.startswith(b"\r\n", at):
            return at + 2
        end = data.find(b"\r\n\r\n", at)
        size = (len(data) - _TRAILERS_MARK_BEGUN if end < 0 else end) - at
        if size > self._max_trailers:
            raise ChunkError("trailer section too large")
        return end + 4 if end >= 0 else -1

    def _end(self, section: bytes) -> None:
        try:
            trailers = Fields.parse(section)
        except FieldError as error:
            raise ChunkError(f"trailer section: {error.args[0]}") from None
        if trailers.mask & (HOST | CONTENT_LENGTH | TRANSFER_ENCODING):
            raise ChunkError("trailer field that belongs into the header section")  # RFC 9110 6.5.1
        self.trailers = trailers
        self.ended = True
        self._state = _END
