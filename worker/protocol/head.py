"""The head of an HTTP/1 request: its line, its target and its Host (RFC 9112 3, RFC 9110 4.2 and 7.2).

Knows bytes only, no connection. Whatever two readers could understand differently is refused with
an EdgeError, and `SecondReader` makes sure that llhttp, a parser with other ancestors, agrees.
"""

import re
from ipaddress import AddressValueError, IPv6Address

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from worker.errors import EdgeError
from worker.fields import TRANSFER_ENCODING, Fields
from worker.reasons import Fault, Side

# method SP target SP version CRLF with one space each (RFC 9112 3); `fields.read_head` reads the same.
REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~\x80-\xff]+ HTTP/1\.[01]\r\n")

# What llhttp knows, too. Others are refused (RFC 9110 9.1): nobody here could tell whether they are safe.
METHODS = frozenset(
    b"GET HEAD POST PUT DELETE OPTIONS TRACE PATCH QUERY PURGE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH "
    b"SEARCH UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE "
    b"UNSUBSCRIBE MKCALENDAR LINK UNLINK".split()
)

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::([0-9]{0,5}))?")
_DEFAULT_PORTS = {b"http": 80, b"https": 443}


def bad_request(detail: str, status: int = 400, fault: Fault = Fault.BAD_REQUEST) -> EdgeError:
    """The error for a request that breaks a rule."""
    return EdgeError(status, Side.CLIENT, fault, detail)


def may_begin(data: bytes) -> bool:
    """Can `data`, which is not empty, be the beginning of a request?"""
    return _TOKEN.match(data) is not None or b"\r\n".startswith(data)


def not_a_request(data: bytes) -> EdgeError:
    """Why `data` cannot be the beginning of a request.

    Who speaks TLS gets this in plain HTTP, not as an alert: libraries know what that means ("wrong version
    number" of OpenSSL, "server gave HTTP response to HTTPS client" of Go), while an alert sounds like us.
    """
    if is_tls(data):
        return bad_request("TLS on a port that speaks plain http")
    return bad_request("not a request")


def is_tls(data: bytes) -> bool:
    """Does a handshake begin here (RFC 8446 5.1)?"""
    return data.startswith(b"\x16\x03"[: len(data)])


def empty_lines(data: bytes, at: int) -> int:
    """Bytes of the empty lines, two at most, at data[at]."""
    if data.startswith(b"\r\n\r\n", at):
        return 4
    return 2 if data.startswith(b"\r\n", at) else 0


def line_error(line: bytes) -> EdgeError:
    """Why REQUEST_LINE does not match `line` (without its CRLF)."""
    parts = line.split(b" ")
    if not _TOKEN.fullmatch(parts[0]):
        return bad_request("method is not a token")
    if len(parts) == 2:
        return bad_request("request line without a version (HTTP/0.9)")
    if len(parts) != 3 or not parts[1]:
        return bad_request("request line is not: method, target, version, with one space between them")
    if _VERSION.fullmatch(parts[2]) and not parts[2].startswith(b"HTTP/1."):
        return bad_request(f"{parts[2].decode()} on an HTTP/1 connection", 505)
    return bad_request("request line with an unknown version or a control character")


def normal_authority(value: bytes, scheme: bytes) -> bytes:
    """Lower case, without the default port of `scheme` and the root's dot: b"example.org:8443"."""
    match = _AUTHORITY.fullmatch(value)
    if match is None:
        raise bad_request("host with a character that no host name or address has, or empty")
    host, port = match.group(1).lower(), match.group(2)
    if host.startswith(b"["):
        try:
            host = b"[%b]" % IPv6Address(host[1:-1].decode()).compressed.encode()
        except AddressValueError:
            raise bad_request("host in brackets is not an IPv6 address") from None
    else:
        host = host.removesuffix(b".")
        if not host or host.startswith(b".") or host.endswith(b".") or b".." in host:
            raise bad_request("host name with an empty label")
    if not port:
        return host
    number = int(port)
    if number > 65535:
        raise bad_request("port above 65535")
    return host if number == _DEFAULT_PORTS[scheme] else b"%b:%d" % (host, number)


def split_target(method: bytes, target: bytes, scheme: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    """(path, query, authority) of a target in any form but origin-form, which the caller splits itself.

    `authority` is as sent, None where the form has none. RFC 9112 3.2.2 to 3.2.4.
    """
    if target == b"*":
        if method != b"OPTIONS":
            raise bad_request("asterisk as the target of a method that is not OPTIONS")
        return b"*", None, None
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise bad_request("target in no known form")
    if match.group(1).lower() != scheme:
        raise bad_request("target of another scheme than the connection's", 421)
    path = match.group(3) or (b"*" if method == b"OPTIONS" and match.group(4) is None else b"/")
    return path, match.group(4), match.group(2)


def is_chunked(fields: Fields, minor: int) -> bool:
    """Is the body chunked? Any other transfer coding is refused (RFC 9112 6.1)."""
    if not fields.mask & TRANSFER_ENCODING:
        return False
    if not minor:
        raise bad_request("Transfer-Encoding in HTTP/1.0")
    codings = (fields.joined(b"transfer-encoding") or b"").lower()
    if codings == b"chunked":
        return True
    if codings.startswith(b"chunked") or not codings:
        raise bad_request("chunked is not the only and last transfer coding")
    raise bad_request("unknown transfer coding", 501)


def content_length(fields: Fields, limit: int) -> int:
    """Bytes of the body. `Fields.parse` has seen to it that the value is one number, and alone."""
    length = int(fields.get(b"content-length") or b"0")
    if length > limit:
        raise bad_request(f"body of more than {limit} bytes", 413, Fault.BODY_TOO_LARGE)
    return length


class SecondReader:
    """llhttp, strict in everything, reads the heads that announce a body; they pass only if both readers
    agree that the head is well formed and whether a body follows: the question that request smuggling is
    made of. Other heads are spared it: a third of a microsecond for which nothing would be gained.

    One reader serves all connections, since it is given whole heads.
    """

    def __init__(self) -> None:
        self._open: list[None] = []  # not empty while llhttp waits for more of the message
        self.on_message_complete = self._open.clear  # called by llhttp; a C function, so nearly free

    def check(self, head: bytes, body_follows: bool) -> None:
        """EdgeError unless llhttp accepts `head` and agrees."""
        waiting = self._open
        waiting[:] = [None]
        try:
            HttpRequestParser(self).feed_data(head)
        except HttpParserUpgrade:
            pass  # an upgrade may be ignored (RFC 9110 7.8)
        except HttpParserError as error:
            raise bad_request(f"second reader: {error}") from None
        if bool(waiting) is not body_follows:
            raise bad_request("two readers disagree whether a body follows")
