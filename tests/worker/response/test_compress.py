"""Content coding: negotiation, what may be compressed, and that the client gets the same bytes back."""

import asyncio
import gzip
import hashlib
import zlib
from collections.abc import Callable, Sequence

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.support.contexts import make_context
from worker.fields import Fields
from worker.message import Body, Response
from worker.response.compress import INLINE_BYTES, SLICE_BYTES, Compress, CompressedStream, negotiate
from worker.settings import CompressionSettings

ALL = ("zstd", "br", "gzip")
TEXT = b"The quick brown fox jumps over the lazy dog. " * 40
DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


class Pieces:
    """A stream that gives these pieces."""

    def __init__(self, pieces: Sequence[bytes], length: int | None = None) -> None:
        self.length = length
        self.trailers: Fields | None = None
        self.closed = False
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        self.trailers = Fields.of([(b"X-Sum", b"7")])
        return b""

    def close(self) -> None:
        self.closed = True


def filtered(
    *lines: tuple[bytes, bytes],
    accept: bytes | None = b"gzip",
    body: Body = TEXT,
    status: int = 200,
    method: bytes = b"GET",
    storing: bool = True,
    length: int | None = -1,
    settings: CompressionSettings | None = None,
) -> Response:
    if not any(name.lower() == b"content-type" for name, _ in lines):
        lines = ((b"Content-Type", b"text/html; charset=utf-8"), *lines)
    if length == -1:
        length = len(body) if isinstance(body, bytes) else getattr(body, "length", None)
    response = Response(status, Fields.of(lines), body, length)
    request_lines = [] if accept is None else [(b"Accept-Encoding", accept)]
    Compress(settings or CompressionSettings(), storing=storing)(
        make_context(*request_lines, method=method), response
    )
    return response


def read_all(body: Body) -> list[bytes]:
    assert isinstance(body, CompressedStream)

    async def collect() -> list[bytes]:
        pieces = []
        while piece := await body.read():
            pieces.append(piece)
        assert await body.read() == b""
        return pieces

    return asyncio.run(collect())


def incremental_decoder(coding: str) -> Callable[[bytes], bytes]:
    """Gives all that can be decoded of what it was fed so far."""
    if coding == "gzip":
        return zlib.decompressobj(31).decompress
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress
    brotler = brotli.Decompressor()

    def decode(data: bytes) -> bytes:
        decoded = brotler.process(data)  # gives a bounded piece at a time
        while more := brotler.process(b""):
            decoded += more
        return bytes(decoded)

    return decode


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, ""),
        (b"", ""),
        (b"gzip", "gzip"),
        (b"x-gzip", "gzip"),
        (b"GZip", "gzip"),
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"gzip, deflate, br", "br"),
        (b"deflate", ""),
        (b"br;q=0.5, gzip;q=0.8", "gzip"),
        (b"br;q=0.8, gzip;q=0.8", "br"),
        (b"gzip;q=0", ""),
        (b"*", "zstd"),
        (b"*;q=0", ""),
        (b"zstd;q=0, *", "br"),
        (b"gzip;q=0.5, *;q=0.1", "gzip"),
        (b"identity", ""),
        (b"identity, gzip", "gzip"),
        (b"identity;q=1, gzip;q=0.5", ""),
        (b"identity;q=0.5, gzip;q=0.5", "gzip"),
        (b"identity;q=0, gzip;q=0.001", "gzip"),
        (b"identity;q=0", ""),
        (b"gzip ; q=0.7 , br ; q=0.6", "gzip"),
        (b"gzip;q=1.5", ""),
        (b"gzip;q=high, br;q=0.1", "br"),
        (b"gzip;level=9", ""),
        (b",, gzip ,", "gzip"),
    ],
)
def test_the_coding_the_client_likes_best_wins_and_our_order_breaks_ties(
    accept: bytes | None, coding: str
) -> None:
    assert negotiate(accept, ALL) == coding


@given(st.binary(max_size=60))
def test_negotiation_survives_any_field_value(accept: bytes) -> None:
    assert negotiate(accept, ALL) in ("", *ALL)


@pytest.mark.parametrize("coding", ALL)
@pytest.mark.parametrize("quality", [0, 1, 5, 11, 30])
def test_a_small_body_comes_back_byte_for_byte(coding: str, quality: int) -> None:
    response = filtered(accept=coding.encode(), settings=CompressionSettings(quality=quality))
    assert isinstance(response.body, bytes)
    assert DECODE[coding](response.body) == TEXT
    assert response.length == len(response.body) < len(TEXT)
    assert response.fields.get_all(b"content-encoding") == [coding.encode()]
    assert response.fields.get(b"vary") == b"Accept-Encoding"
    assert response.settled


@pytest.mark.parametrize("coding", ALL)
def test_a_large_body_becomes_a_stream_that_comes_back_byte_for_byte(coding: str) -> None:
    body = bytes(range(97, 123)) * (3 * SLICE_BYTES // 26)
    response = filtered(accept=coding.encode(), body=body)
    assert response.length is None
    assert DECODE[coding](b"".join(read_all(response.body))) == body


@pytest.mark.parametrize("coding", ALL)
def test_every_piece_of_a_live_stream_can_be_decoded_when_it_comes(coding: str) -> None:
    pieces = [b"<p>one</p>", b"<p>two</p>" * 9, TEXT * 40]
    response = filtered(accept=coding.encode(), body=Pieces(pieces))
    coded = read_all(response.body)
    decode = incremental_decoder(coding)
    for number, piece in enumerate(pieces):
        assert decode(coded[number]) == piece


def test_a_stream_of_announced_length_is_not_flushed_at_every_piece() -> None:
    pieces = [b"0123456789" for _ in range(200)]
    announced = read_all(filtered(body=Pieces(pieces, length=2000)).body)
    live = read_all(filtered(body=Pieces(pieces)).body)
    assert gzip.decompress(b"".join(announced)) == gzip.decompress(b"".join(live)) == b"".join(pieces)
    assert len(b"".join(announced)) < len(b"".join(live)) / 4


def test_trailers_and_closing_pass_through_the_compression() -> None:
    source = Pieces([TEXT])
    body = filtered(body=source).body
    read_all(body)
    assert isinstance(body, CompressedStream)
    assert body.trailers is not None and body.trailers.get(b"x-sum") == b"7"
    body.close()
    assert source.closed


def test_an_error_of_the_source_reaches_the_reader() -> None:
    class Broken(Pieces):
        async def read(self) -> bytes:
            raise ConnectionResetError

    body = filtered(body=Broken([])).body
    with pytest.raises(ConnectionResetError):
        read_all(body)


UNTOUCHED = {
    "an image": filtered((b"Content-Type", b"image/png")),
    "no type": filtered((b"Content-Type", b"")),
    "an event stream": filtered((b"Content-Type", b"text/event-stream")),
    "messages of gRPC": filtered((b"Content-Type", b"application/grpc+json")),
    "already coded": filtered((b"Content-Encoding", b"br")),
    "no-transform": filtered((b"Cache-Control", b"max-age=5, No-Transform")),
    "partial": filtered((b"Content-Range", b"bytes 0-9/99"), status=206),
    "not modified": filtered(status=304, body=None),
    "no content": filtered(status=204, body=None),
    "too small": filtered(body=b"x" * 100),
    "switched off": filtered(settings=CompressionSettings(codings=())),
}


@pytest.mark.parametrize("case", UNTOUCHED)
def test_what_must_not_be_compressed_is_left_alone(case: str) -> None:
    response = UNTOUCHED[case]
    assert not isinstance(response.body, CompressedStream)
    assert b"vary" not in response.fields
    assert response.fields.get(b"content-encoding") in (None, b"br")
    assert response.settled


@pytest.mark.parametrize(
    "kind",
    [b"text/html", b"TEXT/CSS", b"text/plain;charset=utf-8", b"application/json", b"application/ld+json",
     b"application/javascript ; x=y", b"image/svg+xml", b"font/ttf", b"application/wasm"],
)  # fmt: skip
def test_text_of_many_kinds_is_compressed(kind: bytes) -> None:
    assert filtered((b"Content-Type", kind)).fields.get(b"content-encoding") == b"gzip"


def test_a_plain_answer_that_others_get_compressed_varies_too() -> None:
    response = filtered(accept=None)
    assert response.body == TEXT
    assert response.fields.get(b"vary") == b"Accept-Encoding"
    assert b"content-encoding" not in response.fields


@pytest.mark.parametrize(
    ("vary", "after"),
    [
        (b"Origin", b"Origin, Accept-Encoding"),
        (b"origin, accept-encoding", b"origin, accept-encoding"),
        (b"*", b"*"),
    ],
)
def test_vary_names_accept_encoding_once(vary: bytes, after: bytes) -> None:
    assert filtered((b"Vary", vary)).fields.joined(b"vary") == after


def test_fields_about_the_replaced_bytes_are_made_true_again() -> None:
    fields = filtered(
        (b"ETag", b'"v1"'), (b"Content-MD5", b"x"), (b"Content-Digest", b"x"), (b"Repr-Digest", b"x"),
        (b"Digest", b"x"), (b"Accept-Ranges", b"bytes"), (b"Last-Modified", b"Sun, 23 Nov 2025 08:13:05 GMT"),
    ).fields  # fmt: skip
    assert fields.get(b"etag") == b'W/"v1"'
    assert fields.get(b"last-modified") is not None
    for name in (b"content-md5", b"content-digest", b"repr-digest", b"digest", b"accept-ranges"):
        assert name not in fields


def test_a_weak_etag_stays_as_it_is() -> None:
    assert filtered((b"ETag", b'W/"v1"')).fields.get_all(b"etag") == [b'W/"v1"']


def test_a_body_that_would_grow_stays_plain() -> None:
    noise = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(20))
    response = filtered((b"ETag", b'"v1"'), body=noise)
    assert response.body == noise
    assert response.length == len(noise)
    assert response.fields.get(b"etag") == b'"v1"'
    assert response.fields.get(b"vary") == b"Accept-Encoding"


def test_head_tells_what_get_would() -> None:
    response = filtered((b"ETag", b'"v1"'), body=None, method=b"HEAD", length=5000)
    assert response.fields.get(b"content-encoding") == b"gzip"
    assert response.fields.get(b"etag") == b'W/"v1"'
    assert response.length is None
    assert response.body is None


def test_what_was_settled_before_is_not_looked_at_again() -> None:
    response = Response(200, Fields.of([(b"Content-Type", b"text/html")]), TEXT, len(TEXT))
    response.settled = True
    Compress(CompressionSettings(), storing=False)(make_context((b"Accept-Encoding", b"gzip")), response)
    assert response.body == TEXT
    assert len(response.fields) == 1


def test_an_answer_that_is_sent_at_once_is_only_compressed_while_it_is_small() -> None:
    small = filtered(body=b"a" * INLINE_BYTES, storing=False)
    large = filtered(body=b"a" * (INLINE_BYTES + 1), storing=False)
    assert isinstance(small.body, bytes) and len(small.body) < INLINE_BYTES
    assert large.body == b"a" * (INLINE_BYTES + 1)
    assert not small.settled


def test_the_loop_runs_on_while_a_large_piece_is_compressed() -> None:
    async def scenario() -> int:
        body = CompressedStreamOf(b"abcdefgh" * 500_000)
        turns = 0
        done = asyncio.create_task(body.read())
        while not done.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    def CompressedStreamOf(data: bytes) -> CompressedStream:
        stream = filtered(body=Pieces([data]), accept=b"br").body
        assert isinstance(stream, CompressedStream)
        return stream

    assert asyncio.run(scenario()) > 2
