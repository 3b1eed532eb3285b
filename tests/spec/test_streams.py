"""What must not wait: event streams, long polls, interim answers (RFC 9110 15.2); and trailers (6.5)."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import BinaryIO

import pytest

from tests.support.caching_edge import BODY, CachingEdge, is_hit
from tests.support.cluster import wait_until
from tests.support.exchanges import Arriving, Exchanges
from tests.support.scripted_origin import Wire, answer, chunked

PATIENCE_S = 30.0
LINK = "</style.css>; rel=preload"
HINTS = f"HTTP/1.1 103 Early Hints\r\nLink: {LINK}\r\n\r\n".encode()
HINTED = [(103, {"link": LINK})]


def run(edge: CachingEdge, test: Callable[[Exchanges], Awaitable[None]]) -> None:
    """Run `test` with a client of the edge."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), edge.connect() as client:
            await test(client)

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

    async def test(client: Exchanges) -> None:
        asked = [("accept", "text/event-stream"), ("accept-encoding", "gzip, br, zstd")]
        stream = client.begin(path, asked)
        answered = await client.head(stream)  # there before the first event
        assert (answered.status, answered.fields["content-type"]) == (200, "text/event-stream")
        assert "content-encoding" not in answered.fields
        for number in range(50):
            event = b"data: %d\n\n" % number
            await events.send(event)
            assert await client.body(stream, len(event)) == event
        await events.send(b"")
        assert (await client.answer(stream)).ended
        assert answered.body == b""

    run(edge, test)


def test_two_readers_of_an_event_stream_do_not_wait_for_each_other(edge: CachingEdge) -> None:
    events = Events("Cache-Control: no-cache")
    path = edge.script(lambda request: events)

    async def test(client: Exchanges) -> None:
        for number in range(2):
            stream = client.begin(path)
            assert (await client.head(stream)).status == 200
            await events.send(b"data: 1\n\n", number)
            assert await client.body(stream, 9) == b"data: 1\n\n"

    run(edge, test)


def test_a_long_poll_is_answered_when_the_origin_answers(edge: CachingEdge) -> None:
    async def poll(wire: Wire) -> None:
        await wire.pause(0.3)
        await wire.write(answer(b"news", headers="Cache-Control: no-store"))

    path = edge.script(lambda request: poll)

    async def test(client: Exchanges) -> None:
        streams = [client.begin(path) for _ in range(3)]
        assert [(await client.answer(stream)).body for stream in streams] == [b"news"] * 3

    run(edge, test)
    assert len(edge.asked(path)) == 3


# Interim answers


@pytest.mark.parametrize("storing", ["no-store", "max-age=60"])
@pytest.mark.parametrize("large", [False, True], ids=["whole", "streamed"])
def test_early_hints_come_before_the_answer(edge: CachingEdge, storing: str, large: bool) -> None:
    body = BODY * (200 if large else 1)
    hinted: list[bool] = []

    async def hint(wire: Wire) -> None:
        await wire.write(HINTS)
        while not hinted:
            await wire.pause(0.01)
        await wire.write(answer(body, headers=f"Cache-Control: {storing}"))

    path = edge.script(lambda request: hint)

    async def test(client: Exchanges) -> None:
        stream = client.begin(path)
        await client.until(lambda: client.answers[stream].interim)
        hinted.append(True)
        came = await client.answer(stream)
        assert (came.interim, came.status, came.body) == (HINTED, 200, body)

    run(edge, test)
    if storing == "max-age=60":  # a stored answer was never hinted at
        assert is_hit(edge.ask(path))


def test_only_the_client_whose_request_was_sent_gets_the_hints(edge: CachingEdge) -> None:
    async def hint(wire: Wire) -> None:
        await wire.write(HINTS)
        await wire.pause(0.3)
        await wire.write(answer(BODY, headers="Cache-Control: max-age=60"))

    path = edge.script(lambda request: hint)

    async def test(client: Exchanges) -> None:
        came = [await client.answer(stream) for stream in [client.begin(path) for _ in range(5)]]
        assert sorted(one.interim for one in came) == [[]] * 4 + [HINTED]
        assert {bytes(one.body) for one in came} == {BODY}

    run(edge, test)
    assert len(edge.asked(path)) == 1


def test_a_client_that_expects_100_is_asked_for_its_body(edge: CachingEdge) -> None:
    path = edge.script(lambda request: answer(request.body))

    async def test(client: Exchanges) -> None:
        expecting = [("expect", "100-continue"), ("content-length", "4")]
        stream = client.begin(path, expecting, method="POST", end=False)
        await client.until(lambda: client.answers[stream].interim)
        await client.upload(stream, [b"body"])
        came = await client.answer(stream)
        assert (came.interim, came.status, came.body) == ([(100, {})], 200, b"body")

    run(edge, test)
    assert "expect" not in edge.asked(path)[0].headers


def test_a_client_that_expects_100_is_not_asked_when_it_is_refused(edge: CachingEdge) -> None:
    async def test(client: Exchanges) -> None:
        expecting = [("expect", "100-continue"), ("content-length", "99999999999999")]
        came = await client.head(client.begin("/x", expecting, method="POST", end=False))
        assert (came.interim, came.status) == ([], 413)

    run(edge, test)


# Trailers


def test_trailers_of_a_request_reach_the_origin(edge: CachingEdge) -> None:
    path = edge.script(lambda request: answer(b"ok"))

    async def test(client: Exchanges) -> None:
        stream = client.begin(path, method="POST", end=False)
        await client.upload(stream, [b"bo", b"dy"], [("x-checksum", "abc"), ("authorization", "no")])
        assert (await client.answer(stream)).status == 200

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

    async def test(client: Exchanges) -> None:
        async def ask(*fields: tuple[str, str]) -> Arriving:
            came = await client.ask(path, fields)
            assert (came.ended, came.body) == (True, b"x" * size)
            return came

        assert (await ask(("te", "trailers"))).trailers == {"server-timing": "x"}
        if storing == "max-age=60":  # what is stored is stored without them (RFC 9110 6.5, RFC 9111 3.1)
            second = await ask(("te", "trailers"))
            assert "; hit" in second.fields["cache-status"]
            assert int(second.fields["content-length"]) == size
        else:
            second = await ask(("x-no", "te"))
        assert second.trailers == {}

    run(edge, test)


# Of HTTP/1 alone


def read_head(reader: BinaryIO) -> tuple[bytes, dict[bytes, bytes]]:
    """Status and reason, and the fields, of the next answer."""
    status = reader.readline().partition(b" ")[2].strip()
    lines = iter(reader.readline, b"\r\n")
    return status, {
        name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)
    }


@pytest.fixture
def http1(caching_edge: CachingEdge) -> Iterator[socket.socket]:
    """A connection of HTTP/1."""
    with socket.create_connection(("127.0.0.1", caching_edge.ends.plain), PATIENCE_S) as connection:
        yield connection


def test_http_1_0_gets_no_hints(caching_edge: CachingEdge, http1: socket.socket) -> None:
    path = caching_edge.script(lambda request: HINTS + answer(BODY))
    http1.sendall(f"GET {path} HTTP/1.0\r\nHost: edge.test\r\n\r\n".encode())
    with http1.makefile("rb") as reader:
        assert read_head(reader)[0] == b"200 OK"


def test_the_next_request_on_a_connection_gets_no_hint_of_the_one_before(
    caching_edge: CachingEdge, http1: socket.socket
) -> None:
    path = caching_edge.script(lambda request: HINTS + answer(BODY, headers="Cache-Control: max-age=60"))
    with http1.makefile("rb") as reader:
        for hints in ([b"103 Early Hints"], []):
            http1.sendall(f"GET {path} HTTP/1.1\r\nHost: edge.test\r\n\r\n".encode())
            assert [read_head(reader)[0] for _ in hints] == hints
            status, fields = read_head(reader)
            assert (status, reader.read(int(fields[b"content-length"]))) == (b"200 OK", BODY)
