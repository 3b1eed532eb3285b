"""What to look for so that only patterns that may match are asked in earnest: a wider form of each.

Knows nothing of what the patterns mean; `worker.security.prefilter` looks.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from worker.security import prefilter
from worker.security.detect.linear import Pattern


class Prefilter:
    """Groups of patterns, compiled into one database."""

    def __init__(self, groups: Sequence[Sequence[Pattern]], cache: Path | None = None) -> None:
        """A group may match where one of its patterns does. `cache` is the folder for compiled patterns."""
        wider = [
            (group, prefilter.Pattern(_weaker(_source(pattern)), wide=True))
            for group, members in enumerate(groups)
            for pattern in members
        ]
        self._found = prefilter.compiled(wider, cache)

    def candidates(self, value: bytes) -> set[int]:
        """The numbers of the groups that may match."""
        return set(self._found.candidates(value))


# One piece of a pattern: a class of characters, an escape, an anchor, a long repetition, or anything else.
_PIECE = re.compile(rb"\[\^?\]?(?:[^\]\\]|\\.)*\]|\\.|[$^]|\{\d*,\d{2,}\}|.", re.DOTALL)


def _weaker(pattern: bytes) -> bytes:
    """A pattern that matches at least where `pattern` does, compiled in a moment: an anchor counts only
    at its beginning, where alone hyperscan takes it, and a long repetition may be of any length."""
    pieces = _PIECE.findall(pattern)
    anchored = pieces[0] == b"^" and not _has_alternatives(pieces)
    kept = (piece for piece in pieces if piece not in (b"^", b"$"))
    weaker = (b"*" if piece.startswith(b"{") and len(piece) > 1 else piece for piece in kept)
    return (b"^" if anchored else b"") + b"".join(weaker)


def _has_alternatives(pieces: Sequence[bytes]) -> bool:
    """Is there a "|" outside of all groups?"""
    depth = 0
    for piece in pieces:
        depth += (piece == b"(") - (piece == b")")
        if piece == b"|" and depth == 0:
            return True
    return False


def _source(pattern: Pattern) -> bytes:
    source = pattern.pattern
    return source if isinstance(source, bytes) else str(source).encode("latin-1")
