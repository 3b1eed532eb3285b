"""Percent-encoding undone, the lenient way: what is no escape stays as it is.

A table look-up per escape, because attackers send bodies that are nothing but escapes.
"""

_DIGITS = b"0123456789ABCDEFabcdef"
_BYTES = {bytes((high, low)): bytes((int(chr(high) + chr(low), 16),)) for high in _DIGITS for low in _DIGITS}
_HEXADECIMAL = frozenset(_DIGITS)


def decoded(text: bytes) -> bytes:
    """%XX as bytes."""
    if 0x25 not in text:
        return text
    pieces = text.split(b"%")
    for index in range(1, len(pieces)):
        piece = pieces[index]
        byte = _BYTES.get(piece[:2])
        pieces[index] = b"%" + piece if byte is None else byte + piece[2:]
    return b"".join(pieces)


def decoded_uni(text: bytes) -> bytes:
    """%XX, and %uXXXX as its low byte."""
    if 0x25 not in text:
        return text
    pieces = text.split(b"%")
    for index in range(1, len(pieces)):
        piece = pieces[index]
        byte = _BYTES.get(piece[:2])
        if byte is not None:
            pieces[index] = byte + piece[2:]
        elif piece[:1] in (b"u", b"U") and is_hexadecimal(piece[1:5]):
            pieces[index] = narrowed(piece[1:5]) + piece[5:]
        else:
            pieces[index] = b"%" + piece
    return b"".join(pieces)


def is_broken(text: bytes) -> bool:
    """Whether a % begins no escape."""
    return any(piece[:2] not in _BYTES for piece in text.split(b"%")[1:])


def is_hexadecimal(digits: bytes) -> bool:
    """Whether these are four digits."""
    return len(digits) == 4 and _HEXADECIMAL.issuperset(digits)


def narrowed(digits: bytes) -> bytes:
    """The low byte of a code point of four digits; full-width ASCII (FF01 to FF5E) becomes ASCII."""
    code = int(digits, 16)
    low = code & 0xFF
    if code >> 8 == 0xFF and 0 < low < 0x5F:
        low += 0x20
    return bytes((low,))
