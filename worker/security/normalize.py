"""One spelling per path, before anything is decided by it: what was inspected is what is forwarded.

The first gate. Two spellings that every origin must treat alike (RFC 3986 6.2.2) become one; spellings that
readers are known to understand differently are refused rather than guessed at.
"""

import re

from worker.errors import EdgeError
from worker.fields import is_plain_path
from worker.message import Request
from worker.reasons import Fault, Side

_VISIBLE = re.compile(rb"[!-~]*")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_SLASHES = re.compile(rb"//+")

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_REFUSED_ESCAPES = {0x00: "NUL", 0x5C: "backslash"}


class Normalizer:
    """Replaces `request.path` by its normal form; raises EdgeError 400 for what has none.

    Percent-encoded unreserved characters are decoded and other escapes get upper-case digits, dot segments
    are resolved (RFC 3986 5.2.4), and with `merge_slashes` runs of slashes become one. An encoded slash stays
    encoded, for it is data to one origin and a separator to the next. The query is forwarded as sent.

    Refused: "%" that begins no escape; NUL and backslash, raw or encoded; raw control characters, spaces,
    non-ASCII bytes and "#"; a dot segment that only an origin that decodes "%2F" would see.
    """

    def __init__(self, *, merge_slashes: bool = True) -> None:
        self.merge_slashes = merge_slashes

    def __call__(self, request: Request) -> None:
        if not is_plain_path(request.path):  # most are
            request.path = self.normal_path(request.path, request.method)
        query = request.query
        if query is not None and (_VISIBLE.fullmatch(query) is None or b"#" in query):
            raise _refusal("query", "a control character, a space, a non-ASCII byte or '#'")

    def normal_path(self, path: bytes, method: bytes = b"GET") -> bytes:
        """The normal form of any path."""
        if path == b"*" and method == b"OPTIONS":
            return path
        if not path.startswith(b"/"):
            raise _refusal("path", "no slash at its beginning")
        if _VISIBLE.fullmatch(path) is None or b"#" in path:
            raise _refusal("path", "a control character, a space, a non-ASCII byte or '#'")
        if b"\\" in path:
            raise _refusal("path", "a backslash")
        if b"%" in path:
            path = _ESCAPE.sub(_normal_escape, path)
        if self.merge_slashes:
            path = _SLASHES.sub(b"/", path)
        return _without_dot_segments(path) if b"/." in path or b"%2F" in path else path


def _normal_escape(match: re.Match[bytes]) -> bytes:
    digits = match.group(1)
    if digits is None:
        raise _refusal("path", "'%' without two hexadecimal digits")
    code = int(digits, 16)
    if code in _REFUSED_ESCAPES:
        raise _refusal("path", f"an encoded {_REFUSED_ESCAPES[code]}")
    return bytes((code,)) if code in _UNRESERVED else match.group().upper()


def _without_dot_segments(path: bytes) -> bytes:
    """RFC 3986 5.2.4 for an absolute path; segments above the root vanish."""
    segments: list[bytes] = []
    last = b""
    for last in path.split(b"/")[1:]:
        if last == b"..":
            if segments:
                segments.pop()
        elif last != b".":
            if b"%2F" in last and not {b".", b".."}.isdisjoint(last.split(b"%2F")):
                raise _refusal("path", "a dot segment beside an encoded slash")
            segments.append(last)
    if last in (b".", b".."):
        segments.append(b"")
    return b"/" + b"/".join(segments)


def _refusal(part: str, what: str) -> EdgeError:
    return EdgeError(400, Side.CLIENT, Fault.BAD_REQUEST, f"{part} with {what}")
