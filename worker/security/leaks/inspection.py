"""One text on its way past the rules, piece by piece: what is settled of it, with leaks overwritten.

However the text is cut, the result is the same: a place is judged only once all that a rule may look at has
come, and until then it waits. Holds REACH bytes and a piece, whatever the size of the text.
"""

import re

from worker.reasons import Leak
from worker.security.leaks.finder import Finder
from worker.security.leaks.rule import BEHIND, REACH, Rule

_KEPT = re.compile(rb"[^\r\n]")  # lines stay lines


class Inspection:
    """`limit`: how many bytes are looked at; what comes behind them is as it came."""

    def __init__(self, finder: Finder, limit: int) -> None:
        self.found: dict[Leak, None] = {}  # in order
        self._finder = finder
        self._left = limit
        self._text = b""  # what waits, and BEHIND bytes of what was before
        self._given = 0  # where in it that begins which was not given back yet
        self._from: dict[Rule, int] = {}  # where a rule looks next, if not there
        self._within: set[Rule] = set()  # rules whose leak may go on where they look next
        self._leaks: list[tuple[int, int]] = []  # found and not yet overwritten

    @property
    def is_over(self) -> bool:
        """Is there nothing more to look at?"""
        return self._left <= 0

    def feed(self, piece: bytes, *, last: bool = False) -> bytes:
        """What is settled after `piece`, which may be less or more than it; with `last` all of the rest."""
        if self._left <= 0:
            return piece
        rest = piece[self._left :]
        self._text += piece[: self._left]
        self._left -= len(piece) - len(rest)
        last = last or self._left <= 0
        settled = len(self._text) if last else max(self._given, len(self._text) - REACH)
        for rule in {*self._finder.candidates(self._text), *self._within}:
            self._look(rule, settled)
        return self._give(settled) + rest if rest else self._give(settled)

    def _look(self, rule: Rule, settled: int) -> None:
        """Find what begins, or goes on, before `settled`."""
        at = self._from.get(rule, self._given)
        within = rule in self._within
        while at < settled:
            if within:
                end, within = rule.follow(self._text, at)
                self._leaks.append((at, end))
                at = end
                continue
            leak = rule.find(self._text, at)
            if leak is None or leak[0] >= settled:
                at = settled
                break
            self._leaks.append(leak)
            self.found[rule.kind] = None
            at, within = leak[1], rule.more is not None
        self._from[rule] = at
        (self._within.add if within else self._within.discard)(rule)

    def _give(self, settled: int) -> bytes:
        """The text up to `settled`, and everything moved so that it is forgotten."""
        given = self._text[self._given : settled]
        if self._leaks:
            given = _overwritten(given, self._given, self._leaks)
            self._leaks = [leak for leak in self._leaks if leak[1] > settled]
        gone = max(0, settled - BEHIND)
        self._text = self._text[gone:]
        self._given = settled - gone
        self._leaks = [(start - gone, end - gone) for start, end in self._leaks]
        self._from = {
            rule: at - gone for rule, at in self._from.items() if at > settled or rule in self._within
        }
        return given


def _overwritten(text: bytes, offset: int, leaks: list[tuple[int, int]]) -> bytes:
    """`text`, which begins at `offset` of what the leaks count in, with asterisks over them."""
    masked = bytearray(text)
    for start, end in leaks:
        start, end = max(0, start - offset), min(len(text), end - offset)
        if start < end:
            masked[start:end] = _KEPT.sub(b"*", text[start:end])
    return bytes(masked)
