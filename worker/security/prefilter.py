"""Many patterns in one hyperscan database: one look at a value tells which of them may match.

May, not do: who asks confirms with what decides. A pattern that hyperscan cannot hold exactly is there in a
wider form; one it cannot hold at all counts as one that may always match. Compiling takes seconds, so the
result can be kept in a folder. Knows nothing of what the patterns mean.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hyperscan as hs
import msgpack

log = logging.getLogger("edgecluster.waf")

_FORMAT = 3
# Without case, so that a value need not be brought to lower case to be looked at.
_EXACT = (
    hs.HS_FLAG_DOTALL
    | hs.HS_FLAG_MULTILINE
    | hs.HS_FLAG_SINGLEMATCH
    | hs.HS_FLAG_ALLOWEMPTY
    | hs.HS_FLAG_CASELESS
)
_WIDER = _EXACT | hs.HS_FLAG_PREFILTER
_WIDE = _WIDER & ~hs.HS_FLAG_MULTILINE  # anchors of lines take many times as long to compile
_PHRASE = hs.HS_FLAG_CASELESS | hs.HS_FLAG_SINGLEMATCH


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression, or phrases of which one is to be found without regard to case."""

    expression: bytes = b""
    phrases: tuple[bytes, ...] = ()
    wide: bool = False  # may be reported where it does not match; "^" is the beginning of the value alone


Numbered = tuple[int, Pattern]  # several patterns may have one number


class Prefilter:
    """Looks for numbered patterns."""

    def __init__(self, blob: bytes, refused: Sequence[int]) -> None:
        self.blob = blob
        self.refused = tuple(refused)  # the patterns hyperscan does not take
        self._scan: Any = None
        if blob:
            database = hs.loadb(blob, hs.HS_MODE_BLOCK)
            database.scratch = hs.Scratch(database)
            self._scan = database.scan

    def candidates(self, value: bytes) -> list[int]:
        """The numbers of the patterns that may match, each once."""
        found = [*self.refused]
        if self._scan is not None:
            self._scan(value, _collect, 0, found)
        return found


def _collect(number: int, start: int, end: int, flags: int, found: Any) -> None:
    if number not in found:
        found.append(number)


def compiled(patterns: Iterable[Numbered], cache: Path | None = None) -> Prefilter:
    """The prefilter for these patterns, from `cache` (a folder) if it was compiled there before.

    A folder that cannot be read or written costs time, and nothing else.
    """
    listed = list(patterns)
    if cache is None:
        return _compile(listed)
    path = cache / f"patterns-{_digest(listed)}.hs"
    kept = _load(path)
    if kept is None:
        kept = _compile(listed)
        _store(path, kept)
    return kept


def _digest(patterns: Iterable[Numbered]) -> str:
    """Names the patterns and the library that compiled them."""
    digest = hashlib.blake2b(f"{_FORMAT} {version('hyperscan')}".encode(), digest_size=16)
    for number, pattern in patterns:
        digest.update(msgpack.packb((number, pattern.expression, pattern.phrases, pattern.wide)))
    return digest.hexdigest()


def _load(path: Path) -> Prefilter | None:
    """None if it is not there, or was compiled for another machine."""
    try:
        blob, refused = msgpack.unpackb(path.read_bytes())
        return Prefilter(blob, refused)
    except (OSError, ValueError, hs.error):
        return None


def _store(path: Path, kept: Prefilter) -> None:
    written = path.with_suffix(f".{os.getpid()}")
    try:
        written.write_bytes(msgpack.packb((kept.blob, kept.refused)))
        written.replace(path)
    except OSError as error:
        log.warning("compiled WAF patterns cannot be kept in %s: %s", path.parent, error.strerror)


def _compile(patterns: Iterable[Numbered]) -> Prefilter:
    expressions: list[bytes] = []
    numbers: list[int] = []
    flags: list[int] = []
    refused: list[int] = []
    for number, pattern in patterns:
        if pattern.phrases:
            expressions += [_literal(phrase) for phrase in pattern.phrases]
            numbers += [number] * len(pattern.phrases)
            flags += [_PHRASE] * len(pattern.phrases)
            continue
        accepted = _WIDE if pattern.wide else _accepted(pattern.expression)
        if accepted is None:
            refused.append(number)
            continue
        expressions.append(pattern.expression)
        numbers.append(number)
        flags.append(accepted)
    if not expressions:
        return Prefilter(b"", refused)
    database = hs.Database(mode=hs.HS_MODE_BLOCK)
    database.compile(expressions=expressions, ids=numbers, flags=flags)
    return Prefilter(hs.dumpb(database), refused)


def _literal(phrase: bytes) -> bytes:
    return b"".join(b"\\x%02x" % code for code in phrase)


def _accepted(expression: bytes) -> int | None:
    """The flags with which hyperscan takes it; None if it does not."""
    return next((flags for flags in (_EXACT, _WIDER) if _is_accepted(expression, flags)), None)


def _is_accepted(expression: bytes, flags: int) -> bool:
    try:
        hs.Database(mode=hs.HS_MODE_BLOCK).compile(expressions=[expression], ids=[0], flags=[flags])
    except hs.error:
        return False
    return True
