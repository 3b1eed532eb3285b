"""HTTP/2 frames byte by byte, for what no decent client would send."""

import asyncio
import contextlib
import struct
from asyncio import StreamReader, StreamWriter

from hpack import Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
PRIORITY_UPDATE = 16
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8

Head = list[tuple[str, str]]
GET: Head = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


def head(fields: Head = GET) -> bytes:
    """A header block that leaves nothing in the dynamic table."""
    return Encoder().encode([(name, value, True) for name, value in fields])


def get(stream: int, *, end: bool = True, fields: Head = GET) -> bytes:
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, head(fields))


def reset(stream: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def window_update(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


class Raw:
    """What the edge sent back: (type, flags, stream, payload), in order."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.writer = writer
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.closed = False
        self._reader = reader
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                header = await self._reader.readexactly(9)
                size = int.from_bytes(header[:3], "big")
                payload = await self._reader.readexactly(size)
                self.frames.append((header[3], header[4], int.from_bytes(header[5:], "big"), payload))
        self.closed = True

    def of(self, kind: int) -> list[tuple[int, int, int, bytes]]:
        return [one for one in self.frames if one[0] == kind]

    @property
    def goaway(self) -> int | None:
        """The error code of the last GOAWAY."""
        found = self.of(GOAWAY)
        return int.from_bytes(found[-1][3][4:8], "big") if found else None

    async def send(self, data: bytes) -> None:
        """Send; no matter whether the edge still listens."""
        with contextlib.suppress(OSError):
            self.writer.write(data)
            await self.writer.drain()

    async def end(self) -> None:
        self.writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
