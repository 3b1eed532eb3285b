"""Targets and macros of rules, made ready to be asked for their values again and again.

Knows how a selector picks from a collection (names are compared without case), not what rules do with
values.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from worker.security.waf import pcre, words
from worker.security.waf.seclang import Position, SecLangError, Target
from worker.security.waf.state import State
from worker.security.waf.transaction import Pairs

Picks = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Watch:
    """One target with the exclusions that narrow it."""

    variable: str
    name: str  # as messages and `ctl` name it
    label: bytes  # what precedes the name of a member, b"ARGS:"
    is_scalar: bool
    counts: bool
    exact: bytes | None  # the only member, in lower case
    picks: Picks | None  # which members; None for all
    dynamic: bool  # depends on what rules did, not on the request alone

    def covers(self, key: bytes) -> bool:
        """Whether a member of this name is looked at."""
        if self.exact is not None and key.lower() != self.exact:
            return False
        return self.picks is None or self.picks(key)

    def values(self, state: State) -> Pairs:
        """Labels and values, in the order of the request."""
        if self.is_scalar:
            found = [(self.variable.encode(), state.scalar(self.variable))]
            return [(found[0][0], b"1")] if self.counts else found
        pairs = state.pairs(self.variable)
        if self.exact is not None or self.picks is not None:
            pairs = [pair for pair in pairs if self.covers(pair[0])]
        if self.counts:
            return [(self.name.encode(), b"%d" % len(pairs))]
        return [(self.label + key, value) for key, value in pairs]


_DYNAMIC = frozenset(
    {"MATCHED_VAR", "MATCHED_VAR_NAME", "MATCHED_VARS", "MATCHED_VARS_NAMES", "RULE", *words.WRITABLE}
)


def watches(targets: Iterable[Target], at: Position) -> tuple[Watch, ...]:
    """The targets of a rule; an exclusion narrows the others on its variable. Raises SecLangError."""
    targets = tuple(targets)
    excluded = [target for target in targets if target.excludes]
    return tuple(
        _watch(target, [other for other in excluded if other.variable == target.variable], at)
        for target in targets
        if not target.excludes and not any(_equal(target, other) for other in excluded)
    )


def _equal(target: Target, other: Target) -> bool:
    return (target.variable, target.selector) == (other.variable, other.selector)


def _watch(target: Target, excluded: list[Target], at: Position) -> Watch:
    exact = picks = None
    if target.selector is not None and target.variable != "XML":
        if target.is_pattern:
            picks = _pattern(target.selector, at)
        else:
            exact = target.selector.encode("latin-1").lower()
    elif target.variable == "XML":
        exact = (target.selector or "/*").encode()
    refusals = [_excludes(other, at) for other in excluded if other.selector is not None]
    if refusals:
        picks = _without(picks, refusals)
    return Watch(
        variable=target.variable,
        name=str(target),
        label=target.variable.encode() + b":",
        is_scalar=target.variable in words.SCALARS,
        counts=target.counts,
        exact=exact,
        picks=picks,
        dynamic=target.variable in _DYNAMIC,
    )


def _pattern(selector: str, at: Position) -> Picks:
    try:
        search = pcre.compiled(selector, caseless=True)
    except pcre.PatternError as error:
        raise SecLangError(at, str(error)) from None
    return lru_cache(1024)(lambda key: search(key) is not None)  # names come again and again


def _excludes(target: Target, at: Position) -> Picks:
    assert target.selector is not None
    if target.is_pattern:
        return _pattern(target.selector, at)
    name = target.selector.encode("latin-1").lower()
    return lambda key: key.lower() == name


def _without(picks: Picks | None, refusals: list[Picks]) -> Picks:
    def narrowed(key: bytes) -> bool:
        return (picks is None or picks(key)) and not any(refuses(key) for refuses in refusals)

    return narrowed


_MACRO = re.compile(rb"%\{([^}]+)\}")


class Macro:
    """Text with %{variable} in it."""

    __slots__ = ("_pieces", "constant", "text", "variables")

    def __init__(self, text: str) -> None:
        self.text = text
        pieces = _MACRO.split(text.encode("latin-1"))
        self._pieces = [_reference(piece) if index % 2 else piece for index, piece in enumerate(pieces)]
        self.variables = frozenset(piece[0] for piece in self._pieces if isinstance(piece, tuple))
        self.constant = text.encode("latin-1") if not self.variables else None

    @property
    def references(self) -> list[tuple[str, bytes]]:
        """The variables named, with what is picked from them in lower case."""
        return [piece for piece in self._pieces if isinstance(piece, tuple)]

    @property
    def beginning(self) -> bytes:
        """What the text begins with, whatever the values are."""
        first = self._pieces[0]
        return first if isinstance(first, bytes) else b""

    def replaced(self, value: Callable[[bytes], bytes]) -> bytes:
        """The text with `value(name)` for every %{tx.name}; there is no other variable in it."""
        return b"".join(value(piece[1]) if isinstance(piece, tuple) else piece for piece in self._pieces)

    def expand(self, state: State) -> bytes:
        """The text with values in it; a variable that is not there is empty."""
        if self.constant is not None:
            return self.constant
        return b"".join(
            _value(state, *piece) if isinstance(piece, tuple) else piece for piece in self._pieces
        )


def _reference(text: bytes) -> tuple[str, bytes] | bytes:
    """The variable and what is picked from it; what names no variable is the text it is."""
    name, _, selector = text.replace(b":", b".", 1).partition(b".")
    variable = name.decode("latin-1").upper()
    return (variable, selector.lower()) if variable in words.VARIABLES else b"%%{%b}" % text


def _value(state: State, name: str, selector: bytes) -> bytes:
    if name == "TX":
        return state.transaction.tx.get(selector, b"")
    if name in words.SCALARS:
        return state.scalar(name)
    return next((value for key, value in state.pairs(name) if not selector or key.lower() == selector), b"")
