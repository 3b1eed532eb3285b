"""An HTTP/3 client on aioquic's own asyncio client, with the face of `h2_client`.

async with connect_h3(port) as client:
    answer = await client.ask("/page")
"""

import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection, H3Stream
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamReset

from tests.support.exchanges import Arriving, Exchanges, Pairs, joined


class AioquicClient(Exchanges, QuicConnectionProtocol):
    """One connection. `terminated`: error code and reason of its end, once the edge has ended it."""

    def __init__(self, quic: QuicConnection, stream_handler: Any = None, *, authority: str = "a") -> None:
        Exchanges.__init__(self)
        QuicConnectionProtocol.__init__(self, quic, stream_handler)
        self.authority = authority
        self.terminated: tuple[int, str] | None = None
        self.h3 = _Http(quic)

    def flush(self) -> None:
        """Write what there is to say."""
        self.transmit()

    def begin(
        self, path: str = "/", fields: Pairs = (), *, method: str = "GET", body: bytes | None = None,
        end: bool = True, pseudo: Pairs | None = None,
    ) -> int:  # fmt: skip
        stream = self._quic.get_next_available_stream_id()
        if pseudo is None:
            pseudo = [
                (":method", method),
                (":scheme", "https"),
                (":authority", self.authority),
                (":path", path),
            ]
        self.answers[stream] = Arriving()
        self.h3.send_headers(stream, _encoded([*pseudo, *fields]), end_stream=end and body is None)
        if body is not None:
            self.h3.send_data(stream, body, end_stream=end)
        self.transmit()
        return stream

    async def upload(self, stream: int, pieces: Iterable[bytes], trailers: Pairs = ()) -> None:
        """What the windows do not allow yet waits in this process."""
        for piece in pieces:
            self.h3.send_data(stream, piece, end_stream=False)
            self.transmit()
        if trailers:
            self.h3.send_headers(stream, _encoded(trailers), end_stream=True)
        else:
            self.h3.send_data(stream, b"", end_stream=True)
        self.transmit()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.terminated, self.closed = (event.error_code, event.reason_phrase), True
        elif isinstance(event, StreamReset) and event.stream_id in self.answers:
            self.answers[event.stream_id].reset = event.error_code
        for one in self.h3.handle_event(event):
            self._on(one)
        self._news.set()

    def _on(self, event: H3Event) -> None:
        if not isinstance(event, DataReceived | HeadersReceived) or event.stream_id not in self.answers:
            return
        answer = self.answers[event.stream_id]
        if isinstance(event, DataReceived):
            answer.body += event.data
        else:
            fields = joined((name.decode(), value.decode()) for name, value in event.headers)
            status = int(fields.pop(":status", "0"))
            if 100 <= status < 200:
                answer.interim.append((status, fields))
            elif status:
                answer.fields, answer.status = fields, status
            else:
                answer.trailers = fields
        answer.ended = answer.ended or event.stream_ended


class _Http(H3Connection):
    """Without a body there may be a Content-Length all the same: to HEAD, in a 304 (RFC 9110 8.6)."""

    def _check_content_length(self, stream: H3Stream) -> None:
        if stream.content_length:
            super()._check_content_length(stream)


@asynccontextmanager
async def connect_h3(
    port: int,
    *,
    host: str = "127.0.0.1",
    authority: str = "a",
    configuration: QuicConfiguration | None = None,
) -> AsyncIterator[AioquicClient]:
    """A connection whose handshake is done. Without a configuration every certificate is believed."""
    if configuration is None:
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, server_name="localhost"
        )
    made = partial(AioquicClient, authority=authority)
    async with connect(host, port, configuration=configuration, create_protocol=made) as client:
        assert isinstance(client, AioquicClient)
        yield client


def _encoded(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in pairs]
