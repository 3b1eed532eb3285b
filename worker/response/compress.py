"""Content coding: which one a client gets, and the compression itself.

The same rules serve two filters. As a store filter it decides what the cache keeps, so that a body is
compressed once and every later hit sends it as it lies there. As a send filter it handles what is not
stored. Nothing here holds the loop for much longer than a millisecond: small bodies are compressed in
place, larger pieces in a thread (zlib, brotli and zstandard release the GIL).
"""

import asyncio
import re
import zlib
from collections.abc import Callable
from typing import Protocol, cast

import brotli
import zstandard

from worker.context import Context
from worker.fields import CONTENT_ENCODING, VARY, Fields
from worker.message import Response, Stream
from worker.settings import CompressionSettings

IDENTITY = ""

# About one millisecond of the slowest coding at the default quality (brotli 5: 1.06 ms, gzip 5: 0.8 ms,
# zstd 5: 0.3 ms for 32 KiB of C headers on a 2-core VM).
INLINE_BYTES = 32 * 1024
SLICE_BYTES = 128 * 1024  # of a larger whole body: long enough that the hop to a thread does not count

_MEMO_ENTRIES = 1024

# Fields about the bytes we are about to replace (RFC 1864, RFC 3230, RFC 9530), and byte ranges of them.
_ABOUT_THE_BYTES = (b"content-md5", b"digest", b"content-digest", b"repr-digest", b"accept-ranges")

_TEXT = re.compile(
    rb"(?:text/(?!event-stream)[^;\s]+"  # an event stream lives from small pieces sent at once
    rb"|application/(?!grpc\+)(?:json|javascript|x-javascript|ecmascript|xml|wasm|rtf|graphql|toml|yaml|sql"
    rb"|x-ndjson|x-yaml|x-sh|vnd\.ms-fontobject|[^;\s]+\+(?:json|xml|text|yaml))"
    rb"|image/(?:svg\+xml|bmp|x-icon|vnd\.microsoft\.icon)"
    rb"|font/(?:ttf|otf|collection)|model/gltf\+json)\s*(?:;|\Z)",
    re.IGNORECASE,
)
_QVALUE = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z")  # RFC 9110 12.4.2
_NO_BODY = frozenset({204, 205, 304})


def negotiate(accept_encoding: bytes | None, codings: tuple[str, ...]) -> str:
    """The best of `codings` a client accepts (RFC 9110 12.5.3); IDENTITY when none is better than no coding.

    `codings` are in our order of preference, which decides between equal q-values. Identity is as good as
    its own q-value when the client names it; unnamed it loses to every coding the client accepts.
    No field means no coding: the RFC would allow any, but such clients are the ones that cannot decode.
    When nothing at all is acceptable, RFC 9110 12.5.3 says to send the plain body.
    """
    if not accept_encoding:
        return IDENTITY
    weights = _weights(accept_encoding)
    best, best_q = IDENTITY, weights.get(b"identity", 0)
    for coding in codings:
        q = weights.get(coding.encode(), weights.get(b"*", 0))
        if q > best_q or (q == best_q and q > 0 and best == IDENTITY):
            best, best_q = coding, q
    return best


def _weights(accept_encoding: bytes) -> dict[bytes, int]:
    """Coding -> q-value in thousandths. What cannot be parsed counts as not accepted."""
    weights: dict[bytes, int] = {}
    for element in accept_encoding.lower().split(b","):
        coding, _, parameter = element.partition(b";")
        coding = coding.strip()
        name, _, value = parameter.partition(b"=")
        if not coding:
            continue
        q = 1000
        if parameter.strip():
            value = value.strip()
            q = round(float(value) * 1000) if name.strip() == b"q" and _QVALUE.match(value) else 0
        weights[b"gzip" if coding == b"x-gzip" else coding] = q  # RFC 9110 8.4.1.3
    return weights


class Encoder(Protocol):
    """A running compression."""

    def compress(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes:
        """All that was given so far, so that the client can decode it at once."""
        ...

    def finish(self) -> bytes: ...


class _Gzip:
    def __init__(self, quality: int) -> None:
        self._deflate = zlib.compressobj(min(max(quality, 1), 9), zlib.DEFLATED, 31)
        self.compress = self._deflate.compress

    def flush(self) -> bytes:
        return self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._deflate.flush(zlib.Z_FINISH)


class _Brotli:
    """Window and block are kept small: a stream takes 4.9 MiB with the defaults, under 1 MiB like this."""

    def __init__(self, quality: int) -> None:
        brotler = brotli.Compressor(quality=min(max(quality, 0), 11), lgwin=18, lgblock=16)
        self.compress: Callable[[bytes], bytes] = brotler.process
        self.flush: Callable[[], bytes] = brotler.flush
        self.finish: Callable[[], bytes] = brotler.finish


class _Zstd:
    """The window is far below the 8 MiB a browser must accept (RFC 9659), to bound memory per stream."""

    def __init__(self, quality: int) -> None:
        level = min(max(quality, 1), 19)
        parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=18)
        self._frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self.compress = self._frame.compress

    def flush(self) -> bytes:
        return self._frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._frame.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


ENCODERS: dict[str, Callable[[int], Encoder]] = {"gzip": _Gzip, "br": _Brotli, "zstd": _Zstd}


class CompressedStream:
    """A stream, compressed piece by piece as its reader asks for it: back-pressure goes through unchanged."""

    length: int | None = None  # nobody knows before the end

    def __init__(self, source: Stream, encoder: Encoder) -> None:
        self.trailers: Fields | None = None
        self._source = source
        self._encoder = encoder
        # A sender who announced no length may pause between pieces, and each must be shown when it comes.
        self._live = source.length is None
        self._ended = False

    async def read(self) -> bytes:
        while not self._ended:
            piece = await self._source.read()
            if len(piece) > INLINE_BYTES:
                coded = await asyncio.get_running_loop().run_in_executor(None, self._step, piece)
            else:
                coded = self._step(piece)
            if not piece:
                self._ended = True
                self.trailers = self._source.trailers
            if coded:
                return coded
        return b""

    def _step(self, piece: bytes) -> bytes:
        if not piece:
            return self._encoder.finish()
        coded = self._encoder.compress(piece)
        return coded + self._encoder.flush() if self._live else coded

    def close(self) -> None:
        self._source.close()


class Slices:
    """A whole body as a stream, for what is too large to be compressed in one go."""

    def __init__(self, body: bytes) -> None:
        self.length: int | None = len(body)
        self.trailers: Fields | None = None
        self._body = memoryview(body)
        self._at = 0

    async def read(self) -> bytes:
        piece = bytes(self._body[self._at : self._at + SLICE_BYTES])
        self._at += len(piece)
        return piece

    def close(self) -> None:
        self._at = len(self._body)


class Compress:
    """The filter. `storing`: what it decides is stored, so the decision is final for this response.

    An answer that could be compressed varies by Accept-Encoding even when this client gets it plain.
    """

    def __init__(self, settings: CompressionSettings, *, storing: bool) -> None:
        self._settings = settings
        self._storing = storing
        self._memo: dict[bytes, str] = {}
        self._texts: dict[bytes, bool] = {}

    def __call__(self, ctx: Context, response: Response) -> None:
        if response.settled:
            return
        if self._may_compress(ctx, response):
            _add_vary(response.fields)
            coding = self.coding(ctx.request.fields.joined(b"accept-encoding"))
            if coding != IDENTITY:
                self._apply(coding, response)
        response.settled = self._storing

    def coding(self, accept_encoding: bytes | None) -> str:
        """`negotiate` with this route's codings, remembered: few different fields are ever seen."""
        if accept_encoding is None:
            return IDENTITY
        coding = self._memo.get(accept_encoding)
        if coding is None:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            coding = self._memo[accept_encoding] = negotiate(accept_encoding, self._settings.codings)
        return coding

    def _may_compress(self, ctx: Context, response: Response) -> bool:
        """Whether this answer would be compressed for a client that accepts a coding."""
        fields, body = response.fields, response.body
        if not self._settings.codings or response.status < 200 or response.status in _NO_BODY:
            return False
        if response.status == 206 or fields.mask & CONTENT_ENCODING:
            return False
        if response.length is not None and response.length < self._settings.min_bytes:
            return False
        if not self._is_text(fields.get(b"content-type") or b""):
            return False
        if b"no-transform" in (fields.joined(b"cache-control") or b"").lower():  # RFC 9111 5.2.2.6
            return False
        if body is None:  # HEAD must tell what GET would (RFC 9110 9.3.2); otherwise there is nothing to do
            return ctx.request.method == b"HEAD"
        if isinstance(body, bytes):
            return self._storing or len(body) <= INLINE_BYTES  # who answers at once may not wait for a thread
        return hasattr(body, "read")

    def _is_text(self, content_type: bytes) -> bool:
        """Is it worth compressing? Remembered: few different types are ever seen."""
        known = self._texts.get(content_type)
        if known is None:
            if len(self._texts) >= _MEMO_ENTRIES:
                self._texts.clear()
            known = self._texts[content_type] = _TEXT.match(content_type) is not None
        return known

    def _apply(self, coding: str, response: Response) -> None:
        """Put the body into `coding`, unless that makes it longer, and make the fields true again."""
        encoder = ENCODERS[coding](self._settings.quality)
        body = response.body
        if isinstance(body, bytes) and len(body) <= INLINE_BYTES:
            coded = encoder.compress(body) + encoder.finish()
            if len(coded) >= len(body):
                return
            response.body, response.length = coded, len(coded)
        elif isinstance(body, bytes):
            response.body, response.length = CompressedStream(Slices(body), encoder), None
        elif body is None:
            response.length = None
        else:
            response.body, response.length = CompressedStream(cast(Stream, body), encoder), None
        fields = response.fields
        fields.remove(*_ABOUT_THE_BYTES)
        etag = fields.get(b"etag")
        if etag is not None and not etag.startswith(b"W/"):
            fields.remove(b"etag")
            fields.append(b"ETag", b"W/" + etag)  # other bytes, same meaning (RFC 9110 8.8.1)
        fields.append(b"Content-Encoding", coding.encode())


def _add_vary(fields: Fields) -> None:
    """Name Accept-Encoding in Vary, once (RFC 9110 12.5.5)."""
    if fields.mask & VARY:
        named = {name.strip().lower() for name in (fields.joined(b"vary") or b"").split(b",")}
        if named & {b"accept-encoding", b"*"}:
            return
    fields.append(b"Vary", b"Accept-Encoding")
