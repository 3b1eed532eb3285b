"""The transformations of SecLang: what a rule does to a value before it looks at it.

Each is a function from bytes to bytes with the very output of libmodsecurity 3.0.9, its habits with broken
input included. Most values need nothing done, so each begins with the cheapest test for that: a byte's
number in a value is looked for ten times as fast as a `bytes` of length one.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable

from worker.security.waf.percent import decoded, decoded_uni, narrowed

Transformation = Callable[[bytes], bytes]

_SPACES = b"\t\n\v\f\r "


def none(value: bytes) -> bytes:
    """Nothing, and forget the transformations listed before it (which is the rule set's work)."""
    return value


# Letters, spaces and NULs


def lowercase(value: bytes) -> bytes:
    return value.lower()


def uppercase(value: bytes) -> bytes:
    return value.upper()


def trim(value: bytes) -> bytes:
    return value.strip(_SPACES)


def trim_left(value: bytes) -> bytes:
    return value.lstrip(_SPACES)


def trim_right(value: bytes) -> bytes:
    return value.rstrip(_SPACES)


_RUN_OF_SPACES = re.compile(rb"[\t\n\v\f\r ]+")
_BREAKS = re.compile(rb"[\t\n\v\f\r]")


def compress_whitespace(value: bytes) -> bytes:
    """A run of white space becomes one space."""
    if value.find(b"  ") < 0 and _BREAKS.search(value) is None:
        return value
    return _RUN_OF_SPACES.sub(b" ", value)


def remove_whitespace(value: bytes) -> bytes:
    """The no-break space of Latin-1 included."""
    return value.translate(None, b"\t\n\v\f\r \xa0")


def remove_nulls(value: bytes) -> bytes:
    return value.replace(b"\0", b"") if 0 in value else value


def replace_nulls(value: bytes) -> bytes:
    return value.replace(b"\0", b" ")


def length(value: bytes) -> bytes:
    return b"%d" % len(value)


# Comments


_SQL_COMMENT = re.compile(rb"/\*.*?(?:\*/|\Z)", re.DOTALL)


def replace_comments(value: bytes) -> bytes:
    """A C comment becomes a space; one that is never closed takes the rest."""
    return _SQL_COMMENT.sub(b" ", value) if value.find(b"/*") >= 0 else value


_COMMENT_MARKS = re.compile(rb"/\*|\*/|<!--|-->|--|#")


def remove_comments_char(value: bytes) -> bytes:
    """The marks of comments (C, HTML, SQL, shell) go, what they enclose stays."""
    return _COMMENT_MARKS.sub(b"", value)


_COMMENT_BEGINS = re.compile(rb"/\*|<!--|--|#")
_COMMENT_ENDS = re.compile(rb"\*/|-->")


def remove_comments(value: bytes) -> bytes:
    """Comments go; one that is not closed leaves a space in its place, `--` and `#` cut the rest off.

    Either mark closes either comment, and the byte behind it is kept unread (a NUL if there is none).
    """
    kept = []
    start = 0
    while (begin := _COMMENT_BEGINS.search(value, start)) is not None:
        kept.append(value[start : begin.start()])
        if begin[0] in (b"--", b"#"):
            return b"".join(kept)
        end = _COMMENT_ENDS.search(value, begin.end())
        if end is None:
            return b"".join([*kept, b" "])
        start = end.end() + 1
        kept.append(value[end.end() : start] or b"\0")
    return b"".join([*kept, value[start:]])


# Command lines and paths


_DROPPED = 0x41  # stands for what goes: no capital is left
_SHELL = bytes(
    _DROPPED if code in b"\"'\\^"
    else 0x20 if code in b",;\t\r\n"
    else code | 0x20 if 0x41 <= code <= 0x5A
    else code
    for code in range(256)
)  # fmt: skip


_ROOM = bytearray(4096)  # to work in; nobody else runs meanwhile


def cmd_line(value: bytes) -> bytes:
    """As a shell might read it: no quotes, carets and backslashes, single spaces, none before / and (."""
    room = _ROOM if len(value) <= len(_ROOM) else bytearray(len(value))
    out = room  # a pointer where this is compiled
    size = last = 0
    for code in value:
        kept = _SHELL[code]
        if kept == _DROPPED or (kept == 0x20 and last == 0x20):
            continue
        if last == 0x20 and kept in (0x2F, 0x28):
            size -= 1
        out[size] = last = kept
        size += 1
    return bytes(out[:size])


def normalize_path(value: bytes) -> bytes:
    """Without empty segments, `.` and `..`."""
    if 0x2F not in value and value[-1:] != b".":
        return value  # a single segment
    return _resolved(bytearray(value), windows=False) if 0x2E in value or value.find(b"//") >= 0 else value


def normalize_path_win(value: bytes) -> bytes:
    """The same, with backslashes as slashes."""
    return _resolved(bytearray(value), windows=True) if 0x5C in value else normalize_path(value)


def _resolved(path: bytearray, *, windows: bool) -> bytes:
    """Byte for byte as ModSecurity does it: a segment that only ends in `..` counts as `..`."""
    slashes = b"/\\" if windows else b"/"
    last = len(path) - 1
    relative, trailing = path[0] not in slashes, path[last] in slashes
    out = bytearray()
    at_root = False  # nothing is left that `..` could remove
    index = 0
    while index <= last:
        for place in (index, index + 1):
            if place <= last and path[place] in slashes:
                path[place] = 0x2F
        byte = path[index]
        ends = index == last
        if not ends and path[index + 1] != 0x2F:
            if byte != 0x2F:  # within a segment: up to its last byte
                slash = _next_slash(path, index + 1, slashes)
                out += path[index : slash - 1]
                index = slash - 1
                continue
        elif byte == 0x2E:
            if out and out[-1] == 0x2E:
                if relative and (at_root or len(out) <= 2):
                    at_root = True
                else:
                    at_root = _drop_segment(out, keep_root=not relative and ends) or at_root
                    index += 1
            elif not out:
                index += 1
            elif out[-1] == 0x2F:
                if not ends:
                    out.pop()
                index += 1
            if index > last:
                break
        elif out and (ends or byte != 0x2F):
            at_root = False
        if path[index] == 0x2F:
            while index < last and path[index + 1] in slashes:
                index += 1
            if relative and not out:
                index += 1
                continue
        out.append(path[index])
        index += 1
    if not trailing and out and out[-1] == 0x2F:
        out.pop()
    return bytes(out)


def _next_slash(path: bytearray, start: int, slashes: bytes) -> int:
    """Where the segment ends: the next slash, or the end."""
    found = path.find(b"/", start)
    if found < 0:
        found = len(path)
    if len(slashes) > 1:
        backslash = path.find(b"\\", start, found)
        if backslash >= 0:
            return backslash
    return found


def _drop_segment(out: bytearray, *, keep_root: bool) -> bool:
    """Take the `.` of a `..` and the segment before it off; whether the root was reached."""
    end = len(out) - 3
    while end > 0 and out[end] != 0x2F:
        end -= 1
    if end > 0:
        del out[end:]
        return False
    del out[1 if keep_root else 0 :]
    return True


# Decoders


def url_decode(value: bytes) -> bytes:
    """%XX and +; a % that begins no escape stays."""
    return decoded(value.replace(b"+", b" "))


def url_decode_uni(value: bytes) -> bytes:
    """The same with %uXXXX, of which the low byte counts; full-width ASCII (FF01 to FF5E) becomes ASCII."""
    return decoded_uni(value.replace(b"+", b" "))


_HTML_ENTITY = re.compile(
    rb"&(?:#[xX]([0-9A-Fa-f]+)|#([0-9]+)|(quot|amp|lt|gt|nbsp)(?![0-9A-Za-z]));?", re.IGNORECASE
)
_HTML_NAMES = {b"quot": b'"', b"amp": b"&", b"lt": b"<", b"gt": b">", b"nbsp": b"\xa0"}
_LONG_MAX = 2**63 - 1


def html_entity_decode(value: bytes) -> bytes:
    """Numbers (the low byte of them) and quot, amp, lt, gt, nbsp; the semicolon may be missing."""
    return _HTML_ENTITY.sub(_html_character, value) if 0x26 in value else value


def _html_character(found: re.Match[bytes]) -> bytes:
    if found[3] is not None:
        return _HTML_NAMES[found[3].lower()]
    code = int(found[1], 16) if found[1] is not None else _decimal(found[2])
    return bytes((min(code, _LONG_MAX) & 0xFF,))


def _decimal(digits: bytes) -> int:
    return int(digits) if len(digits) < 20 else _LONG_MAX


_JS_ESCAPE = re.compile(
    rb"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|([0-3][0-7]{0,2}|[4-7][0-7]?)|(.))", re.DOTALL
)
_JS_LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def js_decode(value: bytes) -> bytes:
    r"""\uHHHH (low byte), \xHH, \OOO, \n and the like; another escaped character is that character."""
    return _JS_ESCAPE.sub(_js_character, value) if 0x5C in value else value


def _js_character(found: re.Match[bytes]) -> bytes:
    if found[1] is not None:
        return narrowed(found[1])
    if found[2] is not None:
        return bytes((int(found[2], 16),))
    if found[3] is not None:
        return bytes((int(found[3], 8),))
    return _JS_LETTERS.get(found[4], found[4])


_CSS_ESCAPE = re.compile(rb"\\(?:([0-9A-Fa-f]{1,6})[\t\n\v\f\r ]?|\n|(.)|\Z)", re.DOTALL)


def css_decode(value: bytes) -> bytes:
    r"""\H to \HHHHHH (low byte) with one space behind, an escaped character itself; ends at the first NUL."""
    if 0x5C in value:
        value = _CSS_ESCAPE.sub(_css_character, value)
    return value.partition(b"\0")[0] if 0 in value else value


def _css_character(found: re.Match[bytes]) -> bytes:
    digits = found[1]
    if digits is None:
        return found[2] or b""
    if len(digits) < 4 or digits[:-4].strip(b"0"):
        return bytes((int(digits[-2:], 16),))
    return narrowed(digits[-4:])


_C_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_C_LETTERS = {**_JS_LETTERS, b"\\": b"\\", b"?": b"?", b"'": b"'", b'"': b'"'}


def escape_seq_decode(value: bytes) -> bytes:
    r"""The escapes of ANSI C; a backslash before anything else goes."""
    return _C_ESCAPE.sub(_c_character, value) if 0x5C in value else value


def _c_character(found: re.Match[bytes]) -> bytes:
    if found[1] is not None:
        return bytes((int(found[1], 16),))
    if found[2] is not None:
        return bytes((int(found[2], 8) & 0xFF,))
    return _C_LETTERS.get(found[3], found[3])


_SQL_HEX = re.compile(rb"0[xX]((?:[0-9A-Fa-f]{2})+)")


def sql_hex_decode(value: bytes) -> bytes:
    """0x414243 becomes ABC."""
    return _SQL_HEX.sub(lambda found: bytes.fromhex(found[1].decode()), value)


def hex_encode(value: bytes) -> bytes:
    return value.hex().encode()


def hex_decode(value: bytes) -> bytes:
    """Two digits make a byte; an odd last one is dropped, what is no digit counts as its code would."""
    return bytes(
        ((_digit(value[index]) << 4) + _digit(value[index + 1])) & 0xFF
        for index in range(0, len(value) - 1, 2)
    )


def _digit(code: int) -> int:
    """What libmodsecurity takes a byte for, as a hexadecimal digit."""
    return ((code & 0xDF) - 0x41) + 10 if code >= 0x41 else code - 0x30


_BASE64 = re.compile(rb"([A-Za-z0-9+/]*)(={0,2})")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_LINE_END = re.compile(rb"(?<! ) *\r?\n")  # a run of spaces is looked at once


def base64_decode(value: bytes) -> bytes:
    """Whole groups of four digits, if the value is base64 (in lines, up to a NUL) and nothing else."""
    if 0 in value:
        value = value.partition(b"\0")[0]
    if 0x0A in value:
        value = _LINE_END.sub(b"", value)
    match = _BASE64.fullmatch(value.rstrip(b" "))
    if match is None:
        return b""
    digits = match[0]
    return _from_base64(digits[: len(digits) // 4 * 4])


def base64_decode_ext(value: bytes) -> bytes:
    """With all that is not base64 left out, and a last digit that decodes to nothing."""
    digits = _NOT_BASE64.sub(b"", value)
    return _from_base64(digits[:-1] if len(digits) % 4 == 1 else digits)


def _from_base64(digits: bytes) -> bytes:
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))


def base64_encode(value: bytes) -> bytes:
    return base64.b64encode(value)


_PLAIN_IN_URLS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*")


def url_encode(value: bytes) -> bytes:
    return b"".join(
        b"+" if code == 0x20 else bytes((code,)) if code in _PLAIN_IN_URLS else b"%%%02x" % code
        for code in value
    )


def utf8_to_unicode(value: bytes) -> bytes:
    """UTF-8 sequences become %uHHHH; broken ones lose their first byte, NULs go."""
    if value.isascii():
        return remove_nulls(value)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return _broken_utf8(value)
    return remove_nulls(_BEYOND_ASCII.sub(_code_points, text).encode("ascii"))


_BEYOND_ASCII = re.compile("[^\\x00-\\x7f]+")


def _code_points(found: re.Match[str]) -> str:
    return "".join([f"%u{ord(char):04x}" for char in found[0]])


def _broken_utf8(value: bytes) -> bytes:
    out = bytearray()
    index = 0
    while index < len(value):
        code = value[index]
        size = _UTF8_SIZES[code >> 3]
        if size < 2:
            if code:
                out.append(code)
            index += 1
            continue
        index += _utf8_sequence(value, index, size, out)
    return bytes(out)


# By the five high bits: 0 for what begins no sequence.
_UTF8_SIZES = (1,) * 16 + (0,) * 8 + (2,) * 4 + (3,) * 2 + (4,) + (0,)
_UTF8_LEAST = (0, 0, 0x80, 0x800, 0x10000)  # a lower code point in so many bytes is overlong


def _utf8_sequence(value: bytes, index: int, size: int, out: bytearray) -> int:
    """Write the sequence that should begin here; how many bytes were used."""
    lead = value[index]
    if lead >= 0xF5:
        out.append(lead)
    rest = value[index + 1 : index + size]
    if len(rest) < size - 1 or any(byte & 0xC0 != 0x80 for byte in rest):
        return 1
    code = lead & (0x7F >> size)
    for byte in rest:
        code = code << 6 | byte & 0x3F
    out += b"%%u%04x" % code
    if 0xD800 <= code <= 0xDFFF:
        out.append(lead)
    if code < _UTF8_LEAST[size]:
        out.append(lead)
    return size


# Digests and parity


def sha1(value: bytes) -> bytes:
    return hashlib.sha1(value, usedforsecurity=False).digest()


def md5(value: bytes) -> bytes:
    return hashlib.md5(value, usedforsecurity=False).digest()


def _parity(odd: int) -> bytes:
    """The eighth bit is set where all eight have the wrong parity, else cleared."""
    return bytes((code & 0x7F) | (0x80 if code.bit_count() % 2 != odd else 0) for code in range(256))


_EVEN, _ODD = _parity(0), _parity(1)
_SEVEN_BITS = bytes(code & 0x7F for code in range(256))


def parity_even_7bit(value: bytes) -> bytes:
    return value.translate(_EVEN)


def parity_odd_7bit(value: bytes) -> bytes:
    return value.translate(_ODD)


def parity_zero_7bit(value: bytes) -> bytes:
    return value.translate(_SEVEN_BITS)


# By the name behind "t:", in lower case.
TRANSFORMATIONS: dict[str, Transformation] = {
    "none": none,
    "base64decode": base64_decode,
    "base64decodeext": base64_decode_ext,
    "base64encode": base64_encode,
    "cmdline": cmd_line,
    "compresswhitespace": compress_whitespace,
    "cssdecode": css_decode,
    "escapeseqdecode": escape_seq_decode,
    "hexdecode": hex_decode,
    "hexencode": hex_encode,
    "htmlentitydecode": html_entity_decode,
    "jsdecode": js_decode,
    "length": length,
    "lowercase": lowercase,
    "md5": md5,
    "normalisepath": normalize_path,
    "normalisepathwin": normalize_path_win,
    "normalizepath": normalize_path,
    "normalizepathwin": normalize_path_win,
    "parityeven7bit": parity_even_7bit,
    "parityodd7bit": parity_odd_7bit,
    "parityzero7bit": parity_zero_7bit,
    "removecomments": remove_comments,
    "removecommentschar": remove_comments_char,
    "removenulls": remove_nulls,
    "removewhitespace": remove_whitespace,
    "replacecomments": replace_comments,
    "replacenulls": replace_nulls,
    "sha1": sha1,
    "sqlhexdecode": sql_hex_decode,
    "trim": trim,
    "trimleft": trim_left,
    "trimright": trim_right,
    "uppercase": uppercase,
    "urldecode": url_decode,
    "urldecodeuni": url_decode_uni,
    "urlencode": url_encode,
    "utf8tounicode": utf8_to_unicode,
}
