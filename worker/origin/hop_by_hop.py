"""Which fields belong to one connection only and go neither up nor down (RFC 9110 7.6.1)."""

from itertools import product

from worker.fields import Fields


def spellings(*names: bytes) -> tuple[bytes, ...]:
    """`names` with "-" or "_" in each place. A gateway to CGI or WSGI has one variable for all of them, so
    X_Forwarded_For would speak for a client where X-Forwarded-For may not."""
    parts = [name.split(b"-") for name in names]
    return tuple(
        first + b"".join(rest)
        for first, *others in parts
        for rest in product(*((b"-" + one, b"_" + one) for one in others))
    )


HOP_BY_HOP = (
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade",
    b"content-length",
)  # fmt: skip

# Framing, routing, and what changes how a message is handled has no place behind the body (RFC 9110 6.5.1).
_NOT_IN_TRAILERS = spellings(
    *HOP_BY_HOP, b"host", b"expect", b"trailer", b"max-forwards", b"cache-control", b"authorization",
    b"cookie", b"set-cookie", b"content-encoding", b"content-type", b"content-range", b"range", b"if-match",
    b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"vary", b"age", b"date",
    b"expires", b"location", b"via", b"cdn-loop", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto",
    b"x-forwarded-host", b"x-real-ip", b"x-request-id",
)  # fmt: skip


_USUAL = {value: (value.lower(),) for value in (b"keep-alive", b"Keep-Alive", b"close", b"Close")}


def connection_options(fields: Fields) -> tuple[bytes, ...]:
    """Names listed in Connection, in lower case."""
    value = fields.joined(b"connection") or b""
    return _USUAL.get(value) or tuple(filter(None, (item.strip().lower() for item in value.split(b","))))


def forwardable_trailers(trailers: Fields) -> Fields:
    """The lines of a trailer section that the next hop may see."""
    kept = trailers.copy()
    kept.remove(*_NOT_IN_TRAILERS)
    return kept
