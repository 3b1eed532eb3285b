"""What must not wait: event streams, long polls, interim answers (RFC 9110 15.2); and trailers (6.5)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.caching_edge import BODY, CachingEdge, is_hit
from tests.support.cluster import wait_until
from tests.support.scripted_origin import Wire, answer, chunked

PATIENCE_S = 30.0
HINT = "103 Early Hints"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


class Reader:
    """A client that reads an answer as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(
        self, path: str, *fields: str, method: str = "GET", version: str = "1.1", body: bytes = b""
    ) -> None:
        lines = "".join(f"{field}\r\n" for field in ("Host: edge.test", *fields))
        self.writer.write(f"{method} {path} HTTP/{version}\r\n{lines}\r\n".encode() + body)

    async def head(self) -> tuple[str, dict[str, str]]:
        """Status and reason, and the fields, of the next answer."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        named = (line.partition(":") for line in lines[1:])
        return lines[0].partition(" ")[2], {name.lower(): value.strip() for name, _, value in named}

    async def chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size)
        if size:
            await self.reader.readexactly(2)
        return data

    async def body(self, fields: dict[str, str]) -> bytes:
        return await self.reader.readexactly(int(fields["content-length"]))


def run(edge: CachingEdge, test: Callable[..., Awaitable[None]], count: int = 1) -> None:
    """Run `test` with `count` connections to the edge."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            clients = [Reader(*await asyncio.open_connection("127.0.0.1", edge.port)) for _ in range(count)]
            try:
                await test(*clients)
            finally:
                for client in clients:
                    client.writer.transport.abort()

    asyncio.run(main())


class Events:
    """An origin's event stream whose next event is sent when `send` says so: the last one has arrived."""

    def __init__(self, *fields: str) -> None:
        self.head = "".join(
            f"{line}\r\n"
            for line in (
                "HTTP/1.1 200 OK",
                "Content-Type: text/event-stream",
                *fields,
                "Transfer-Encoding: chunked",
                "",
            )
        ).encode()
        self.streams: list[tuple[asyncio.AbstractEventLoop, asyncio.Queue[bytes]]] = []

    async def __call__(self, wire: Wire) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.streams.append((asyncio.get_running_loop(), queue))
        await wire.write(self.head)
        while event := await asyncio.wait_for(queue.get(), PATIENCE_S):
            await wire.write(b"%x\r\n%b\r\n" % (len(event), event))
        await wire.write(b"0\r\n\r\n")

    async def send(self, event: bytes, stream: int = 0) -> None:
        await asyncio.to_thread(wait_until, lambda: len(self.streams) > stream)
        loop, queue = self.streams[stream]
        loop.call_soon_threadsafe(queue.put_nowait, event)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Cache-Control: no-cache",),
        ("Cache-Control: no-store",),
        ("Cache-Control: no-cache", 'ETag: "v"'),
        ("Cache-Control: max-age=60",),
        ("Cache-Control: max-age=60", 'ETag: "v"', "Vary: Accept-Encoding"),
    ],
    ids=["nothing", "no-cache", "no-store", "validator", "max-age", "varied"],
)
def test_an_event_arrives_before_the_next_one_is_sent(edge: CachingEdge, fields: tuple[str, ...]) -> None:
    events = Events(*fields)
    path = edge.script(lambda request: events)

    async def test(client: Reader) -> None:
        client.ask(path, "Accept: text/event-stream", "Accept-Encoding: gzip, br, zstd")
        status, answered = await client.head()  # there before the first event
        assert (status, answered["content-type"]) == ("200 OK", "text/event-stream")
        assert "content-encoding" not in answered
        for number in range(50):
            event = b"data: %d\n\n" % number
            await events.send(event)
            assert await client.chunk() == event
        await events.send(b"")
        assert await client.chunk() == b""

    run(edge, test)


def test_two_readers_of_an_event_stream_do_not_wait_for_each_other(edge: CachingEdge) -> None:
    events = Events("Cache-Control: no-cache")
    path = edge.script(lambda request: events)

    async def test(first: Reader, second: Reader) -> None:
        for number, client in enumerate((first, second)):
            client.ask(path)
            assert (await client.head())[0] == "200 OK"
            await events.send(b"data: 1\n\n", number)
            assert await client.chunk() == b"data: 1\n\n"

    run(edge, test, 2)


def test_a_long_poll_is_answered_when_the_origin_answers(edge: CachingEdge) -> None:
    async def poll(wire: Wire) -> None:
        await wire.pause(0.3)
        await wire.write(answer(b"news", headers="Cache-Control: no-store"))

    path = edge.script(lambda request: poll)

    async def test(*clients: Reader) -> None:
        for client in clients:
            client.ask(path)
        for client in clients:
            _, fields = await client.head()
            assert await client.body(fields) == b"news"

    run(edge, test, 3)
    assert len(edge.asked(path)) == 3


# Interim answers


@pytest.mark.parametrize("storing", ["no-store", "max-age=60"])
@pytest.mark.parametrize("large", [False, True], ids=["whole", "streamed"])
def test_early_hints_come_before_the_answer(edge: CachingEdge, storing: str, large: bool) -> None:
    body = BODY * (200 if large else 1)
    hinted: list[str] = []

    async def hint(wire: Wire) -> None:
        await wire.write(HINTS)
        while not hinted:
            await wire.pause(0.01)
        await wire.write(answer(body, headers=f"Cache-Control: {storing}"))

    path = edge.script(lambda request: hint)

    async def test(client: Reader) -> None:
        client.ask(path)
        status, fields = await client.head()
        assert (status, fields) == (HINT, {"link": "</style.css>; rel=preload"})
        hinted.append(status)
        status, fields = await client.head()
        assert status == "200 OK"
        assert await client.body(fields) == body

    run(edge, test)
    if storing == "max-age=60":  # a stored answer was never hinted at
        assert is_hit(edge.ask(path))


def test_only_the_client_whose_request_was_sent_gets_the_hints(edge: CachingEdge) -> None:
    async def hint(wire: Wire) -> None:
        await wire.write(HINTS)
        await wire.pause(0.3)
        await wire.write(answer(BODY, headers="Cache-Control: max-age=60"))

    path = edge.script(lambda request: hint)

    async def test(*clients: Reader) -> None:
        for client in clients:
            client.ask(path)
        assert sorted([(await client.head())[0] for client in clients]) == [HINT] + ["200 OK"] * 4

    run(edge, test, 5)
    assert len(edge.asked(path)) == 1


def test_http_1_0_gets_no_hints(edge: CachingEdge) -> None:
    path = edge.script(lambda request: HINTS + answer(BODY))

    async def test(client: Reader) -> None:
        client.ask(path, version="1.0")
        assert (await client.head())[0] == "200 OK"

    run(edge, test)


def test_the_next_request_on_a_connection_gets_no_hint_of_the_one_before(edge: CachingEdge) -> None:
    path = edge.script(lambda request: HINTS + answer(BODY, headers="Cache-Control: max-age=60"))

    async def test(client: Reader) -> None:
        client.ask(path)
        assert (await client.head())[0] == HINT
        _, fields = await client.head()
        await client.body(fields)
        client.ask(path)
        status, fields = await client.head()
        assert (status, await client.body(fields)) == ("200 OK", BODY)

    run(edge, test)


def test_a_client_that_expects_100_is_asked_for_its_body(edge: CachingEdge) -> None:
    path = edge.script(lambda request: answer(request.body))

    async def test(client: Reader) -> None:
        client.ask(path, "Expect: 100-continue", "Content-Length: 4", method="POST")
        assert (await client.head())[0] == "100 Continue"
        client.writer.write(b"body")
        status, fields = await client.head()
        assert (status, await client.body(fields)) == ("200 OK", b"body")

    run(edge, test)
    assert "expect" not in edge.asked(path)[0].headers


def test_a_client_that_expects_100_is_not_asked_when_it_is_refused(edge: CachingEdge) -> None:
    async def test(client: Reader) -> None:
        client.ask("/x", "Expect: 100-continue", "Content-Length: 99999999999999", method="POST")
        assert (await client.head())[0].startswith("413")

    run(edge, test)


# Trailers


def test_trailers_of_a_request_reach_the_origin(edge: CachingEdge) -> None:
    path = edge.script(lambda request: answer(b"ok"))

    async def test(client: Reader) -> None:
        body = b"4\r\nbody\r\n0\r\nX-Checksum: abc\r\nAuthorization: no\r\n\r\n"
        client.ask(path, "Transfer-Encoding: chunked", method="POST", body=body)
        assert (await client.head())[0] == "200 OK"

    run(edge, test)
    (request,) = edge.asked(path)
    assert (request.body, request.trailers) == (b"body", {"x-checksum": "abc"})


@pytest.mark.parametrize("size", [1, 200_000], ids=["small", "large"])
@pytest.mark.parametrize("storing", ["no-store", "max-age=60"])
def test_trailers_of_an_answer_reach_a_client_that_wants_them(
    edge: CachingEdge, size: int, storing: str
) -> None:
    path = edge.script(
        lambda request: chunked(
            b"x" * size,
            trailers=("Server-Timing: x", "Set-Cookie: no"),
            headers=(f"Cache-Control: {storing}",),
        )
    )

    async def read(client: Reader, *fields: str) -> tuple[Any, bytes]:
        client.ask(path, *fields, "Connection: close")
        _, answered = await client.head()
        return answered, await client.reader.read()

    async def test(first: Reader, second: Reader) -> None:
        answered, rest = await read(first, "TE: trailers")
        assert rest.endswith(b"\r\n0\r\nServer-Timing: x\r\n\r\n")
        answered, rest = await read(second, "TE: trailers" if storing == "max-age=60" else "X-No: TE")
        if storing == "max-age=60":  # what is stored is stored without them (RFC 9110 6.5, RFC 9111 3.1)
            assert "; hit" in answered["cache-status"]
            assert int(answered["content-length"]) == size == len(rest)
        else:
            assert rest.endswith(b"\r\n0\r\n\r\n")

    run(edge, test, 2)
