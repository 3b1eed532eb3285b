"""What a leak looks like: where it begins, how it goes on, and by what sign a text may have it.

Patterns are RE2's, so their time is linear in the text. None looks further than REACH, which is what lets a
text be looked at piece by piece: a place with so many bytes behind it looks the same however the text came.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import re2

from worker.reasons import Leak

Pattern = Any  # re2 has no types
Check = Callable[[bytes, int, int], bool]  # is text[start:end] really one?

REACH = 1024  # bytes that a pattern or a check looks at from where it begins, at most
BEHIND = 16  # and before that


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One way to leak.

    `sign`: a pattern for hyperscan, found without regard to case in every match of `begin`; without one the
    rule is asked about every text. `more` matches
    one further piece, never empty, of a leak that has begun; where its group, if it has one, takes part, the
    leak ends behind the piece.
    """

    kind: Leak
    sign: bytes = b""
    begin: bytes = b""
    more: bytes | None = None
    check: Check | None = None

    def find(self, text: bytes, start: int) -> tuple[int, int] | None:
        """The first leak that begins at `start` or later."""
        while True:
            match = compiled(self.begin).search(text, start)
            if match is None:
                return None
            begin, end = match.span()
            if self.check is None or self.check(text, begin, end):
                return begin, end
            start = begin + 1

    def follow(self, text: bytes, at: int) -> tuple[int, bool]:
        """Where the piece ends that goes on at `at`, and whether the leak may go on behind it."""
        if self.more is None:
            return at, False
        match = compiled(self.more).match(text, at, at + REACH)
        if match is None:
            return at, False
        groups = match.groups()
        return match.end(), not groups or groups[0] is None


@cache
def compiled(source: bytes) -> Pattern:
    """Bytes are Latin-1; "^" and "$" are at lines. Some milliseconds for the largest, so only once."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return re2.compile(b"(?m)" + source, options)


# Texts with several lines come as they are, with <br>, or within a string of JSON. Leaks must not run over
# what ends the text there: a tag, a quote. Names that look like tags are those of runtimes.
_NAMES = rb"module|lambda|listcomp|dictcomp|genexpr|string|stdin|anonymous|init|clinit|main"
_NAMES += rb"|top \(required\)|class:\w+"
_PLAIN = {
    b"@NL": rb"(?:\r?\n|<br ?/?>(?:\r?\n)?)",
    b"@IN": rb"(?:[ \t]|&nbsp;)",
    b"@L": rb"(?:[^\r\n<]|<(?:" + _NAMES + rb")>)",
}
_JSON = {
    b"@NL": rb"(?:(?:\\r)?\\n)",
    b"@IN": rb"(?: |\\t)",
    b"@L": rb"(?:[^\"\\\r\n]|\\[\"'/\\tu])",
}
_EITHER = {
    b"@NL": rb"(?:\r?\n|(?:\\r)?\\n|<br ?/?>(?:\r?\n)?)",
    b"@IN": rb"(?:[ \t]|&nbsp;|\\t)",
    b"@L": rb"(?:[^\r\n<\"\\]|\\[\"'/\\tu]|<(?:" + _NAMES + rb")>)",
}


def lines(kind: Leak, sign: bytes, begin: bytes, more: bytes) -> tuple[Rule, ...]:
    """The rules for a leak of several lines: @NL stands for an end of line, @IN for an indent, @L for any
    other character.

    The rest of a line that belongs to it does, too. The first end of line tells texts and JSON apart; where
    `begin` has none, a line ends for us at a quote.
    """
    return tuple(
        Rule(
            kind, sign, _spelled(begin, spelling), _spelled(b"(?:" + more + b")@L{0,240}|@L{1,240}", spelling)
        )
        for spelling in ((_PLAIN, _JSON) if b"@NL" in begin else (_EITHER,))
    )


def _spelled(source: bytes, spelling: dict[bytes, bytes]) -> bytes:
    for mark, meaning in spelling.items():
        source = source.replace(mark, meaning)
    return source
