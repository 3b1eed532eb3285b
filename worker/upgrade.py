"""Upgrade (RFC 9110 7.8): what a client offers to switch to, what its route lets through, what may be chosen.

Knows the field and its grammar, no connection. A server may always ignore the field; whatever is not let
through is answered as if it were not there.
"""

from worker.context import Context
from worker.fields import CONNECTION, UPGRADE, Fields

# They carry requests that no stage of the edge would see, past access lists and limits.
NEVER = frozenset((b"h2c", b"http", b"tls"))


def offered(fields: Fields) -> bytes:
    """The protocols a request offers to switch to, in lower case; b"" without Connection: upgrade."""
    if not fields.mask & UPGRADE or not fields.mask & CONNECTION:
        return b""
    if b"upgrade" not in _items(fields.joined(b"connection")):
        return b""
    return b", ".join(_items(fields.joined(b"upgrade")))


def let_through(ctx: Context) -> bytes:
    """Those of the offered protocols that the request's route passes on to its origin; b"" for none."""
    offer = ctx.request.upgrade
    if not offer or ctx.route is None:
        return b""
    passed = ctx.route.upgrade
    return b", ".join(protocol for protocol in _items(offer) if protocol.partition(b"/")[0] in passed)


def is_among(chosen: bytes | None, asked: bytes) -> bool:
    """Does a 101 (Switching Protocols) choose nothing but what was asked for?"""
    protocols = _items(chosen)
    return bool(protocols) and set(protocols) <= set(_items(asked))


def _items(value: bytes | None) -> list[bytes]:
    return [item for item in (part.strip().lower() for part in (value or b"").split(b",")) if item]
