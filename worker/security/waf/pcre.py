"""Patterns of rules: written for PCRE, run by RE2 where RE2 gives the same answer, by `re` where it cannot.

RE2's time is linear in the value whatever the pattern, so it comes first. It has no look-around and no
backreferences; the few patterns that need them run in `re`, over short pieces of the value, within a budget
of time, and only if nothing that is repeated can match in several ways (which could take for ever). Both
get the pattern respelled, because some letters mean something else to each of them. Possessive repeats and
atomic groups lose their mark: authors write them to save PCRE time, RE2 needs no such help, and without it
no match is lost.
"""

import re
from collections.abc import Callable, Iterable
from re import _constants as sre_constants  # type: ignore[attr-defined]  # has no stubs
from re import _parser as sre_parser  # type: ignore[attr-defined]  # has no stubs
from time import thread_time_ns
from typing import Any

import re2

Groups = tuple[bytes | None, ...]
Search = Callable[[bytes], Groups | None]

# What `re` looks at at once, and how far pieces overlap; longer matches may be missed where two meet.
# The time of one piece is at worst about quadratic: some milliseconds.
PIECE = 512
OVERLAP = 128
BUDGET_NS = 10_000_000  # of one search; what is undecided then counts as found

_RE2_BYTES = 64 * 1024**2  # for the largest pattern; RE2 grows into it as values need


class PatternError(ValueError):
    """A pattern that nobody here can run; the message says why."""


def compiled(pattern: str, *, caseless: bool = False) -> Search:
    """A search for `pattern` as PCRE with DOTALL and MULTILINE would do it, on bytes.

    Gives the groups of the first match, the whole match before them. Characters of `pattern` above U+00FF
    do not exist: it was read as Latin-1. Raises PatternError.
    """
    spelled = _Speller(pattern, caseless)
    flags = "(?msi)" if caseless else "(?ms)"
    if spelled.fits_re2:
        try:
            return _linear(flags + spelled.text)
        except re2.error:
            pass
    text = (flags + spelled.text).encode("ascii")
    try:
        if _nests_repeats(sre_parser.parse(text)):
            raise PatternError(
                f"repeats or alternatives in repeats beside look-around could take for ever: {pattern[:80]!r}"
            )
        return _backtracking(re.compile(text))
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(f"{error} in {pattern[:80]!r}") from None


def spelled(pattern: str) -> str:
    """The pattern as `re` and RE2 read it alike. Raises PatternError."""
    return _Speller(pattern, False).text


def _linear(text: str) -> Search:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.max_mem = _RE2_BYTES
    # The binding's own `search` makes a generator and an object per call, which cost as much again.
    match = re2.compile(text.encode("ascii"), options)._regexp.Match
    anywhere = re2._re2.RE2.Anchor.UNANCHORED

    def find(value: bytes) -> Groups | None:
        spans = match(anywhere, value, 0, len(value))
        if spans[0][0] < 0:
            return None
        return tuple([value[start:end] if start >= 0 else None for start, end in spans])

    return find


def _backtracking(pattern: re.Pattern[bytes]) -> Search:
    def find(value: bytes) -> Groups | None:
        start = 0
        end_ns = thread_time_ns() + BUDGET_NS
        while True:
            match = pattern.search(value, start, start + PIECE)
            if match is not None:
                return (match[0], *match.groups())
            if start + PIECE >= len(value):
                return None
            if thread_time_ns() > end_ns:
                return (value[start : start + PIECE],)
            start += PIECE - OVERLAP

    return find


_REPEATS = (sre_constants.MAX_REPEAT, sre_constants.MIN_REPEAT)


def _nests_repeats(parsed: Iterable[Any], *, within: bool = False) -> bool:
    """Whether what is repeated may match in several ways itself: trying them all could take for ever.

    Such are repeats in it, optional parts and alternatives.
    """
    for operation, argument in parsed:
        if operation in _REPEATS:
            least, most, repeated = argument
            if (within and least != most) or _nests_repeats(
                repeated, within=within or (least != most and most > 1)
            ):
                return True
        elif operation is sre_constants.SUBPATTERN:
            if _nests_repeats(argument[3], within=within):
                return True
        elif operation is sre_constants.BRANCH:
            if within or any(_nests_repeats(branch) for branch in argument[1]):
                return True
        elif operation in (sre_constants.ASSERT, sre_constants.ASSERT_NOT):
            if _nests_repeats(argument[1], within=within):
                return True
    return False


_CLASS_LETTERS: dict[str, frozenset[int]] = {
    "d": frozenset(b"0123456789"),
    "w": frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"),
    "s": frozenset(b"\t\n\v\f\r "),
    "v": frozenset(b"\n\v\f\r\x85"),
    "h": frozenset(b"\t \xa0"),
}
_ALL = frozenset(range(256))
_CLASS_LETTERS |= {letter.upper(): _ALL - codes for letter, codes in _CLASS_LETTERS.items()}
_CLASS_LETTERS["N"] = _ALL - {0x0A}
_POSIX: dict[str, frozenset[int]] = {
    "alnum": frozenset(c for c in range(128) if chr(c).isalnum()),
    "alpha": frozenset(c for c in range(128) if chr(c).isalpha()),
    "blank": frozenset(b" \t"),
    "cntrl": frozenset([*range(32), 127]),
    "digit": _CLASS_LETTERS["d"],
    "graph": frozenset(range(33, 127)),
    "lower": frozenset(b"abcdefghijklmnopqrstuvwxyz"),
    "print": frozenset(range(32, 127)),
    "punct": frozenset(c for c in range(33, 127) if not chr(c).isalnum()),
    "space": _CLASS_LETTERS["s"],
    "upper": frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "word": _CLASS_LETTERS["w"],
    "xdigit": frozenset(b"0123456789ABCDEFabcdef"),
}
_CONTROL_LETTERS = {"a": 7, "e": 27, "f": 12, "n": 10, "r": 13, "t": 9}
_POSIX_NAME = re.compile(r"\[:(\^?)([a-z]+):\]")
_REPEAT = re.compile(r"\{\d+(?:,\d*)?\}")
_FLAGS = re.compile(r"\(\?([ims]*(?:-[ims]+)?)([:)])")
_REFERENCES = "123456789"
_NAMED = re.compile(r"\(\?P?<([A-Za-z_]\w*)>", re.ASCII)
_LATIN1_LETTERS = frozenset([*range(0xC0, 0xE0), *range(0xE0, 0x100), 0xB5])


_ASSERTIONS = ("(?<=", "(?<!", "(?=", "(?!", "(?>")


class _Group:
    """An open group: how it began, what separates its alternatives, how it ends."""

    __slots__ = ("bar", "close", "flags", "open")

    def __init__(self, begin: str = "", bar: str = "|", close: str = ")") -> None:
        self.open = begin
        self.bar = bar
        self.close = close
        self.flags: list[str] = []  # the (?i) and the like met inside, as groups that are still open


# The alternatives of a look-behind may differ in width for PCRE, not for `re`: one look-behind for each.
_BEHIND = {"(?<=": _Group("(?:(?<=", ")|(?<=", "))"), "(?<!": _Group("(?<!", ")(?<!", ")")}


class _Speller:
    """Writes a PCRE pattern so that RE2 and `re` read it alike: classes as ranges, flags as groups."""

    def __init__(self, pattern: str, caseless: bool) -> None:
        self._pattern = pattern
        self._index = 0
        self._out: list[str] = []
        self._open = [_Group()]
        self._caseless = caseless or re.search(r"\(\?[ms]*i", pattern) is not None
        self.fits_re2 = True
        while self._index < len(pattern):
            self._element()
        self._out.append(")" * len(self._open[0].flags))
        if len(self._open) != 1:
            raise PatternError(f"a group is not closed in {pattern[:80]!r}")
        self.text = "".join(self._out)

    def _element(self) -> None:
        pattern, index = self._pattern, self._index
        char = pattern[index]
        if char == "\\":
            self._out.append(self._escape())
        elif char == "[":
            self._out.append(self._class())
        elif char == "(":
            self._group()
        elif char == ")":
            if len(self._open) == 1:
                raise PatternError(f"a group is closed that was never open in {pattern[:80]!r}")
            group = self._open.pop()
            self._out.append(")" * len(group.flags) + group.close)
            self._index += 1
        elif char == "|":
            group = self._open[-1]
            self._out.append(")" * len(group.flags) + group.bar + "".join(group.flags))
            self._index += 1
        elif char == "+" and self._out and self._out[-1] in ("+", "*", "?", "}"):
            self._index += 1  # the mark of a possessive repeat
        elif char == "{" and _REPEAT.match(pattern, index) is None:
            self._literal(ord(char))
        elif ord(char) > 0x7F:
            self._literal(ord(char))
        else:
            self._out.append(char)
            self._index += 1

    def _literal(self, code: int) -> None:
        self._out.append(self._set(frozenset([code]), code))
        self._index += 1

    def _group(self) -> None:
        pattern, index = self._pattern, self._index
        if pattern.startswith("(?#", index):
            end = pattern.find(")", index)
            if end < 0:
                raise PatternError(f"a comment is not closed in {pattern[:80]!r}")
            self._index = end + 1
            return
        flags = _FLAGS.match(pattern, index)
        named = _NAMED.match(pattern, index)
        if flags is not None and flags[2] == ")":
            if flags[1]:
                self._open[-1].flags.append(f"(?{flags[1]}:")
                self._out.append(f"(?{flags[1]}:")
            self._index = flags.end()
            return
        if flags is not None:
            text, self._index = flags[0], flags.end()
        elif named is not None:
            text, self._index = f"(?P<{named[1]}>", named.end()
        else:
            text = next((s for s in _ASSERTIONS if pattern.startswith(s, index)), "(")
            if text == "(" and pattern.startswith("(?", index):
                raise PatternError(f"{pattern[index : index + 4]!r} is not supported in {pattern[:80]!r}")
            self._index += len(text)
        group = _BEHIND.get(text, _Group())
        self._out.append(group.open or ("(?:" if text == "(?>" else text))
        self._open.append(_Group(group.open, group.bar, group.close))

    # Escapes and classes

    def _escape(self) -> str:
        following = self._pattern[self._index + 1 : self._index + 2]
        if following in ("b", "B", "A"):
            self._index += 2
            return "\\" + following
        if following in ("z", "Z"):
            self._index += 2
            self.fits_re2 = False  # which spells them in other ways
            return r"\Z" if following == "z" else r"(?=\n?\Z)"
        if following in _REFERENCES and following:
            digits = re.compile(r"\d+").match(self._pattern, self._index + 1)
            assert digits is not None
            if int(digits[0]) < 10:
                self._index = digits.end()
                return f"(?:\\{digits[0]})"
        codes, single = self._escaped()
        return self._set(codes, single)

    def _escaped(self) -> tuple[frozenset[int], int | None]:
        """What an escape stands for: a set, and the code if it is one character. Moves behind it."""
        pattern = self._pattern
        start = self._index + 1
        if start >= len(pattern):
            raise PatternError(f"a backslash at the end of {pattern[:80]!r}")
        char = pattern[start]
        self._index = start + 1
        if char in _CLASS_LETTERS:
            return _CLASS_LETTERS[char], None
        code = ord(char)
        if char == "x":
            digits = re.compile(r"\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{0,2})").match(pattern, start + 1)
            assert digits is not None
            self._index = digits.end()
            code = int(digits[1] or digits[2] or "0", 16)
        elif char in "01234567":
            digits = re.compile(r"[0-7]{1,3}").match(pattern, start)
            assert digits is not None
            self._index = digits.end()
            code = int(digits[0], 8)
        elif char == "c":
            control = pattern[start + 1 : start + 2]
            if not control or not control.isascii():
                raise PatternError(f"\\c without a character of ASCII in {pattern[:80]!r}")
            self._index = start + 2
            code = ord(control.upper()) ^ 0x40
        elif char in _CONTROL_LETTERS:
            code = _CONTROL_LETTERS[char]
        elif char.isascii() and char.isalpha():
            raise PatternError(f"\\{char} is not supported in {pattern[:80]!r}")
        if code > 0xFF:
            raise PatternError(f"a character above 0xFF in {pattern[:80]!r}")
        return frozenset([code]), code

    def _class(self) -> str:
        """[...] as ranges of \\xHH."""
        pattern = self._pattern
        self._index += 1
        negated = pattern.startswith("^", self._index)
        self._index += negated
        codes: set[int] = set()
        first = True
        while True:
            if pattern.startswith("]", self._index) and not first:
                self._index += 1
                break
            first = False
            self._class_item(codes)
        return self._set(frozenset(codes), None, "^" if negated else "")

    def _class_item(self, codes: set[int]) -> None:
        members, low = self._class_atom()
        pattern = self._pattern
        if (
            low is not None
            and pattern.startswith("-", self._index)
            and not pattern.startswith("-]", self._index)
        ):
            mark = self._index
            self._index += 1
            _, high = self._class_atom()
            if high is not None:
                if high < low:
                    raise PatternError(f"a range is out of order in {pattern[:80]!r}")
                codes.update(range(low, high + 1))
                return
            self._index = mark  # [a-\d]: the hyphen is a hyphen
        codes.update(members)

    def _class_atom(self) -> tuple[frozenset[int], int | None]:
        pattern, index = self._pattern, self._index
        if index >= len(pattern):
            raise PatternError(f"a class is not closed in {pattern[:80]!r}")
        char = pattern[index]
        if char == "[":
            name = _POSIX_NAME.match(pattern, index)
            if name is not None and name[2] in _POSIX:
                self._index = name.end()
                codes = _POSIX[name[2]]
                return (_ALL - codes if name[1] else codes), None
        if char == "\\":
            if pattern.startswith("b", index + 1):
                self._index += 2
                return frozenset([8]), 8
            return self._escaped()
        self._index += 1
        return frozenset([ord(char)]), ord(char)

    def _set(self, codes: frozenset[int], single: int | None, negation: str = "") -> str:
        """A set of bytes, spelled without letters that engines read differently.

        A negated one stays negated: without case, [^a] is not a class with an A in it.
        """
        if self._caseless and any(
            (code ^ 0x20 in codes) != (code in codes) for code in _LATIN1_LETTERS & codes
        ):
            self.fits_re2 = False  # RE2 folds the case of Latin-1 letters, PCRE does not
        if single is not None:
            return f"\\x{single:02x}" if not chr(single).isalnum() or single > 0x7F else chr(single)
        if not codes:
            raise PatternError(f"an empty class in {self._pattern[:80]!r}")
        return f"[{negation}{''.join(_ranges(codes))}]"


def _ranges(codes: frozenset[int]) -> list[str]:
    found: list[list[int]] = []
    for code in sorted(codes):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return [f"\\x{low:02x}" + (f"-\\x{high:02x}" if high > low else "") for low, high in found]
