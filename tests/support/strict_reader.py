"""HTTP/1.1 requests as the strictest of origins would read them (RFC 9112), to see what was smuggled.

Written apart from the edge's own parsers, and shares no line with them: it takes nothing but what an edge has
any reason to send. Whatever two origins could read in two ways is `NotStrict`.
"""

import re
from dataclasses import dataclass, field

Lines = list[tuple[bytes, bytes]]

_REQUEST_LINE = re.compile(rb"([A-Z-]+) (\*|/[!-~]*) HTTP/1\.1")
_FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*)?)?)")
_HOST = re.compile(rb"(\[[0-9a-f:.]+\]|[a-z0-9._~-]+)(:[1-9][0-9]*|:0)?")
_LENGTH = re.compile(rb"0|[1-9][0-9]*")
_CHUNK_SIZE = re.compile(rb"0|[1-9a-f][0-9a-f]*")

# Each says something of one connection, or of who asks: at most once, and spelled as it is.
_ONCE = {
    b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"te", b"x-forwarded-for",
    b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"forwarded", b"x-request-id", b"via",
    b"cdn-loop",
}  # fmt: skip
_NEVER = {b"keep-alive", b"proxy-connection", b"http2-settings", b"expect", b"trailer"}
_NOT_IN_TRAILERS = _ONCE | _NEVER | {b"authorization", b"cookie", b"content-type", b"content-encoding"}


class NotStrict(Exception):
    """Bytes that are no request, or could be read as another one; `args[0]` says why."""


@dataclass(frozen=True)
class Asked:
    """One request. Names in lower case, values without the white space around them."""

    method: bytes
    target: bytes
    fields: Lines
    body: bytes = b""
    trailers: Lines = field(default_factory=list)

    def get(self, name: bytes) -> bytes | None:
        """The value of the first such field."""
        return next((value for known, value in self.fields if known == name), None)


def read_head(data: bytes) -> tuple[Asked, int] | None:
    """The request without its body, and where that begins; None while the head is incomplete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    line, *rest = data[:end].split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise NotStrict(f"request line {line!r}")
    fields = _lines(rest)
    _check(fields)
    return Asked(match[1], match[2], fields), end + 4


def read_request(data: bytes) -> tuple[Asked, int] | None:
    """The request at the beginning of `data`, and where it ends; None while it is incomplete."""
    found = read_head(data)
    if found is None:
        return None
    head, at = found
    if head.get(b"transfer-encoding") is not None:
        return _read_chunks(data, at, head)
    end = at + int(head.get(b"content-length") or b"0")
    if len(data) < end:
        return None
    return Asked(head.method, head.target, head.fields, data[at:end]), end


def _read_chunks(data: bytes, at: int, head: Asked) -> tuple[Asked, int] | None:
    body = b""
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        if _CHUNK_SIZE.fullmatch(data[at:line_end]) is None:
            raise NotStrict(f"chunk size {data[at:line_end]!r}")
        size = int(data[at:line_end], 16)
        at = line_end + 2
        if size == 0:
            break
        if len(data) < at + size + 2:
            return None
        if data[at + size : at + size + 2] != b"\r\n":
            raise NotStrict("no CRLF behind a chunk")
        body += data[at : at + size]
        at += size + 2
    end = at if data.startswith(b"\r\n", at) else data.find(b"\r\n\r\n", at) + 2
    if end < at or len(data) < end + 2:
        return None
    trailers = _lines(data[at:end].split(b"\r\n")[:-1])
    for name, _ in trailers:
        if name.replace(b"_", b"-") in _NOT_IN_TRAILERS:
            raise NotStrict(f"{name!r} as a trailer")
    return Asked(head.method, head.target, head.fields, body, trailers), end + 2


def _lines(lines: list[bytes]) -> Lines:
    found = []
    for line in lines:
        match = _FIELD_LINE.fullmatch(line)
        if match is None:
            raise NotStrict(f"field line {line!r}")
        found.append((match[1].lower(), match[2].rstrip(b" \t")))
    return found


def _check(fields: Lines) -> None:
    names = [name for name, _ in fields]
    values = dict(fields)
    for name in names:
        usual = name.replace(b"_", b"-")
        if usual in _NEVER or (usual in _ONCE and (usual != name or names.count(name) > 1)):
            raise NotStrict(f"{name!r} among {names!r}")
    if _HOST.fullmatch(values.get(b"host", b"")) is None:
        raise NotStrict(f"Host {values.get(b'host')!r}")
    length, coding = values.get(b"content-length"), values.get(b"transfer-encoding")
    if length is not None and (coding is not None or _LENGTH.fullmatch(length) is None):
        raise NotStrict(f"Content-Length {length!r}, Transfer-Encoding {coding!r}")
    if coding not in (None, b"chunked"):
        raise NotStrict(f"Transfer-Encoding {coding!r}")
    option = {b"te": b"TE", b"upgrade": b"Upgrade"}
    announced = [option[name] for name in names if name in option]
    if values.get(b"connection", b"") != b", ".join(announced):
        raise NotStrict(f"Connection {values.get(b'connection')!r} with {announced!r}")
    if values.get(b"te", b"trailers") != b"trailers" or values.get(b"upgrade", b"websocket") != b"websocket":
        raise NotStrict("TE or Upgrade for what was not offered")
