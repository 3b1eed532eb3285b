"""HTTP/1.1 with the face of `h2_client`: each exchange has a connection, as in HTTP/2 it has a stream.

async with H1Client(port) as client:
    answer = await client.ask("/page")
"""

import asyncio
import contextlib
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.support.exchanges import Arriving, Exchanges, Pairs, joined

PIECE_BYTES = 65536


class H1Client(Exchanges):
    """A body of unknown length is sent in chunks, unless the fields say how long it is."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, authority: str = "a") -> None:
        super().__init__()
        self.port = port
        self.tls = tls
        self.authority = authority
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: dict[int, asyncio.Future[StreamWriter]] = {}
        self._chunked: set[int] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task, answer in zip(self._tasks, self.answers.values(), strict=True):
            if not answer.is_over:  # else it is closing its connection
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(
        self, path: str = "/", fields: Pairs = (), *, method: str = "GET", body: bytes | None = None,
        end: bool = True,
    ) -> int:  # fmt: skip
        stream = len(self.answers) + 1
        self.answers[stream] = Arriving()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.authority}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in fields]
        named = {name.lower() for name, _ in fields}
        if body is not None and "content-length" not in named:
            lines.append(f"Content-Length: {len(body)}")
        elif not end and "content-length" not in named:
            lines.append("Transfer-Encoding: chunked")
            self._chunked.add(stream)
        request = ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")
        loop = asyncio.get_running_loop()
        self._writers[stream] = loop.create_future()
        self._tasks.append(loop.create_task(self._exchange(stream, request, is_head=method == "HEAD")))
        return stream

    async def upload(self, stream: int, pieces: Iterable[bytes], trailers: Pairs = ()) -> None:
        writer = await self._writers[stream]
        chunked = stream in self._chunked
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
        if chunked:
            lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
            writer.write(f"0\r\n{lines}\r\n".encode())

    async def _exchange(self, stream: int, request: bytes, *, is_head: bool) -> None:
        answer = self.answers[stream]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
        try:
            writer.write(request)
            self._writers[stream].set_result(writer)
            await self._read_head(reader, answer)
            if not is_head and answer.status not in (204, 304):
                await self._read_body(reader, answer)
            answer.ended = True
        except (asyncio.IncompleteReadError, OSError):
            answer.reset = 0
        finally:
            self._news.set()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _read_head(self, reader: StreamReader, answer: Arriving) -> None:
        while not answer.status:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            code, fields = int(status.split(" ")[1]), _fields(lines)
            if code < 200:
                answer.interim.append((code, fields))
            else:
                answer.fields, answer.status = fields, code
            self._news.set()

    async def _read_body(self, reader: StreamReader, answer: Arriving) -> None:
        if answer.fields.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                await self._read_bytes(reader, answer, size)
                await reader.readexactly(2)
            lines = []
            while (line := (await reader.readuntil(b"\r\n")).decode("latin-1")) != "\r\n":
                lines.append(line.removesuffix("\r\n"))
            answer.trailers = _fields(lines)
        elif "content-length" in answer.fields:
            await self._read_bytes(reader, answer, int(answer.fields["content-length"]))
        else:
            while data := await reader.read(PIECE_BYTES):
                answer.body += data
                self._news.set()

    async def _read_bytes(self, reader: StreamReader, answer: Arriving, size: int) -> None:
        while size:
            data = await reader.read(min(size, PIECE_BYTES))
            if not data:
                raise asyncio.IncompleteReadError(b"", size)
            answer.body += data
            size -= len(data)
            self._news.set()


def _fields(lines: Iterable[str]) -> dict[str, str]:
    return joined((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
