"""The head of an origin's answer, read strictly. Knows no socket.

The status line and the framing are decided here, the field lines by `worker.fields`; what is ambiguous is
an error, never a guess, because two readers of one message who disagree about its end are a smuggler's tool.
"""

import re

from worker.fields import CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, FieldError, Fields
from worker.origin.hop_by_hop import HOP_BY_HOP, connection_options

CHUNKED = -1  # values of Head.size
UNTIL_CLOSE = -2

# Bounded by bytes (OriginSettings.header_bytes); this only keeps the index of the lines small.
MAX_FIELDS = 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*([0-9]{1,6})", re.IGNORECASE)


class HeadError(ValueError):
    """A head that must be refused; `args[0]` says why."""


class Head:
    """What the head says: `fields` without framing and hop-by-hop lines.

    `size` is how the body is delimited: its bytes, CHUNKED or UNTIL_CLOSE. `length` is what may be told to
    the client, which for HEAD and 304 is not the size of what follows (RFC 9110 8.6).
    """

    __slots__ = ("fields", "idle_s", "keep", "length", "size", "status")

    def __init__(self, status: int, fields: Fields) -> None:
        self.status = status
        self.fields = fields
        self.size = 0
        self.length: int | None = None
        self.keep = True  # the connection may carry another request
        self.idle_s: int | None = None  # seconds the origin says it keeps an idle connection


def read_head(block: bytes, *, to_head: bool) -> Head:
    """The head in `block`, which ends with the empty line. `to_head`: it answers a HEAD request.

    Raises HeadError for what RFC 9112 4 to 6 forbids.
    """
    line = _STATUS_LINE.match(block)
    if line is None:
        raise HeadError("not an HTTP/1.1 status line")
    try:
        fields = Fields.parse(block, line.end(), max_fields=MAX_FIELDS)
    except FieldError as error:
        raise HeadError(str(error)) from None
    head = Head(int(line[2]), fields)
    old = line[1] == b"0"
    _read_framing(head, fields, old=old, to_head=to_head)
    _read_connection(head, fields, old=old)
    return head


def _read_framing(head: Head, fields: Fields, *, old: bool, to_head: bool) -> None:
    """RFC 9112 6.3, rules 1 to 8 without those for CONNECT."""
    mask = fields.mask
    if mask & TRANSFER_ENCODING:
        if old:
            raise HeadError("Transfer-Encoding in an HTTP/1.0 answer")
        if (fields.joined(b"transfer-encoding") or b"").lower() != b"chunked":
            raise HeadError("a transfer coding other than chunked")
        head.size = CHUNKED
    elif mask & CONTENT_LENGTH:
        head.size = head.length = int(fields.get(b"content-length") or b"")
    else:
        head.size = UNTIL_CLOSE
    if to_head or head.status == 304:
        head.size = 0
    elif head.status == 204 or head.status < 200:
        head.size = 0
        head.length = None


def _read_connection(head: Head, fields: Fields, *, old: bool) -> None:
    """Persistence (RFC 9112 9.3), and removal of what concerns this connection alone."""
    if fields.mask & CONNECTION:
        options = connection_options(fields)
        head.keep = b"keep-alive" in options if old else b"close" not in options
        timeout = fields.get(b"keep-alive")
        if timeout is not None and (found := _KEEP_ALIVE_TIMEOUT.search(timeout)):
            head.idle_s = int(found[1])
        fields.remove(*HOP_BY_HOP, *options)
    else:
        head.keep = not old
        fields.remove(*HOP_BY_HOP)
    if head.size == UNTIL_CLOSE:
        head.keep = False


def is_hopeless(start: bytes | bytearray) -> bool:
    """Can these first bytes of a head, whose end has not come yet, no longer become a valid one?

    Tells garbage at once, instead of waiting for an empty line that will never come.
    """
    if not start.startswith(b"HTTP/1."[: len(start)]):
        return True
    end = start.find(b"\n")
    return end >= 0 and _STATUS_LINE.match(bytes(start[: end + 1])) is None
