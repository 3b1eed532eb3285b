"""The chunked coding, from clients and from origins: cut anywhere it is read alike, what is taken is what a
reader of other ancestors takes, and a body written anew is read as the same.
"""

from tests.fuzz.take import Take, cut
from worker.fields import Fields
from worker.origin.body import BodyError, Chunks
from worker.protocol.chunked import ChunkedReader, ChunkError

SEEDS = (
    b"\1\x35\r\nhello\r\n0\r\n\r\nGET",
    b'\0A;a=b;c="d\\""\r\n0123456789\r\n0\r\nX: y\r\nTrailer: z\r\n\r\n',
    b"\3" + b"00000f\r\n" + b"x" * 15 + b"\r\n0;x\r\n\r\n0\r\n",
)
WORDS = (
    b"\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b";a=b", b';a="\r\n"', b"\n", b"fffffffffffffff\r\n",
    b"X: y\r\n", b"0x1", b"Host: h\r\n", b"-1", b" ",
)  # fmt: skip
TRAILERS_BYTES = 512

Outcome = tuple[bytes, bytes, list[tuple[bytes, bytes]]] | str | None


def check(data: bytes) -> None:
    take = Take(data)
    step = take.below(8) + 1
    data = take.rest()
    whole = _by_ours([data])
    assert _by_ours(cut(data, step)) == whole
    other = _by_llhttp([data])
    assert _by_llhttp(cut(data, step)) == other
    if not isinstance(whole, tuple):
        return
    body, rest, trailers = whole
    assert data.endswith(rest)
    if isinstance(other, tuple):  # the two may differ about what is refused, never about what it means
        assert other[0] == body
        assert Fields.of(other[2]).items() == trailers
    lines = Fields.of(trailers).encode()
    again = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n" + lines + b"\r\nnext"
    assert _by_ours([again], len(again)) == (body, b"next", trailers)  # a space behind each name is new


def _by_ours(pieces: list[bytes], trailers_bytes: int = TRAILERS_BYTES) -> Outcome:
    """Body, rest and trailers; None if the end is still to come; or why not."""
    reader = ChunkedReader(trailers_bytes)
    body = b""
    for number, piece in enumerate(pieces):
        try:
            body += b"".join(reader.feed(piece))
        except ChunkError as error:
            return str(error.args[0])
        if reader.ended:
            assert reader.trailers is not None
            return body, reader.rest + b"".join(pieces[number + 1 :]), reader.trailers.items()
    return None


def _by_llhttp(pieces: list[bytes]) -> Outcome:
    reader = Chunks()
    body = b""
    for piece in pieces:
        try:
            body += b"".join(reader.feed(piece))
        except BodyError:
            return "refused"
        if reader.complete:
            return body, b"", reader.trailers
    return None
