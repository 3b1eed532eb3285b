"""A request's body that may have to be sent once more."""

import asyncio

from tests.support.origin_client import Upload, read_all, run
from worker.fields import Fields
from worker.origin.repeat import KEPT_BYTES, Repeatable


def test_what_was_read_is_read_again_and_then_the_rest():
    async def main():
        trailers = Fields.of([(b"x-sum", b"1")])
        body = Repeatable(Upload([b"one", b"two", b"three"], trailers=trailers))
        assert [await body.read(), await body.read()] == [b"one", b"two"]
        for _ in range(2):
            assert body.rewind()
            assert await read_all(body) == b"onetwothree"
            assert body.trailers is trailers

    run(main())


def test_a_long_body_cannot_be_repeated_and_is_not_kept():
    async def main():
        body = Repeatable(Upload([bytes(KEPT_BYTES), b"x", b"y"]))
        assert len(await body.read()) == KEPT_BYTES
        assert body.rewind()
        assert len(await body.read()) == KEPT_BYTES
        assert await body.read() == b"x"
        assert not body.rewind()
        assert await read_all(body) == b"y"

    run(main())


def test_nothing_is_kept_of_a_body_whose_answer_has_begun():
    async def main():
        body = Repeatable(Upload([b"one", b"two"]))
        assert await body.read() == b"one"
        body.forget()
        assert not body.rewind()
        assert await read_all(body) == b"two"

    run(main())


def test_who_stops_reading_loses_nothing():
    """The upload that is cancelled gives way to the next, wherever it waited."""

    async def main():
        source = Upload([b"one"])
        source.gate = asyncio.Event()
        body = Repeatable(source)
        assert await body.read() == b"one"
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert body.rewind()
        source.gate.set()
        assert await read_all(body) == b"one"

    run(main())
