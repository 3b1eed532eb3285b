"""What a rate limit counts together: parts of a request, made into one key of fixed length.

A part that a request does not have is empty: all requests without it are counted together.
"""

import struct
from collections.abc import Callable, Sequence
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

from worker.context import Client, Context

Part = Callable[[Context], bytes]


def key_parts(
    parts: Sequence[str],
    *,
    asn_of: Callable[[Client], int] | None = None,
    country_of: Callable[[Client], bytes] | None = None,
) -> Callable[[Context], bytes] | None:
    """The key of requests by their `parts`; None for the client's address alone, which needs no making.

    Parts: "address" (of IPv6 the /64), "asn", "country", "host", "path", "method", and "header:NAME",
    "cookie:NAME", "query:NAME".
    """
    if tuple(parts) == ("address",):
        return None
    simple: dict[str, Part] = {
        "address": lambda ctx: ctx.client.bucket_key,
        "host": lambda ctx: ctx.request.host,
        "path": lambda ctx: ctx.request.path,
        "method": lambda ctx: ctx.request.method,
        "asn": lambda ctx: b"" if asn_of is None else b"%d" % asn_of(ctx.client),
        "country": lambda ctx: b"" if country_of is None else country_of(ctx.client),
    }
    named = {"header": _header, "cookie": _cookie, "query": _query}
    makers = []
    for part in parts:
        kind, _, name = part.partition(":")
        makers.append(named[kind](name.encode()) if name else simple[kind])

    def key(ctx: Context) -> bytes:
        digest = blake2b(digest_size=16)
        for make in makers:
            value = make(ctx)
            digest.update(struct.pack("=I", len(value)) + value)
        return digest.digest()

    return key


def _header(name: bytes) -> Part:
    lower = name.lower()
    return lambda ctx: ctx.request.fields.joined(lower) or b""


def _cookie(name: bytes) -> Part:
    def value(ctx: Context) -> bytes:
        for line in ctx.request.fields.get_all(b"cookie"):
            for pair in line.split(b";"):
                key, _, held = pair.strip().partition(b"=")
                if key == name:
                    return held
        return b""

    return value


def _query(name: bytes) -> Part:
    def value(ctx: Context) -> bytes:
        for pair in (ctx.request.query or b"").split(b"&"):
            key, _, held = pair.partition(b"=")
            if key == name or unquote_to_bytes(key) == name:
                return unquote_to_bytes(held)
        return b""

    return value
