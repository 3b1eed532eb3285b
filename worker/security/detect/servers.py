"""Addresses that make a server ask itself or its neighbours: this machine, private networks, metadata of
clouds.

Knows spellings of addresses; nothing of where the value came from.
"""

import re
import unicodedata
from ipaddress import IPv4Address
from itertools import islice

from worker.addresses import Address, read_address
from worker.security.detect.linear import first, linear

URLS = 64  # looked at
LONGEST_NUMBERS = 256  # bytes of an address in digits: with more of them no resolver takes it

# The value is the address; in the middle of a sentence nobody asks for it.
_URL = re.compile(
    rb"^\s*[\"'<(]?(?:url:)?(?:(https?|ftps?|gopher|dict|ldaps?|tftp|sftp|netdoc|jar:https?|ws{1,2}|redis|"
    rb"smb|rmi|nfs|telnet|"
    rb"imaps?|pop3s?|smtps?)"
    rb":[/\\]{0,4}|//)(?:[^/\\?#@\s]{0,200}@)?(\[[^\]\s]{2,60}\]|[^/\\?#:@\s\"'<>]+)",
    re.IGNORECASE,
)
_NEVER = {b"gopher", b"dict", b"netdoc", b"tftp", b"rmi"}  # schemes nobody links to
_NAMES = re.compile(
    rb"(?:^|\.)(?:localhost|ip6-localhost|ip6-loopback|localdomain|rancher-metadata|internal|metadata|"
    rb"metadata\.google\.internal|instance-data|"
    rb"kubernetes\.default(?:\.svc(?:\.cluster\.local)?)?|"
    rb"nip\.io|sslip\.io|xip\.io|localtest\.me|lvh\.me|vcap\.me|1u\.ms|rbndr\.us|burpcollaborator\.net|"
    rb"oastify\.com|"
    rb"interact\.sh|oast\.(?:pro|live|site|online|fun|me)|requestbin\.\w+|pipedream\.net|webhook\.site|"
    rb"dnslog\.cn|ceye\.io|"
    rb"bxss\.me|xss\.ht|canarytokens\.com|ngrok\.io|ngrok-free\.app)\.?$",
    re.IGNORECASE,
)
_METADATA = linear(
    rb"^(?:http\+)?unix:(?://)?(?:%2f|/)|^\s*\S{0,300}?(?:169\.254\.169\.254|169\.254\.170\.2|"
    rb"100\.100\.100\.200|192\.0\.0\.192|fd00:ec2::254|"
    rb"metadata\.google\.internal|"
    rb"latest/(?:meta-data|user-data|api/token|dynamic/instance)|computemetadata/v1|metadata/(?:instance|"
    rb"v1)|opc/v[12]/instance)",
)
# Some take what stands before a backslash for the host, others for the name of a user.
_BEHIND_BACKSLASH = re.compile(rb"\s*(?:https?:)?//[^/?#@\s\\]{0,200}\\{1,4}@([^/\\?#:@\s]+)", re.IGNORECASE)
# The address of metadata without a way to them, as people look for it.
_METADATA_ALONE = re.compile(rb"\s*(?:169\.254\.169\.254|metadata\.google\.internal)\s*", re.IGNORECASE)
# An address with words behind it, as people look for it.
_ABOUT = re.compile(rb"https?://[\w.:]{1,100}/?(?:\s+[a-z][a-z'-]*)+\??\s*", re.IGNORECASE)
# Where a program on the user's own machine waits to be told who has logged in (RFC 8252).
_RETURN = re.compile(
    rb"http://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{2,5})?/(?:[\w-]+/){0,5}"
    rb"(?:\w*callback\w*|redirect|signin-oidc|logged-?in|oauth2?)(?:/\w*)?(?:\?[\w=&.%-]*)?",
    re.IGNORECASE,
)
_UNLIKELY = re.compile(rb"(?:0x[0-9a-f]+|0[0-7]+|\d+)(?:\.(?:0x[0-9a-f]+|0[0-7]*|\d+)){0,3}", re.IGNORECASE)

_OCTAL = re.compile(rb"0[0-7]+")  # 09 is no such number, and what resolvers make of it differs

HINTS = (_URL, _METADATA)  # one of them matches wherever something is found


def find(value: bytes) -> bytes | None:
    """The address; None if there is none."""
    if _METADATA_ALONE.fullmatch(value) or _RETURN.fullmatch(value) or _ABOUT.fullmatch(value):
        return None
    behind = _BEHIND_BACKSLASH.match(value)
    if behind is not None and _is_inside(behind[1]):
        return value[:100]
    if b":" in value or value[:2] == b"//":
        for url in islice(_URL.finditer(value), URLS):
            if (url[1] or b"").lower() in _NEVER or _is_inside(url[2]):
                return url[0][:100]
    return first(_METADATA, value)


def _is_inside(host: bytes) -> bool:
    host = host.rstrip(b".")
    if not host.isascii():  # resolvers take letters and digits in circles, too
        host = unicodedata.normalize("NFKC", host.decode("utf-8", "replace")).encode()
    if _NAMES.search(host):
        return True
    address = _address(host)
    return (
        address is not None
        and (
            address.is_loopback
            or address.is_private
            or address.is_link_local
            or address.is_unspecified
            or address.is_reserved
        )
        and not _is_documentation(address)
    )


def _is_documentation(address: Address) -> bool:
    """Of RFC 5737 or RFC 3849."""
    if isinstance(address, IPv4Address):
        return address.packed[:3] in (b"\xc0\0\2", b"\xc63d", b"\xcb\0q")
    return address.packed[:4] == b"\x20\x01\x0d\xb8"


def _address(host: bytes) -> Address | None:
    """An address in any spelling that resolvers take: 127.1, 0x7f000001, 2130706433, 0177.0.0.1."""
    text = host.decode("latin-1").strip("[]").partition("%")[0]
    try:
        return read_address(text)
    except ValueError:
        return _loose_address(host)


def _loose_address(host: bytes) -> IPv4Address | None:
    if not _UNLIKELY.fullmatch(host):
        return None
    if len(host) > LONGEST_NUMBERS:
        return None
    numbers = [_number(part) for part in host.split(b".")]
    *first, last = numbers
    if any(number > 255 for number in first) or last >= 256 ** (5 - len(numbers)):
        return None
    packed = bytes(first) + last.to_bytes(5 - len(numbers), "big")
    return IPv4Address(packed)


def _number(part: bytes) -> int:
    if part[:2].lower() == b"0x":
        return int(part, 16)
    return int(part, 8) if _OCTAL.fullmatch(part) else int(part)
