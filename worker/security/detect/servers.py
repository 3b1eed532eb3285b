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
_NEVER = {b"gopher", b"dict", b"netdoc", b"tftp", b"rmi", b"redis", b"smb"}  # schemes nobody links to
_NAMES = re.compile(
    rb"(?:^|\.)(?:localhost|ip6-localhost|ip6-loopback|localdomain|rancher-metadata|internal|metadata|"
    rb"metadata\.google\.internal|instance-data|"
    rb"kubernetes\.default(?:\.svc)?|"
    rb"nip\.io|sslip\.io|xip\.io|localtest\.me|lvh\.me|vcap\.me|1u\.ms|rbndr\.us|burpcollaborator\.net|"
    rb"oastify\.com|"
    rb"interact\.sh|oast\.(?:pro|live|site|online|fun|me)|requestbin\.\w+|pipedream\.net|webhook\.site|"
    rb"dnslog\.cn|ceye\.io|"
    rb"bxss\.me|xss\.ht|canarytokens\.com|ngrok\.io|ngrok-free\.app)\.?$",
    re.IGNORECASE,
)
_METADATA = linear(
    rb"^(?:http\+)?unix:(?://)?(?:%2f|/)|^\s*\S{0,300}?(?:169\.254\.169\.254|169\.254\.170\.2|100\.100\.100\.200|192\.0\.0\.192|fd00:ec2::254|"
    rb"metadata\.google\.internal|"
    rb"latest/(?:meta-data|user-data|api/token|dynamic/instance)|computemetadata/v1|metadata/(?:instance|"
    rb"v1)|opc/v[12]/instance)",
)
_UNLIKELY = re.compile(rb"(?:0x[0-9a-f]+|0[0-7]+|\d+)(?:\.(?:0x[0-9a-f]+|0[0-7]*|\d+)){0,3}", re.IGNORECASE)

_OCTAL = re.compile(rb"0[0-7]+")  # 09 is no such number, and what resolvers make of it differs

HINTS = (_URL, _METADATA)  # one of them matches wherever something is found


def find(value: bytes) -> bytes | None:
    """The address; None if there is none."""
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
    return isinstance(address, IPv4Address) and address.packed[:3] in (b"\xc0\0\2", b"\xc63d", b"\xcb\0q")


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
