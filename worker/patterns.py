"""Patterns over paths, and what takes the place of a path that matches.

Compiled by RE2, whose time is linear in the path whatever the pattern; so there are no backreferences and no
look-around. In what takes the place, $1 to $9 stand for the pattern's groups. Knows bytes, not requests.
"""

import re
from collections.abc import Callable
from typing import Any

import re2

_JOINED_BYTES = 64 * 1024**2  # for a pattern that joins thousands

_GROUP = re.compile(r"\$([1-9])")
_NOT_IN_QUERIES = re.compile(rb"[&=+;]")  # in a path plain characters, in a query separators


class PatternError(ValueError):
    """A pattern or its replacement that means nothing; the message says why."""


def wildcard(path: str) -> str:
    """The pattern of a whole path in which each `*` is a group of any characters."""
    return "^" + "(.*)".join(str(re2.escape(part)) for part in path.split("*")) + "$"


def compiled(pattern: str, *, groups: bool = True) -> Any:
    """The pattern for bytes; without `groups` it can only tell whether it matches, which is cheaper.

    Raises PatternError.
    """
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    if not groups:
        options.never_capture = True
        options.max_mem = _JOINED_BYTES
    try:
        return re2.compile(pattern.encode("ascii"), options)
    except UnicodeEncodeError:
        raise PatternError("paths have ASCII characters only: write others as %XX") from None
    except re2.error as error:
        reason = error.args[0]
        raise PatternError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None


class Replacement:
    """What a path becomes. Raises PatternError for a pattern RE2 refuses, and for a $N without its group."""

    def __init__(self, pattern: str, to: str) -> None:
        self._pattern = compiled(pattern)
        path, mark, query = to.partition("?")
        self._path = _Template(path)
        self._query = _Template(query) if mark else None
        wanted = max(int(group) for group in ["0", *_GROUP.findall(to)])
        if wanted > self._pattern.groups:
            raise PatternError(f"${wanted} has no group: the pattern has {self._pattern.groups}")

    def __call__(self, path: bytes) -> tuple[bytes, bytes | None] | None:
        """What is before and behind the first "?" of the replacement; None if the path does not match.

        What a group matched is data, so in a query it cannot separate parameters.
        """
        match = self._pattern.search(path)
        if match is None:
            return None
        query = None if self._query is None else self._query.fill(match, _for_query)
        return self._path.fill(match, bytes), query


class _Template:
    """Text with the places of groups in it."""

    def __init__(self, text: str) -> None:
        self._pieces = [piece.encode("ascii") for piece in _GROUP.split(text)]  # every second names a group

    def fill(self, match: Any, spell: Callable[[bytes], bytes]) -> bytes:
        return b"".join(
            spell(match[int(piece)] or b"") if index % 2 else piece
            for index, piece in enumerate(self._pieces)
        )


def _for_query(value: bytes) -> bytes:
    return _NOT_IN_QUERIES.sub(lambda found: b"%%%02X" % ord(found[0]), value)
