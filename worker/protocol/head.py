"""The head of an HTTP/1 request: its line, its target and its Host (RFC 9112 3, RFC 9110 4.2 and 7.2).

Knows bytes only, no connection. Whatever two readers could understand differently is refused with
an EdgeError, and `SecondReader` makes sure that llhttp, a parser with other ancestors, agrees.
"""

import re
from ipaddress import AddressValueError, IPv6Address

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from worker.errors import EdgeError
from worker.reasons import Fault, Side

# method SP target SP version CRLF with exactly one space each: RFC 9112 3 warns of lenient splitting.
REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~\x80-\xff]+) HTTP/1\.([01])\r\n")

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
        if not host or host.startswith(b".") or b".." in host:
            raise bad_request("host name with an empty label")
    if not port:
        return host
    number = int(port)
    if number > 65535:
        raise bad_request("port above 65535")
    return host if number == _DEFAULT_PORTS[scheme] else b"%b:%d" % (host, number)


def split_target(
    method: bytes, target: bytes, scheme: bytes
) -> tuple[bytes, bytes | None, bytes | None]:
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


class SecondReader:
    """llhttp, strict in everything, reads every head after us; a head passes only if both agree.

    They must agree that the head is well formed and whether a body follows: the question that
    request smuggling is made of. One reader serves all connections, since it is given whole heads.
    """

    def __init__(self) -> None:
        self._open: list[None] = []  # not empty while llhttp waits for more of the message
        self.on_message_complete = self._open.clear  # called by llhttp; a C function, so nearly free
        self._parser = HttpRequestParser(self)

    def check(self, head: bytes, body_follows: bool, last: bool) -> None:
        """EdgeError unless llhttp accepts `head`. `last`: the head asks to close the connection after it."""
        waiting = self._open
        waiting.append(None)
        try:
            self._parser.feed_data(head)
        except HttpParserUpgrade:
            # An upgrade may be ignored (RFC 9110 7.8): llhttp has read the head and stopped behind it.
            last = True
        except HttpParserInvalidMethodError:
            self.reset()
            raise bad_request("unknown method", 501) from None
        except HttpParserError as error:
            self.reset()
            raise bad_request(f"second reader: {error}") from None
        if bool(waiting) is not body_follows:
            self.reset()
            raise bad_request("two readers disagree whether a body follows")
        if body_follows or last:
            self.reset()

    def reset(self) -> None:
        """Begin anew: llhttp is left in the middle of a message, or takes this one for the last."""
        self._open.clear()
        self._parser = HttpRequestParser(self)
