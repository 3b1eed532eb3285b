"""Arguments as forms and queries write them: `name=value` separated by "&".

Split first, decoded after, as libmodsecurity does; what is no escape stays as it is.
"""

from worker.security.waf.percent import decoded, is_broken


def pairs(text: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Names and values, decoded; and whether a "%" began no escape. An empty piece is an empty name."""
    found = []
    broken = False
    pieces = text.split(b"&")
    if not pieces[-1]:
        pieces.pop()
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        if 0x25 in piece or 0x2B in piece:
            broken = broken or is_broken(piece)
            name, value = _decoded(name), _decoded(value)
        found.append((name, value))
    return found, broken


def _decoded(text: bytes) -> bytes:
    return decoded(text.replace(b"+", b" "))
