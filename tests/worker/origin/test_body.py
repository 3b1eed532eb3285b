"""The body's buffer and the chunked coding, without a socket."""

import random

import pytest

from tests.support.origin_client import run
from worker.origin.body import HIGH_WATER_BYTES, OVERHEAD_BYTES, Body, BodyError, Chunks
from worker.origin.response_head import CHUNKED, UNTIL_CLOSE

CODED = b"5\r\nhello\r\n1;a=b\r\n \r\n5\r\nworld\r\n0\r\nX-Sum: 11\r\n\r\n"


class Recorder:
    """A tap that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def abandon(self) -> None:
        self.told.append("abandon")


@pytest.mark.parametrize("seed", range(20))
def test_chunks_do_not_depend_on_how_the_bytes_are_cut(seed):
    rng = random.Random(seed)
    chunks = Chunks()
    pieces = []
    at = 0
    while at < len(CODED):
        size = rng.randint(1, 12)
        pieces += chunks.feed(CODED[at : at + size])
        assert chunks.complete == (at + size >= len(CODED))
        at += size
    assert b"".join(pieces) == b"hello world"
    assert chunks.trailers == [(b"X-Sum", b"11")]
    assert not chunks.surplus


def test_bytes_behind_the_last_chunk_are_surplus():
    chunks = Chunks()
    assert b"".join(chunks.feed(CODED + b"HTTP/1.1 200 OK\r\n")) == b"hello world"
    assert chunks.complete
    assert chunks.surplus


def test_bytes_that_bring_the_body_no_further_are_bounded():
    chunks = Chunks()
    chunks.feed(b"1\r\na\r\n1;")
    with pytest.raises(BodyError):
        for _ in range(OVERHEAD_BYTES // 1024 + 1):
            chunks.feed(b"x" * 1024)


def test_a_counted_body_ends_with_its_last_byte():
    async def main():
        body = Body(Recorder(), 10, 10)
        body.feed(b"hello")
        assert not body.complete
        body.feed(b"worldsurplus")
        assert body.complete
        assert body.surplus
        assert await body.read() == b"helloworld"
        assert await body.read() == b""
        assert await body.read() == b""

    run(main())


def test_reading_pauses_above_the_high_water_mark_and_goes_on_below_the_low_one():
    async def main():
        tap = Recorder()
        body = Body(tap, UNTIL_CLOSE, None)
        for _ in range(HIGH_WATER_BYTES // 65536):
            body.feed(bytes(65536))
        assert tap.told == []
        body.feed(b"one more")
        assert tap.told == ["pause"]
        for _ in range(HIGH_WATER_BYTES // 65536 - 1):
            assert len(await body.read()) == 65536
        assert tap.told == ["pause"]
        assert len(await body.read()) == 65536
        assert tap.told == ["pause", "resume"]

    run(main())


def test_small_pieces_are_read_as_one():
    async def main():
        body = Body(Recorder(), CHUNKED, None)
        body.feed(CODED)
        assert await body.read() == b"hello world"
        assert body.trailers is not None
        assert body.trailers.get(b"x-sum") == b"11"

    run(main())


def test_a_complete_body_leaves_its_connection_alone():
    async def main():
        tap = Recorder()
        body = Body(tap, 5, 5)
        body.feed(b"hello")
        assert await body.read() == b"hello"
        body.close()
        assert tap.told == []

    run(main())


def test_closing_early_abandons_the_connection():
    tap = Recorder()
    body = Body(tap, 5, 5)
    body.feed(b"hell")
    body.close()
    assert tap.told == ["abandon"]
