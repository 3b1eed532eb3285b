"""One look at a value for many patterns: which of them may match, so that only those are asked in earnest.

By hyperscan, which answers for all of them in about the time of one. A pattern that it cannot decide
exactly it may report falsely, but never leaves out (HS_FLAG_PREFILTER). Knows nothing of what the patterns
mean.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import hyperscan

from worker.security.detect.linear import Pattern

_FLAGS = (
    hyperscan.HS_FLAG_PREFILTER
    | hyperscan.HS_FLAG_SINGLEMATCH
    | hyperscan.HS_FLAG_ALLOWEMPTY
    | hyperscan.HS_FLAG_CASELESS
    | hyperscan.HS_FLAG_DOTALL
)


class Prefilter:
    """Groups of patterns, compiled into one database."""

    def __init__(self, groups: Sequence[Sequence[Pattern]], cache: Path | None = None) -> None:
        """A group may match where one of its patterns does. `cache` is the folder for compiled patterns."""
        patterns = [(pattern, group) for group, members in enumerate(groups) for pattern in members]
        self._groups = [group for _, group in patterns]
        self._database = _database([_weaker(_source(pattern)) for pattern, _ in patterns], cache)

    def candidates(self, value: bytes) -> set[int]:
        """The numbers of the groups that may match."""
        found: set[int] = set()
        groups = self._groups

        def on_match(pattern: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            found.add(groups[pattern])

        self._database.scan(value, match_event_handler=on_match)
        return found


def _database(expressions: Sequence[bytes], cache: Path | None) -> hyperscan.Database:
    """The compiled patterns, from `cache` if they lie there: compiling takes a second, reading a moment.

    A folder that cannot be read or written costs time, and nothing else.
    """
    digest = hashlib.blake2b(version("hyperscan").encode(), digest_size=16)
    for expression in expressions:
        digest.update(b"%d:%b" % (len(expression), expression))
    path = None if cache is None else cache / f"detectors-{digest.hexdigest()}.hs"
    if path is not None:
        with contextlib.suppress(OSError, ValueError, hyperscan.error):
            kept = hyperscan.loadb(path.read_bytes(), hyperscan.HS_MODE_BLOCK)
            kept.scratch = hyperscan.Scratch(kept)
            return kept
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=expressions, ids=list(range(len(expressions))), flags=[_FLAGS] * len(expressions)
    )
    if path is not None:
        with contextlib.suppress(OSError):
            written = path.with_suffix(f".{os.getpid()}")
            written.write_bytes(hyperscan.dumpb(database))
            written.replace(path)
    return database


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
