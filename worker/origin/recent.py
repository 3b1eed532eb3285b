"""Two counts over the last seconds, of all processes together: requests, and some that are marked.

A window slides: the one before the current one counts by the share of it that is still within reach. What
follows from the counts is decided elsewhere.
"""

from typing import Final

from shmcache.core import Score

TRIES: Final = 16

# {number of the window 16 | requests 24 | marked 24}; a count whose top bit is set is full and not added to
_NUMBER: Final = 48
_NUMBER_MASK: Final = 0xFFFF
_REQUESTS: Final = 24
_COUNT_MASK: Final = (1 << 24) - 1
_REQUEST: Final = 1 << _REQUESTS
_MARKED_REQUEST: Final = _REQUEST + 1
_FRAME: Final = _NUMBER_MASK << _NUMBER | 1 << 47 | 1 << 23  # what tells whether there is something to add to


class Recent:
    """Requests and marked ones of a sliding window, in two words of a cell: one for every other window."""

    __slots__ = ("_at", "_empty", "_end_ns", "_length_ns", "_score", "_start_ns", "_word")

    def __init__(self, score: Score, word: int, length_s: float) -> None:
        self._score = score
        self._word = word
        self._length_ns = max(1, round(length_s * 1e9))
        # of the window of the last look: when it is, its word, and what that is while it counts nothing
        self._start_ns = self._end_ns = 0
        self._at = word
        self._empty = 0

    def add(self, is_marked: bool, now_ns: int) -> None:
        """Count a request. Lost is what exceeds 8 million in a window, and what comes two windows late."""
        if not self._start_ns <= now_ns < self._end_ns:
            self._turn(now_ns)
        amount = _MARKED_REQUEST if is_marked else _REQUEST
        for _ in range(TRIES):
            word = self._score.load(self._at)
            if word & _FRAME == self._empty:
                self._score.add(self._at, amount)
                return
            ahead = (word >> _NUMBER) - (self._empty >> _NUMBER) & _NUMBER_MASK
            if ahead in (0, 2) or self._score.swap(self._at, word, self._empty + amount):
                return

    def counts(self, now_ns: int) -> tuple[float, float]:
        """Requests and marked ones within the last window's length."""
        self._turn(now_ns)
        word = self._score.load(self._at)
        return self._weighed(word if self._is_current(word) else 0, now_ns)

    def mark(self, now_ns: int, least: float, share: float) -> bool:
        """Count one marked more, if with it they are no more than `least` and that share of the requests.

        Exact: processes together mark no more than one would. False also when the word does not stand still.
        """
        self._turn(now_ns)
        for _ in range(TRIES):
            word = self._score.load(self._at)
            current = word if self._is_current(word) else self._empty
            requests, marked = self._weighed(current, now_ns)
            if marked + 1 > least + share * requests or current & _FRAME != self._empty:
                return False
            if self._score.swap(self._at, word, current + 1):
                return True
        return False

    def forget(self) -> None:
        """Begin anew."""
        self._score.store(self._word, 0)
        self._score.store(self._word + 1, 0)

    def _turn(self, now_ns: int) -> None:
        """Look at the window of that time."""
        whole = now_ns // self._length_ns
        self._start_ns = whole * self._length_ns
        self._end_ns = self._start_ns + self._length_ns
        self._at = self._word + (whole & 1)
        self._empty = (whole & _NUMBER_MASK) << _NUMBER

    def _is_current(self, word: int) -> bool:
        return word >> _NUMBER == self._empty >> _NUMBER

    def _weighed(self, current: int, now_ns: int) -> tuple[float, float]:
        before = self._score.load(2 * self._word + 1 - self._at)
        if (self._empty >> _NUMBER) - (before >> _NUMBER) & _NUMBER_MASK != 1:
            before = 0
        left = (self._end_ns - now_ns) / self._length_ns
        return (
            (current >> _REQUESTS & _COUNT_MASK) + (before >> _REQUESTS & _COUNT_MASK) * left,
            (current & _COUNT_MASK) + (before & _COUNT_MASK) * left,
        )
