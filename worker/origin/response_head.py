"""The head of an origin's answer, read strictly. Knows no socket.

The status line and the framing are decided here, the field lines by `worker.fields`; what is ambiguous is
an error, never a guess, because two readers of one message who disagree about its end are a smuggler's tool.
"""

import re

from worker.fields import CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, FieldError, Fields
from worker.origin.hop_by_hop import HOP_BY_HOP, connection_options

CHUNKED = -1  # values of Head.size
UNTIL_CLOSE = -2

_BODY = CONTENT_LENGTH | TRANSFER_ENCODING

# Bounded by bytes (OriginSettings.header_bytes); this only keeps the index of the lines small.
MAX_FIELDS = 1024

# The last two every edge writes itself; the Proxy-* ones are for the next hop (RFC 9111 3.1).
REMOVED = (
    *HOP_BY_HOP, b"proxy-authenticate", b"proxy-authentication-info", b"x-cache", b"x-request-id",
)  # fmt: skip

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
_USUAL = b"HTTP/1.1 200 OK\r\n"
_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*([0-9]{1,6})", re.IGNORECASE)


class HeadError(ValueError):
    """A head that must be refused; `args[0]` says why."""


class Head:
    """What the head says: `fields` without framing and hop-by-hop lines.

    `size` is how the body is delimited: its bytes, CHUNKED or UNTIL_CLOSE. `length` is what may be told to
    the client, which for HEAD and 304 is not the size of what follows (RFC 9110 8.6). `keep`: the connection
    may carry another request; `idle_s`: for how long it may idle, if the origin said so.
    """

    __slots__ = ("fields", "idle_s", "keep", "length", "size", "status")

    def __init__(
        self, status: int, fields: Fields, size: int, length: int | None, keep: bool, idle_s: int | None
    ) -> None:
        self.status = status
        self.fields = fields
        self.size = size
        self.length = length
        self.keep = keep
        self.idle_s = idle_s


def read_head(block: bytes, *, to_head: bool) -> Head:
    """The head in `block`, which ends with the empty line. `to_head`: it answers a HEAD request.

    Raises HeadError for what RFC 9112 4 to 6 forbids.
    """
    if block.startswith(_USUAL):
        status, start, old = 200, len(_USUAL), False
    else:
        line = _STATUS_LINE.match(block)
        if line is None:
            raise HeadError("not an HTTP/1.1 status line")
        status, start, old = int(line[2]), line.end(), line[1] == b"0"
    try:
        fields = Fields.parse(block, start, max_fields=MAX_FIELDS)
    except FieldError as error:
        raise HeadError(str(error)) from None
    mask = fields.mask
    upgrade = fields.joined(b"upgrade") if status == 101 else None
    misleading = mask & _BODY != 0 and status != 200 and _contradicts(status, fields, mask)
    if mask & CONTENT_LENGTH and status == 200 and not to_head:
        length: int | None = int(fields.get(b"content-length") or b"")
        size = length or 0
    else:
        size, length = _framing(status, fields, mask, old, to_head)
    if mask & CONNECTION:
        options = connection_options(fields)
        keep = b"keep-alive" in options if old else b"close" not in options
        idle_s = _idle_time(fields)
        fields.remove(*REMOVED, *options)
    else:
        keep, idle_s = not old, None
        fields.remove(*REMOVED)
    if upgrade is not None:  # hop-by-hop, and the whole meaning of a 101
        fields.append(b"Upgrade", upgrade)
    return Head(status, fields, size, length, keep and size != UNTIL_CLOSE and not misleading, idle_s)


def _framing(status: int, fields: Fields, mask: int, old: bool, to_head: bool) -> tuple[int, int | None]:
    """Size and length of the body: RFC 9112 6.3, rules 1 to 8 without those for CONNECT."""
    size = UNTIL_CLOSE
    length = None
    if mask & CONTENT_LENGTH:
        size = length = int(fields.get(b"content-length") or b"")
    elif mask & TRANSFER_ENCODING:
        if old:
            raise HeadError("Transfer-Encoding in an HTTP/1.0 answer")
        if (fields.joined(b"transfer-encoding") or b"").lower() != b"chunked":
            raise HeadError("a transfer coding other than chunked")
        size = CHUNKED
    if status < 200 and (size == CHUNKED or size > 0):
        raise HeadError("an interim answer that announces a body")
    if to_head or status == 304:
        return 0, length
    if status == 204 or status < 200:
        return 0, None
    return size, length


def _contradicts(status: int, fields: Fields, mask: int) -> bool:
    """Does an answer that has no body announce one, which its origin may well send?"""
    if status == 304:  # its Content-Length is that of a 200
        return mask & TRANSFER_ENCODING != 0
    return status == 204 and (
        mask & TRANSFER_ENCODING != 0 or int(fields.get(b"content-length") or b"0") != 0
    )


def _idle_time(fields: Fields) -> int | None:
    """Seconds the origin says it keeps an idle connection (the old Keep-Alive field; many still send it)."""
    value = fields.get(b"keep-alive")
    found = None if value is None else _KEEP_ALIVE_TIMEOUT.search(value)
    return None if found is None else int(found[1])


def is_hopeless(start: bytes | bytearray) -> bool:
    """Can these first bytes of a head, whose end has not come yet, no longer become a valid one?

    Tells garbage at once, instead of waiting for an empty line that will never come.
    """
    if not start.startswith(b"HTTP/1."[: len(start)]):
        return True
    end = start.find(b"\n")
    return end >= 0 and _STATUS_LINE.match(bytes(start[: end + 1])) is None
