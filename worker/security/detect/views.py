"""What a value says once nested encodings are undone: every view of it that a program behind us might take.

Knows encodings, not attacks. Bounded in depth, in number and in size, whatever the value.
"""

import base64
import binascii
import html
import re
from urllib.parse import unquote_to_bytes

DEPTH = 3  # encodings around each other
VIEWS = 8
LONGEST_BYTES = 16 * 1024  # of what is decoded; the rest of a longer value is looked at as it is

SHORT_BYTES = 256  # looked through for any encoding at once; in longer values each is faster to find

_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_PERCENT_U = re.compile(rb"%u([0-9A-Fa-f]{4})", re.IGNORECASE)
# Spaces of a form that nobody has decoded.
_PLUS = re.compile(rb"\+(?:or|and|union|select|having|order|like|from)\b", re.IGNORECASE)
_ENTITY = re.compile(rb"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,31});?")
_MARKUP = re.compile(
    rb"</(?:p|pre|code|div|li|td|span|h[1-6]|blockquote)>", re.IGNORECASE
)  # has entities for text
_ESCAPE = re.compile(rb"\\(?:u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|([rn]))")
_BREAKS = {b"r": b"\r", b"n": b"\n"}
_SLASHES = {0x2044: 0x2F, 0x2215: 0x2F, 0x2216: 0x5C, 0x29F5: 0x5C}  # what looks like one, and is read as one
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
# What is in every value that any of them would decode.
_ENCODED = re.compile(rb"[%&\\\xef]|\+[oaushlf]|^[A-Za-z0-9+/_-]{16,}={0,2}$", re.IGNORECASE)
_WIDE = range(0xFF01, 0xFF5F)  # full-width forms of ASCII, which some programs fold
_TEXT = bytes(range(32, 127)) + b"\t\r\n"


def views(value: bytes) -> list[bytes]:
    """The value itself, then what it decodes to, each once."""
    seen = [value]
    if len(value) <= SHORT_BYTES and _ENCODED.search(value) is None:
        return seen
    frontier = [value]
    for _ in range(DEPTH):
        decoded = [one for view in frontier for one in _decodings(view[:LONGEST_BYTES])]
        frontier = []
        for one in decoded:
            if len(seen) == VIEWS:
                return seen
            if one not in seen:
                seen.append(one)
                frontier.append(one)
        if not frontier:
            break
    return seen


def _decodings(value: bytes) -> list[bytes]:
    found = []
    if b"%" in value:
        if _PERCENT.search(value):
            found.append(unquote_to_bytes(value))
        if _PERCENT_U.search(value):
            found.append(_PERCENT_U.sub(_narrow, value))
    if b"+" in value and b" " not in value and _PLUS.search(value):
        found.append(value.replace(b"+", b" "))
    if b"&" in value and _ENTITY.search(value) and not _MARKUP.search(value):
        found.append(_ENTITY.sub(_entity, value))
    if b"\\" in value and _ESCAPE.search(value):
        found.append(_ESCAPE.sub(_escape, value))
    if b"\xef\xbc" in value or b"\xef\xbd" in value:
        found.append(_fold_wide(value))
    if _BASE64.fullmatch(value) and (text := _base64_text(value)) is not None:
        found.append(text)
    return found


def _narrow(match: re.Match[bytes]) -> bytes:
    return _character(int(match[1], 16))


def _escape(match: re.Match[bytes]) -> bytes:
    return _BREAKS[match[4]] if match[4] else _character(int(match[1] or match[2] or match[3], 16))


def _character(code: int) -> bytes:
    code = code - 0xFEE0 if code in _WIDE else _SLASHES.get(code, code)
    return chr(code).encode("utf-8", "replace") if code <= 0x10FFFF else b""


def _entity(match: re.Match[bytes]) -> bytes:
    return html.unescape(match[0].decode("ascii")).encode("utf-8", "replace")


def _fold_wide(value: bytes) -> bytes:
    text = value.decode("utf-8", "surrogateescape")
    folded = "".join(chr(ord(one) - 0xFEE0) if ord(one) in _WIDE else one for one in text)
    return folded.encode("utf-8", "surrogateescape")


def _base64_text(value: bytes) -> bytes | None:
    """What base64 hides, if that is text: a picture says nothing to anybody."""
    plain = value.translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        decoded = base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        return None
    return decoded if decoded and not decoded.translate(None, _TEXT) else None
