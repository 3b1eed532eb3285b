"""An HTTP/2 client on the `h2` package, over a real socket: one connection, any number of streams at once.

async with edge.client() as client:
    answer = await client.ask("/page")
"""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from tests.support.exchanges import Arriving, Exchanges, Pairs, joined


class H2Client(Exchanges):
    """One connection. `answers` by stream id; `goaways` are (error code, last stream id) in order."""

    def __init__(
        self,
        reader: StreamReader,
        writer: StreamWriter,
        *,
        scheme: str = "http",
        authority: str = "a",
        reading: bool = True,
        window: int | None = None,
        checks: bool = True,
    ) -> None:
        """`reading`: give the edge its window back as data comes. `checks`: send only what is right."""
        super().__init__()
        self.reader = reader
        self.writer = writer
        self.scheme = scheme
        self.authority = authority
        self.reading = reading
        self.goaways: list[tuple[int, int]] = []
        self._frames = _Frames()
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=checks,
                normalize_outbound_headers=checks,
            )
        )
        if window is not None:
            self.h2.local_settings = Settings(
                client=True,
                initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.ENABLE_PUSH: 0},
            )
        self.h2.initiate_connection()
        self.flush()
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def flush(self) -> None:
        """Write what `h2` has to say."""
        data = self.h2.data_to_send()
        if data:
            self.writer.write(data)

    def begin(
        self,
        path: str = "/",
        fields: Pairs = (),
        *,
        method: str = "GET",
        body: bytes | None = None,
        end: bool = True,
        pseudo: Pairs | None = None,
    ) -> int:
        """Send a request (and a body that fits the windows); its stream."""
        stream = self.h2.get_next_available_stream_id()
        if pseudo is None:
            pseudo = [
                (":method", method),
                (":scheme", self.scheme),
                (":authority", self.authority),
                (":path", path),
            ]
        self.answers[stream] = Arriving()
        self.h2.send_headers(stream, [*pseudo, *fields], end_stream=end and body is None)
        if body is not None:
            for at in range(0, len(body), 16384):
                self.h2.send_data(stream, body[at : at + 16384])
            if end:
                self.h2.end_stream(stream)
        self.flush()
        return stream

    async def upload(self, stream: int, pieces: Iterable[bytes], trailers: Pairs = ()) -> None:
        """Send a body as the windows allow."""
        for piece in pieces:
            at = 0
            while at < len(piece):
                window = self.h2.local_flow_control_window(stream)
                if window <= 0:
                    await self.until(lambda: self.h2.local_flow_control_window(stream) > 0 or self.closed)
                    continue
                part = piece[at : at + min(window, 16384)]
                self.h2.send_data(stream, part)
                at += len(part)
                self.flush()
                await self.writer.drain()
        if trailers:
            self.h2.send_headers(stream, list(trailers), end_stream=True)
        else:
            self.h2.end_stream(stream)
        self.flush()

    async def _read(self) -> None:
        try:
            while data := await self.reader.read(65536):
                for frame in self._frames.split(data):
                    for event in self.h2.receive_data(frame):
                        self._on(event)
                self.flush()
                self._news.set()
        except (OSError, ProtocolError):
            pass
        finally:
            self.closed = True
            self._news.set()

    def _on(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self.goaways.append((int(event.error_code), event.last_stream_id or 0))
            # To `h2` the connection is closed now, although the streams up to that one go on (RFC 9113 6.8).
            self.h2.state_machine.state = ConnectionState.CLIENT_OPEN
            return
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0)
        if answer is None:
            return
        if isinstance(event, ResponseReceived):
            answer.fields = joined(event.headers)
            answer.status = int(answer.fields.pop(":status"))
        elif isinstance(event, InformationalResponseReceived):
            fields = joined(event.headers)
            answer.interim.append((int(fields.pop(":status")), fields))
        elif isinstance(event, DataReceived):
            answer.body += event.data
            if self.reading and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, TrailersReceived):
            answer.trailers = joined(event.headers)
        elif isinstance(event, StreamEnded):
            answer.ended = True
        elif isinstance(event, StreamReset):
            answer.reset = int(event.error_code)


class _Frames:
    """Cuts what comes into frames: `h2` forgets what follows a GOAWAY in the same bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def split(self, data: bytes) -> Iterable[bytes]:
        data = self._rest + data
        at = 0
        while len(data) - at >= 9 and len(data) - at >= (
            size := 9 + int.from_bytes(data[at : at + 3], "big")
        ):
            yield data[at : at + size]
            at += size
        self._rest = data[at:]
