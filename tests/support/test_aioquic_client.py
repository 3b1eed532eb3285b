"""The HTTP/3 client of the other tests, before it judges anybody: against a server on aioquic alone."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import trustme
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent

from tests.support.aioquic_client import AioquicClient, connect_h3
from tests.support.tls_pair import write_pair

LARGE = 3_000_000


class Server(QuicConnectionProtocol):
    """Answers with what it was sent; some paths behave oddly."""

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
            self.heads: dict[int, dict[bytes, bytes]] = {}
            self.bodies: dict[int, bytes] = {}
            self.trailers: dict[int, bytes] = {}
        for one in self.http.handle_event(event) if hasattr(self, "http") else ():
            if isinstance(one, HeadersReceived):
                if one.stream_id in self.heads:
                    self.trailers = {one.stream_id: b",".join(name for name, _ in one.headers)}
                else:
                    self.heads[one.stream_id], self.bodies[one.stream_id] = dict(one.headers), b""
            elif isinstance(one, DataReceived):
                self.bodies[one.stream_id] += one.data
            if isinstance(one, HeadersReceived | DataReceived) and one.stream_ended:
                self._answer(one.stream_id, self.heads[one.stream_id][b":path"])
        self.transmit()

    def _answer(self, stream: int, path: bytes) -> None:
        http = self.http
        head = [(b":status", b"200"), (b"x-path", path), (b"x-a", b"1"), (b"x-a", b"2")]
        if path == b"/hints":
            http.send_headers(stream, [(b":status", b"103"), (b"link", b"</a>")])
        if path == b"/head":
            http.send_headers(stream, [*head, (b"content-length", b"5")], end_stream=True)
        elif path == b"/reset":
            http.send_headers(stream, head)
            self._quic.reset_stream(stream, ErrorCode.H3_INTERNAL_ERROR)
        elif path == b"/close":
            self._quic.close(ErrorCode.H3_EXCESSIVE_LOAD, reason_phrase="too much")
        elif path == b"/trailers":
            http.send_headers(stream, head)
            http.send_data(stream, self.trailers.get(stream, b""), end_stream=False)
            http.send_headers(stream, [(b"x-last", b"1")], end_stream=True)
        else:
            http.send_headers(stream, head)
            body = b"x" * LARGE if path == b"/large" else self.bodies[stream]
            http.send_data(stream, body, end_stream=True)


def run(directory: Path, test: Callable[[AioquicClient], Awaitable[None]]) -> None:
    certificate, key = write_pair(trustme.CA(), directory)
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(certificate, key)

    async def main() -> None:
        server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Server)
        try:
            port = server._transport.get_extra_info("sockname")[1]
            async with asyncio.timeout(20), connect_h3(port, authority="a.test") as client:
                await test(client)
        finally:
            server.close()

    asyncio.run(main())


def test_requests_and_answers_of_every_shape(tmp_path: Path) -> None:
    async def test(client: AioquicClient) -> None:
        echoed = await client.ask("/echo", method="POST", body=b"hello")
        assert (echoed.status, echoed.body, echoed.ended) == (200, b"hello", True)
        assert echoed.fields == {"x-path": "/echo", "x-a": "1, 2"}
        assert len((await client.ask("/large")).body) == LARGE
        head = await client.ask("/head", method="HEAD")
        assert (head.fields["content-length"], head.body) == ("5", b"")
        assert (await client.ask("/hints")).interim == [(103, {"link": "</a>"})]
        stream = client.begin("/trailers", method="POST", end=False)
        await client.upload(stream, [b"a", b"b"], [("x-first", "1")])
        came = await client.answer(stream)
        assert (came.body, came.trailers) == (b"x-first", {"x-last": "1"})

    run(tmp_path, test)


def test_many_streams_at_once(tmp_path: Path) -> None:
    async def test(client: AioquicClient) -> None:
        streams = [client.begin(f"/{number}", method="POST", body=b"%d" % number) for number in range(100)]
        for number, stream in enumerate(streams):
            assert (await client.answer(stream)).body == b"%d" % number

    run(tmp_path, test)


def test_what_is_cut_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    async def test(client: AioquicClient) -> None:
        cut = await client.ask("/reset")
        assert (cut.ended, cut.reset) == (False, ErrorCode.H3_INTERNAL_ERROR)
        ended = await client.ask("/close")
        assert (ended.status, ended.ended, client.closed) == (0, False, True)
        assert client.terminated == (ErrorCode.H3_EXCESSIVE_LOAD, "too much")

    run(tmp_path, test)
