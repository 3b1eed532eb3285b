"""The client's part in WebSocket's opening handshake (RFC 6455 4.1), for clients that know none (RFC 8441).

Knows keys and what answers them, no connection.
"""

import base64
import hashlib
import os

WEBSOCKET = b"websocket"

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def new_key() -> bytes:
    """A Sec-WebSocket-Key."""
    return base64.b64encode(os.urandom(16))


def is_accepted(key: bytes, accept: bytes | None) -> bool:
    """Is `accept`, a Sec-WebSocket-Accept, the answer to that key?"""
    return accept == base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
