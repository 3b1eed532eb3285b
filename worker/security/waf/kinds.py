"""Which kinds of bytes a value holds, as the bits of a number, found in one pass.

Cheap to find, and enough to know that most transformations would not change the value and that most
operators cannot match it. Knows neither.
"""

from array import array

Kinds = int

UPPER, DIGIT, HIGH, CONTROL, LETTER = (1 << bit for bit in range(5))
COMMENT = 1 << 5  # "/*", two bytes
PATH = 1 << 6  # "." or "//"
# Each a kind of its own, in either case; other letters are in nearly every word.
_SINGLE = b"\0\t\n\v\f\r !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~bcfgjkmpquvwxyz"
_FIRST = 7


def _kind(code: int) -> int:
    """Of a single byte."""
    if 0x41 <= code <= 0x5A:
        return _kind(code | 0x20) | UPPER
    place = _SINGLE.find(code)
    if place >= 0:
        return 1 << (_FIRST + place) | (PATH if code == 0x2E else 0)
    if code > 0x7F:
        return HIGH
    if code < 0x20 or code == 0x7F:
        return CONTROL
    return LETTER if code > 0x60 else DIGIT


_KINDS = array("Q", map(_kind, range(256)))
_COMMENT, _PATH = COMMENT, PATH  # plain numbers of C where this is compiled


def kinds(value: bytes) -> Kinds:
    """All kinds that are in the value; at most 64 bits."""
    found = 0
    before = 0
    for code in value:
        found |= _KINDS[code]
        if before == 0x2F:
            if code == 0x2A:
                found |= _COMMENT
            elif code == 0x2F:
                found |= _PATH
        before = code
    return found


def kinds_of(*codes: int) -> Kinds:
    """The kinds of these bytes, each by itself and in either case."""
    found = 0
    for code in codes:
        found |= _KINDS[code] & ~(PATH | UPPER)
    return found
