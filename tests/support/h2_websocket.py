"""Both ends of a WebSocket over HTTP/2 (RFC 8441): how a client asks for it, how the origin accepts it."""

import base64
import hashlib

from tests.support.exchanges import Arriving
from tests.support.h2_client import H2Client
from tests.support.scripted_origin import Wire


async def switch(wire: Wire, behind: bytes = b"") -> None:
    """Accept the WebSocket of the request that was read last."""
    key = wire.origin.requests[-1].headers["sec-websocket-key"].encode()
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    await wire.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: %b\r\nX-Origin: yes\r\n\r\n%b" % (accept, behind)
    )


def connect(client: H2Client, path: str) -> int:
    """Ask for a WebSocket; its stream."""
    pseudo = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", client.scheme),
        (":authority", client.authority),
        (":path", path),
    ]
    fields = [("sec-websocket-version", "13"), ("sec-websocket-key", "the client's, of no use")]
    return client.begin(fields=fields, pseudo=pseudo, end=False)


async def tunnel(client: H2Client, path: str) -> tuple[int, Arriving]:
    """A WebSocket that stands."""
    stream = connect(client, path)
    answer = client.answers[stream]
    await client.until(lambda: answer.status or answer.reset is not None)
    assert answer.status == 200
    return stream, answer
