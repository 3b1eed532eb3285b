"""A plain HTTP/1.1 client that reports what really came: also the half of an answer that was cut."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field

PATIENCE_S = 100.0  # for two hundred handshakes on a busy machine, too


@dataclass(slots=True)
class Answer:
    """One answer as it arrived."""

    status: int
    fields: dict[str, str] = field(
        default_factory=dict
    )  # names in lower case; repeated lines joined with ", "
    body: bytes = b""
    whole: bool = True  # False: the connection ended before the announced end of the body


async def ask(
    port: int,
    path: str,
    *,
    fields: str = "",
    method: str = "GET",
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    name: str = "edge.test",
) -> Answer:
    """One request on a connection of its own to `host`, for the site `name`.

    `fields`: ready-made lines, each ended by CRLF.
    """
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        try:
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n{fields}\r\n".encode()
            )
            return await _read(reader, method)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def ask_many(
    port: int, path: str, count: int, *, fields: str = "", name: str = "edge.test"
) -> list[Answer]:
    """`count` requests for the same path at the same time, each on its own connection."""
    return await asyncio.gather(*(ask(port, path, fields=fields, name=name) for _ in range(count)))


async def _read(reader: asyncio.StreamReader, method: str) -> Answer:
    while (head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")).startswith("HTTP/1.1 1"):
        pass  # an interim answer
    status, *lines = head.rstrip().split("\r\n")
    answer = Answer(int(status.split(" ")[1]))
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        answer.fields[name] = f"{answer.fields[name]}, {value}" if name in answer.fields else value
    if method == "HEAD" or answer.status in (204, 304):
        return answer
    if answer.fields.get("transfer-encoding") == "chunked":
        await _read_chunked(reader, answer)
        return answer
    length = int(answer.fields["content-length"]) if "content-length" in answer.fields else -1
    try:
        answer.body = await (reader.read(-1) if length < 0 else reader.readexactly(length))
    except asyncio.IncompleteReadError as error:
        answer.body, answer.whole = error.partial, False
    except ConnectionResetError:
        answer.whole = False
    return answer


async def _read_chunked(reader: asyncio.StreamReader, answer: Answer) -> None:
    try:
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            answer.body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
    except (asyncio.IncompleteReadError, ConnectionResetError):
        answer.whole = False
