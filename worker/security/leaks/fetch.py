"""A fetch stage that looks for leaks in its answers: they are logged, or overwritten, or it is an error.

Stands around a route's origin, in front of cache and compression, so what is stored is clean and a hit costs
nothing; and on every way to the origin, so what is not stored, errors and refreshes are looked at as well.

What the origin is asked differs for it: for no coding, since a coded text cannot be looked at; and where the
answer to a range would be a part of a text, for all of it, since a part may cut a leak in two.

Fields stay true: lengths and places do not change. A text that was overwritten, or may be after its fields
were sent, loses its digests, and its entity tag becomes weak, because at the origin that tag stands for other
bytes (RFC 9110 8.8.1). A whole text that proves clean keeps them. no-transform is not heeded: it binds
proxies (RFC 9110 7.7), and a gateway is an origin to its clients (3.7).
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import thread_time_ns
from typing import Any, cast

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import IF_NONE_MATCH, Fields
from worker.message import Response, Stream
from worker.reasons import Fault, Leak, Side
from worker.security.leaks.finder import Finder
from worker.security.leaks.inspection import Inspection
from worker.security.leaks.media import Media, is_text, media
from worker.settings import LeakSettings

# Looked at in one go. Clean text takes some 20 us, one full of signs 0.7 ms. One with leaks of all kinds in a
# KiB took up to 12 ms, so behind a leak slices are smaller: 4 ms at worst then, 1 ms for one kind.
SLICE_BYTES = 16 * 1024
_SMALL_BYTES = 2 * 1024
_TURN_NS = 500_000  # after so much work others have their turn

_CODING = (b"accept-encoding",)
_RANGE = (b"range", b"if-range")
_DIGESTS = (b"content-md5", b"digest", b"content-digest", b"repr-digest")

Note = Callable[[Context, Leak, str], None]
Missed = Callable[[], None]


class LeakFetch:
    """`note` is told of each kind that an answer has, once; `missed` of those that could not be looked at."""

    def __init__(
        self,
        fetch: Callable[..., Awaitable[Response]],
        settings: LeakSettings,
        finder: Finder,
        note: Note,
        missed: Missed,
    ) -> None:
        self._fetch = fetch
        self._settings = settings
        self._finder = finder
        self._note = note
        self._missed = missed

    async def __call__(
        self, ctx: Context, extra: Fields | None = None, drop: tuple[bytes, ...] = (), *how: Any, **more: Any
    ) -> Response:
        response = await self._fetch(ctx, _without(extra, _CODING), drop + _CODING, *how, **more)
        if self._settings.mode != "log" and _is_part_of_text(ctx, response):
            _give_back(response)
            unwanted = _CODING + _RANGE
            response = await self._fetch(ctx, _without(extra, unwanted), drop + unwanted, *how, **more)
        if response.status == 304 and self._settings.mode == "mask":
            _weaken_as_asked(ctx, response.fields)
        kind = media(response)
        if kind is Media.OTHER:
            return response
        if kind is Media.CODED:
            self._missed()
        elif response.body is None:
            if self._settings.mode == "mask":
                _weaken(response.fields)  # HEAD is told what GET would be
        elif isinstance(response.body, bytes):
            await self._look_at_whole(ctx, response, response.body, kind)
        elif hasattr(response.body, "read"):
            await self._look_at_stream(ctx, response, cast(Stream, response.body), kind)
        return response

    async def _look_at_whole(self, ctx: Context, response: Response, body: bytes, kind: Media) -> None:
        if kind is Media.UNKNOWN and not is_text(body):
            return
        look = self._look(ctx)
        masked = await look(body, last=True)
        if self._settings.mode == "mask" and masked != body:
            response.body = masked
            _weaken(response.fields)

    async def _look_at_stream(self, ctx: Context, response: Response, source: Stream, kind: Media) -> None:
        held: list[bytes] = []
        try:
            if kind is Media.UNKNOWN:
                held.append(await source.read())
            if not is_text(b"".join(held)):
                response.body = _Ahead(source, held)
                return
            stream = InspectedStream(
                _Ahead(source, held) if held else source, self._look(ctx), kind is Media.LIVE
            )
            if self._settings.mode == "replace" and kind is not Media.LIVE:
                await stream.hold(self._settings.hold_bytes)
        except BaseException:
            source.close()
            raise
        response.body = stream
        if self._settings.mode == "mask":
            _weaken(response.fields)

    def _look(self, ctx: Context) -> "Look":
        return Look(ctx, self._settings, Inspection(self._finder, self._settings.limit_bytes), self._note)


class Look:
    """One answer's text on its way past the rules, and what the route does about what they find."""

    def __init__(self, ctx: Context, settings: LeakSettings, inspection: Inspection, note: Note) -> None:
        self._ctx = ctx
        self._settings = settings
        self._inspection = inspection
        self._note = note
        self._noted = 0

    async def __call__(self, piece: bytes, *, last: bool) -> bytes:
        """What the reader may have now. Raises EdgeError where answers with leaks are replaced."""
        inspection = self._inspection
        if inspection.is_over:
            return piece
        given: list[bytes] = []
        begun_ns = thread_time_ns()
        start = 0
        while True:
            if thread_time_ns() - begun_ns > _TURN_NS:
                await asyncio.sleep(0)
                begun_ns = thread_time_ns()
            end = start + (_SMALL_BYTES if self._noted else SLICE_BYTES)
            given.append(inspection.feed(piece[start:end], last=last and end >= len(piece)))
            if len(inspection.found) > self._noted:
                self._tell()
            if end >= len(piece):
                return piece if self._settings.mode == "log" else b"".join(given)
            start = end

    def _tell(self) -> None:
        ctx, found = self._ctx, tuple(self._inspection.found)
        for leak in found[self._noted :]:
            self._note(ctx, leak, self._settings.mode)
        self._noted = len(found)
        ctx.leaks = found
        if self._settings.mode == "replace":
            raise EdgeError(self._settings.status, Side.ORIGIN, Fault.LEAK, ", ".join(found))


class InspectedStream:
    """A body that is looked at as its reader asks for it. `live`: no byte waits for those behind it."""

    def __init__(self, source: Stream, look: Look, live: bool) -> None:
        self.length = source.length
        self.trailers: Fields | None = None
        self._source = source
        self._look = look
        self._live = live
        self._held: list[bytes] = []
        self._ended = False

    async def hold(self, size: int) -> None:
        """Look at so many bytes, or all there are, before anybody reads."""
        seen = 0
        while seen < size and not self._ended:
            before, piece = seen, await self._next()
            seen = before + len(piece)
            self._held.append(piece)

    async def read(self) -> bytes:
        while self._held:
            piece = self._held.pop(0)
            if piece:
                return piece
        while not self._ended:
            piece = await self._next()
            if piece:
                return piece
        return b""

    async def _next(self) -> bytes:
        """What is settled after another piece of the source; b"" is not the end."""
        piece = await self._source.read()
        if not piece:
            self._ended = True
            self.trailers = _true_trailers(self._source.trailers)
        try:
            return await self._look(piece, last=self._ended or self._live)
        except EdgeError:
            self._source.close()
            raise

    def close(self) -> None:
        self._held.clear()
        self._source.close()


class _Ahead:
    """A stream of which something was read already."""

    def __init__(self, source: Stream, pieces: list[bytes]) -> None:
        self.length = source.length
        self.trailers: Fields | None = None
        self._source = source
        self._pieces = pieces

    async def read(self) -> bytes:
        if self._pieces:
            piece = self._pieces.pop(0)
        else:
            piece = await self._source.read()
        if not piece:
            self.trailers = self._source.trailers
        return piece

    def close(self) -> None:
        self._source.close()


def _without(extra: Fields | None, names: tuple[bytes, ...]) -> Fields | None:
    if extra is None:
        return None
    lines = extra.encode_without(names)
    return Fields.trusted(lines) if lines else None


def _is_part_of_text(ctx: Context, response: Response) -> bool:
    """May it be a part of a text, to a request that can be repeated?"""
    if response.status != 206 or ctx.request.method != b"GET" or ctx.request.body is not None:
        return False
    kind = response.fields.get(b"content-type") or b""
    return kind.startswith(b"multipart/byteranges") or media(response) in (Media.TEXT, Media.UNKNOWN)


def _give_back(response: Response) -> None:
    if hasattr(response.body, "close"):
        cast(Stream, response.body).close()


def _weaken(fields: Fields) -> None:
    """Make the fields true of a body that may have changed (RFC 9110 8.8.1)."""
    fields.remove(*_DIGESTS)
    etag = fields.get(b"etag")
    if etag is not None and not etag.startswith(b"W/"):
        fields.remove(b"etag")
        fields.append(b"ETag", b"W/" + etag)


def _true_trailers(trailers: Fields | None) -> Fields | None:
    """Without what they say of the bytes, which may have changed."""
    if trailers is None or not any(name in trailers for name in _DIGESTS):
        return trailers
    true = trailers.copy()
    true.remove(*_DIGESTS)
    return true


def _weaken_as_asked(ctx: Context, fields: Fields) -> None:
    """Call the client's copy by the tag it has, or it would not take the 304 for its own (RFC 9111 4.3.4)."""
    etag = fields.get(b"etag")
    asked = ctx.request.fields
    if (
        etag is not None
        and asked.mask & IF_NONE_MATCH
        and b"W/" + etag in (asked.joined(b"if-none-match") or b"")
    ):
        _weaken(fields)
