"""Arguments as forms and queries write them: `name=value` separated by "&".

Split first, decoded after, as libmodsecurity does; what is no escape stays as it is.
"""

import re

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})|\+|(%)")


def pairs(text: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Names and values, decoded; and whether a "%" began no escape. An empty piece is an empty name."""
    found = []
    broken = False
    pieces = text.split(b"&")
    if not pieces[-1]:
        pieces.pop()
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        if b"%" in piece or b"+" in piece:
            broken = broken or _is_broken(piece)
            name, value = _decoded(name), _decoded(value)
        found.append((name, value))
    return found, broken


def _decoded(text: bytes) -> bytes:
    return _ESCAPE.sub(_byte, text) if b"%" in text else text.replace(b"+", b" ")


def _byte(found: re.Match[bytes]) -> bytes:
    digits = found[1]
    if digits is not None:
        return bytes((int(digits, 16),))
    return found[2] or b" "


def _is_broken(piece: bytes) -> bool:
    return any(found[2] is not None for found in _ESCAPE.finditer(piece))
