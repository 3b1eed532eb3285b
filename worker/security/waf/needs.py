"""What a value must hold for an operator to match it: kinds of bytes of which it has one at least.

Derived from the operator's argument when rules are read. A value without them need not be asked about.
"""

from collections.abc import Iterable
from pathlib import Path
from re import _constants as sre_constants  # type: ignore[attr-defined]  # has no stubs
from re import _parser as sre_parser  # type: ignore[attr-defined]  # has no stubs
from typing import Any

from worker.security.waf import kinds, pcre
from worker.security.waf.kinds import kinds_of
from worker.security.waf.operators import bytes_of_ranges, file_lines, phrases_of

NOTHING = 0  # also what has no bytes at all may match, or nobody knows

_ALL = kinds_of(*range(256))
_WORD = kinds_of(*b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_FILES = frozenset({"pmf", "pmfromfile"})

# How common kinds are: what is needed shall be rare. All others weigh 1.
_WEIGHTS = {
    kinds.LETTER: 100, kinds.DIGIT: 50,
    **{kinds_of(code): 20 for code in b"=/.cfgmpu"}, **{kinds_of(code): 8 for code in b" -_:&;,?bkvwy"},
}  # fmt: skip


def needs(operator: str, argument: str, folder: Path) -> int:
    """Kinds of which a value has one if `operator` (in lower case) matches it; NOTHING if nobody knows."""
    text = argument.encode("latin-1")
    if operator == "rx":
        return of_expression(argument)
    if operator == "pm":
        return _of_phrases(phrases_of(text))
    if operator in _FILES:
        return _of_phrases(file_lines(folder / argument.strip()))
    if operator in ("beginswith", "contains", "endswith", "streq", "strmatch"):
        return _of_phrase(text)
    if operator in ("detectsqli", "detectxss"):  # which see nothing in a single word
        return _ALL & ~_WORD
    if operator == "validatebyterange":
        return kinds_of(*(set(range(256)) - bytes_of_ranges(text)))
    if operator == "validateurlencoding":
        return kinds_of(0x25)
    return kinds.HIGH if operator == "validateutf8encoding" else NOTHING


def of_expression(pattern: str) -> int:
    """The same of a regular expression."""
    try:
        parsed = sre_parser.parse(pcre.spelled(pattern))
    except (pcre.PatternError, sre_parser.error, OverflowError, RecursionError):
        return NOTHING
    return _of_sequence(parsed)


def _of_phrases(phrases: Iterable[bytes]) -> int:
    return any_of(map(_of_phrase, phrases))


def _of_phrase(phrase: bytes) -> int:
    return _rarest(kinds_of(code) for code in phrase)


def any_of(alternatives: Iterable[int]) -> int:
    """What is needed where one of these matches."""
    found = 0
    for one in alternatives:
        if one == NOTHING:
            return NOTHING
        found |= one
    return found


def _rarest(needed: Iterable[int]) -> int:
    """Where all of these are needed, any may be chosen."""
    return min((one for one in needed if one != NOTHING), key=_weight, default=NOTHING)


def _weight(held: int) -> int:
    return sum(_WEIGHTS.get(1 << bit, 1) for bit in range(held.bit_length()) if held >> bit & 1)


def _of_sequence(parsed: Iterable[Any]) -> int:
    return _rarest(_of_piece(operation, argument) for operation, argument in parsed)


def _of_piece(operation: Any, argument: Any) -> int:
    if operation is sre_constants.LITERAL:
        return kinds_of(argument)
    if operation is sre_constants.NOT_LITERAL:
        return kinds_of(*(code for code in range(256) if code != argument))
    if operation is sre_constants.ANY:
        return _ALL
    if operation is sre_constants.IN:
        return kinds_of(*_members(argument))
    if operation is sre_constants.BRANCH:
        return any_of(map(_of_sequence, argument[1]))
    if operation is sre_constants.SUBPATTERN:
        return _of_sequence(argument[3])
    if operation in (sre_constants.MAX_REPEAT, sre_constants.MIN_REPEAT):
        return _of_sequence(argument[2]) if argument[0] > 0 else NOTHING
    return NOTHING  # anchors, look-around, references


def _members(pieces: Iterable[Any]) -> Iterable[int]:
    """The bytes of a class; a category is as good as all."""
    listed: set[int] = set()
    negated = False
    for operation, argument in pieces:
        if operation is sre_constants.NEGATE:
            negated = True
        elif operation is sre_constants.LITERAL:
            listed.add(argument)
        elif operation is sre_constants.RANGE:
            listed.update(range(argument[0], argument[1] + 1))
        else:
            return range(256)
    return set(range(256)) - listed if negated else listed
