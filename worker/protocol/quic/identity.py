"""Who a QUIC connection belongs to, and what proves it: connection IDs, Retry tokens, stateless reset tokens.

Everything derives from one secret that all workers share over respawn and reload, so each can read what
another gave out. Knows neither packets nor connections; times are monotonic seconds.
"""

import hashlib
import hmac
import os
import struct
from ipaddress import ip_address
from typing import NamedTuple

from worker.protocol.quic.link import Address

CID_BYTES = 8
RESET_TOKEN_BYTES = 16
RETRY_LIFETIME_S = 10  # a client comes back with its token at once (RFC 9000 8.1.4)

_TAG_BYTES = 2
_RETRY = b"\x8eRT1"  # how every Retry token of ours begins, so that it is told from one of NEW_TOKEN
_MAC_BYTES = 16
_EXPIRY = struct.Struct(">Q")
_LEAST_TOKEN = len(_RETRY) + _EXPIRY.size + _MAC_BYTES


class BadToken(Exception):
    """A Retry token of ours that does not count here: expired, of another address, or tampered with."""


class Owner(NamedTuple):
    """Whom a connection ID names."""

    lane: int
    member: int


class Identity:
    """What one worker gives out under its own name, and reads of all.

    A connection ID is lane, member, four random bytes, and two by which ours are told from those that clients
    make up. `secret`: 32 bytes.
    """

    def __init__(self, lane: int, member: int, secret: bytes) -> None:
        self.owner = Owner(lane, member)
        self._head = bytes(self.owner)
        self._cid_key = _derive(secret, b"quic connection id")
        self._reset_key = _derive(secret, b"quic stateless reset")
        self._retry_key = _derive(secret, b"quic retry")

    def new_connection_id(self) -> bytes:
        """A connection ID that names this worker."""
        body = self._head + os.urandom(CID_BYTES - len(self._head) - _TAG_BYTES)
        return body + self._tag(body)

    def owner_of(self, cid: bytes) -> Owner | None:
        """Whom `cid` names; None when no worker of ours gave it out."""
        if len(cid) != CID_BYTES or self._tag(cid[:-_TAG_BYTES]) != cid[-_TAG_BYTES:]:
            return None
        return Owner(cid[0], cid[1])

    def reset_token(self, cid: bytes) -> bytes:
        """What proves that a stateless reset for `cid` is ours (RFC 9000 10.3)."""
        return hashlib.blake2s(cid, digest_size=RESET_TOKEN_BYTES, key=self._reset_key).digest()

    def retry_token(self, peer: Address, original_cid: bytes, retry_cid: bytes, now_s: float) -> bytes:
        """What a client must bring back from `peer`, to the connection ID of our Retry (RFC 9000 8.1.2)."""
        body = _RETRY + _EXPIRY.pack(int((now_s + RETRY_LIFETIME_S) * 1000)) + original_cid
        return body + self._retry_mac(body, retry_cid, peer)

    def original_of(self, token: bytes, peer: Address, cid: bytes, now_s: float) -> bytes | None:
        """The connection ID the client used first; None when `token` is none of Retry.

        `cid`: where the token was sent. Raises BadToken.
        """
        if not token.startswith(_RETRY) or len(token) < _LEAST_TOKEN:
            return None
        body, mac = token[:-_MAC_BYTES], token[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._retry_mac(body, cid, peer)):
            raise BadToken("made for another address or connection")
        if _EXPIRY.unpack_from(body, len(_RETRY))[0] < now_s * 1000:
            raise BadToken("expired")
        return body[len(_RETRY) + _EXPIRY.size :]

    def _tag(self, body: bytes) -> bytes:
        return hashlib.blake2s(body, digest_size=_TAG_BYTES, key=self._cid_key).digest()

    def _retry_mac(self, body: bytes, retry_cid: bytes, peer: Address) -> bytes:
        host, port = peer
        bound = struct.pack(">HB", port, len(retry_cid)) + retry_cid + ip_address(host).packed + body
        return hashlib.blake2s(bound, digest_size=_MAC_BYTES, key=self._retry_key).digest()


def _derive(secret: bytes, label: bytes) -> bytes:
    return hmac.digest(secret, label, "sha256")
