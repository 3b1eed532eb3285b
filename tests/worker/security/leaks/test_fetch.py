"""The fetch stage around an origin: what it asks, what becomes of the answer and of its fields."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.support.contexts import make_context
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Body, Response
from worker.reasons import Fault, Leak, Side
from worker.security.leaks.fetch import SLICE_BYTES, InspectedStream, LeakFetch
from worker.security.leaks.finder import finder
from worker.settings import LeakSettings

Lines = Sequence[tuple[bytes, bytes]]

ALL = finder(frozenset(Leak))
CARD = b"4111 1111 1111 1111"
MASKED = b"*" * len(CARD)
TAG = (b"ETag", b'"1"')
HTML = (b"Content-Type", b"text/html")
DIGEST = (b"Content-Digest", b"sha-256=:AAAA:")


class Pieces:
    """A stream that gives these pieces, and tells what was done with it."""

    def __init__(self, *pieces: bytes) -> None:
        self.length: int | None = None
        self.trailers: Fields | None = None
        self.left = list(pieces)
        self.closed = False

    async def read(self) -> bytes:
        if self.left:
            return self.left.pop(0)
        self.trailers = Fields.of([(b"Content-Digest", b"x"), (b"X-Sum", b"7")])
        return b""

    def close(self) -> None:
        self.closed = True


class Origin:
    """A fetch stage that gives these answers in turn and keeps what it was asked."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[bytes, tuple[bytes, ...]]] = []

    async def __call__(
        self, ctx: Context, extra: Fields | None = None, drop: tuple[bytes, ...] = ()
    ) -> Response:
        self.asked.append((b"" if extra is None else extra.encode(), drop))
        return self.answers.pop(0)


class Asked:
    """What came of one request."""

    def __init__(
        self,
        origin: Origin,
        mode: str = "mask",
        *request: tuple[bytes, bytes],
        method: bytes = b"GET",
        extra: Lines = (),
        hold: int = 64 * 1024,
    ) -> None:
        self.ctx = make_context(*request, method=method)
        self.noted: list[Leak] = []
        self.missed = 0
        settings = LeakSettings(mode, hold_bytes=hold)
        self._fetch = LeakFetch(
            origin, settings, ALL, lambda ctx, leak, mode: self.noted.append(leak), self._miss
        )
        self._extra = Fields.of(extra) if extra else None

    def _miss(self) -> None:
        self.missed += 1

    async def response(self) -> Response:
        return await self._fetch(self.ctx, self._extra)

    def now(self) -> Response:
        return asyncio.run(self.response())


def response(body: Body, *lines: tuple[bytes, bytes], status: int = 200) -> Response:
    return Response(status, Fields.of(lines), body, len(body) if isinstance(body, bytes) else None)


async def read_all(body: Body) -> bytes:
    assert isinstance(body, InspectedStream)
    pieces = []
    while piece := await body.read():
        pieces.append(piece)
    assert await body.read() == b""
    return b"".join(pieces)


def test_the_origin_is_asked_for_no_coding() -> None:
    origin = Origin(response(b"", HTML))
    extra = [(b"Accept-Encoding", b"gzip"), (b"If-None-Match", b'"1"')]
    Asked(origin, "log", (b"Accept-Encoding", b"gzip, br"), extra=extra).now()
    assert origin.asked == [(b'If-None-Match: "1"\r\n', (b"accept-encoding",))]


def test_a_part_of_a_text_is_asked_for_as_a_whole() -> None:
    part, whole = response(CARD[:5], HTML, status=206), response(CARD, HTML)
    origin = Origin(part, whole)
    extra = [(b"Range", b"bytes=0-4"), (b"If-Range", b'"1"'), (b"X-A", b"1")]
    assert Asked(origin, "mask", extra=extra).now().body == MASKED
    assert origin.asked[1] == (b"X-A: 1\r\n", (b"accept-encoding", b"range", b"if-range"))


@pytest.mark.parametrize(
    ("mode", "kind", "method"),
    [("log", b"text/html", b"GET"), ("mask", b"video/mp4", b"GET"), ("mask", b"text/html", b"POST")],
)
def test_other_parts_stay_as_they_are(mode: str, kind: bytes, method: bytes) -> None:
    origin = Origin(response(CARD[:5], (b"Content-Type", kind), status=206))
    assert Asked(origin, mode, method=method).now().body == CARD[:5]


def test_only_a_body_that_was_changed_loses_its_validators() -> None:
    changed = Asked(Origin(response(CARD, HTML, TAG, DIGEST))).now()
    assert changed.fields.items() == [HTML, (b"ETag", b'W/"1"')]
    assert changed.length == len(CARD)
    clean = Asked(Origin(response(b"fine", HTML, TAG, DIGEST))).now()
    assert clean.fields.items() == [HTML, TAG, DIGEST]


def test_a_stream_that_may_be_changed_has_weak_validators_from_the_start() -> None:
    async def run() -> None:
        source = Pieces(b"a " * 5000, CARD[:7], CARD[7:], b" b" * 5000)
        got = await Asked(Origin(response(source, HTML, TAG, DIGEST))).response()
        assert got.fields.items() == [HTML, (b"ETag", b'W/"1"')]
        assert await read_all(got.body) == b"a " * 5000 + MASKED + b" b" * 5000
        assert isinstance(got.body, InspectedStream)
        assert got.body.trailers is not None
        assert got.body.trailers.items() == [(b"X-Sum", b"7")]
        got.body.close()
        assert source.closed

    asyncio.run(run())


def test_head_is_told_the_fields_that_get_may_have() -> None:
    asked = Asked(Origin(response(None, HTML, TAG, DIGEST)), method=b"HEAD")
    assert asked.now().fields.items() == [HTML, (b"ETag", b'W/"1"')]
    assert Asked(Origin(response(None, HTML, TAG)), "log", method=b"HEAD").now().fields.items() == [HTML, TAG]


@pytest.mark.parametrize(
    ("sent", "told"), [(b'W/"1"', b'W/"1"'), (b'"0", W/"1"', b'W/"1"'), (b'"1"', b'"1"'), (None, b'"1"')]
)
def test_a_304_names_the_tag_that_the_client_has(sent: bytes | None, told: bytes) -> None:
    lines = [] if sent is None else [(b"If-None-Match", sent)]
    answer = Asked(Origin(response(None, TAG, status=304)), "mask", *lines).now()
    assert answer.fields.get(b"etag") == told


def test_log_hands_on_every_piece_as_it_comes_and_tells_once() -> None:
    async def run() -> None:
        pieces = [CARD[:7], CARD[7:] + b"\n", CARD + b" x" * 2000]
        asked = Asked(Origin(response(Pieces(*pieces), HTML, TAG)), "log")
        got = await asked.response()
        assert isinstance(got.body, InspectedStream)
        assert [await got.body.read() for _ in pieces] == pieces
        assert got.fields.items() == [HTML, TAG]
        assert await got.body.read() == b""
        assert asked.noted == [Leak.CARD_NUMBER]
        assert asked.ctx.leaks == (Leak.CARD_NUMBER,)

    asyncio.run(run())


@pytest.mark.parametrize("body", [CARD, Pieces(b"a " * 3000, CARD, b" b" * 3000)], ids=["whole", "stream"])
def test_replace_is_an_error_of_the_origin_before_anything_is_sent(body: Body) -> None:
    asked = Asked(Origin(response(body, HTML)), "replace")
    with pytest.raises(EdgeError) as raised:
        asked.now()
    assert (raised.value.status, raised.value.side, raised.value.fault) == (502, Side.ORIGIN, Fault.LEAK)
    assert asked.noted == [Leak.CARD_NUMBER]
    assert not isinstance(body, Pieces) or body.closed


def test_replace_breaks_off_behind_its_head_start() -> None:
    async def run() -> None:
        source = Pieces(b"a" * 3000, b"b" * 3000, b" " + CARD, b" " * 3000)
        got = await Asked(Origin(response(source, HTML, TAG)), "replace", hold=1900).response()
        assert source.left[0].startswith(b"b")
        assert got.fields.items() == [HTML, TAG]
        with pytest.raises(EdgeError):
            await read_all(got.body)
        assert source.closed

    asyncio.run(run())


def test_replace_holds_what_it_has_looked_at_and_gives_all_of_it() -> None:
    async def run() -> None:
        text = [b"a" * 3000, b"b" * 3000, b"c" * 3000]
        got = await Asked(Origin(response(Pieces(*text), HTML)), "replace", hold=1 << 20).response()
        assert await read_all(got.body) == b"".join(text)

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["mask", "replace"])
def test_events_are_looked_at_as_they_come_and_never_wait(mode: str) -> None:
    async def run() -> None:
        source = Pieces(b"data: 1\n\n", b"data: 2\n\n", b"data: %b\n\n" % CARD)
        got = await Asked(Origin(response(source, (b"Content-Type", b"text/event-stream"))), mode).response()
        assert isinstance(got.body, InspectedStream)
        assert [await got.body.read(), await got.body.read()] == [b"data: 1\n\n", b"data: 2\n\n"]
        if mode == "mask":
            assert await got.body.read() == b"data: %b\n\n" % MASKED
        else:
            with pytest.raises(EdgeError):
                await got.body.read()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([(b"Content-Type", b"image/png")], 200),
        ([(b"Content-Type", b"application/grpc+json")], 200),
        ([(b"Content-Type", b"text/html; charset=UTF-16")], 200),
        ([HTML], 204),
        ([HTML], 101),
    ],
)
def test_what_is_no_text_is_left(lines: Lines, status: int) -> None:
    asked = Asked(Origin(response(CARD, *lines, status=status)))
    assert asked.now().body == CARD
    assert (asked.noted, asked.missed) == ([], 0)


@pytest.mark.parametrize("kind", [b"application/octet-stream", b""])
def test_a_body_without_a_type_is_a_text_if_it_begins_like_one(kind: bytes) -> None:
    async def run() -> None:
        lines = [(b"Content-Type", kind)] if kind else []
        assert (await Asked(Origin(response(CARD, *lines))).response()).body == MASKED
        assert (await Asked(Origin(response(b"\0" + CARD, *lines))).response()).body == b"\0" + CARD
        text = await Asked(Origin(response(Pieces(b"text ", CARD), *lines, TAG))).response()
        assert await read_all(text.body) == b"text " + MASKED
        assert text.fields.get(b"etag") == b'W/"1"'
        binary = await Asked(Origin(response(Pieces(b"\0", CARD), *lines, TAG))).response()
        assert hasattr(binary.body, "read")
        assert [await binary.body.read() for _ in range(3)] == [b"\0", CARD, b""]
        assert binary.fields.get(b"etag") == b'"1"'

    asyncio.run(run())


def test_a_coded_text_passes_and_is_told() -> None:
    asked = Asked(Origin(response(CARD, HTML, (b"Content-Encoding", b"gzip"))))
    assert asked.now().body == CARD
    assert asked.missed == 1
    asked = Asked(Origin(response(CARD, HTML, (b"Content-Encoding", b"identity"))))
    assert asked.now().body == MASKED


def test_a_long_body_is_looked_at_in_slices() -> None:
    text = b"word " * SLICE_BYTES + CARD
    assert Asked(Origin(response(text, HTML))).now().body == b"word " * SLICE_BYTES + MASKED
