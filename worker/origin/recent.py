"""Two counts over the last seconds, of all processes together: requests, and some that are marked.

A window slides: the one before the current one counts by the share of it that is still within reach. What
follows from the counts is decided elsewhere.
"""

from typing import Final

from shmcache.core import Score

TRIES: Final = 16

# {number of the window 16 | requests 24 | marked 24}
_NUMBER: Final = 48
_NUMBER_MASK: Final = 0xFFFF
_REQUESTS: Final = 24
_COUNT_MASK: Final = (1 << 24) - 1
_COUNT_MAX: Final = _COUNT_MASK - 0xFFFF  # no more is counted; the rest is for processes that add at once


class Recent:
    """Requests and marked ones of a sliding window, in two words of a cell: one for every other window."""

    __slots__ = ("_length_ns", "_score", "_word")

    def __init__(self, score: Score, word: int, length_s: float) -> None:
        self._score = score
        self._word = word
        self._length_ns = max(1, round(length_s * 1e9))

    def add(self, requests: int, marked: int, now_ns: int) -> None:
        """Count them. What is lost: counts above 16 million in a window, and of a clock two windows late."""
        number = now_ns // self._length_ns & _NUMBER_MASK
        at = self._word + (number & 1)
        amount = requests << _REQUESTS | marked
        for _ in range(TRIES):
            word = self._score.load(at)
            if word >> _NUMBER == number:
                if _fits(word):
                    self._score.add(at, amount)
                return
            if word >> _NUMBER == number + 2 & _NUMBER_MASK:
                return
            if self._score.swap(at, word, number << _NUMBER | amount):
                return

    def counts(self, now_ns: int) -> tuple[float, float]:
        """Requests and marked ones within the last window's length."""
        whole, passed_ns = divmod(now_ns, self._length_ns)
        return self._weighed(self._current(whole), whole, passed_ns)

    def mark(self, now_ns: int, least: float, share: float) -> bool:
        """Count one marked more, if with it they are no more than `least` and that share of the requests.

        Exact: processes together mark no more than one would. False also when the word does not stand still.
        """
        whole, passed_ns = divmod(now_ns, self._length_ns)
        at = self._word + (whole & 1)
        for _ in range(TRIES):
            word = self._score.load(at)
            current = word if word >> _NUMBER == whole & _NUMBER_MASK else (whole & _NUMBER_MASK) << _NUMBER
            requests, marked = self._weighed(current, whole, passed_ns)
            if marked + 1 > least + share * requests or not _fits(current):
                return False
            if self._score.swap(at, word, current + 1):
                return True
        return False

    def forget(self) -> None:
        """Begin anew."""
        self._score.store(self._word, 0)
        self._score.store(self._word + 1, 0)

    def _current(self, whole: int) -> int:
        word = self._score.load(self._word + (whole & 1))
        return word if word >> _NUMBER == whole & _NUMBER_MASK else 0

    def _weighed(self, current: int, whole: int, passed_ns: int) -> tuple[float, float]:
        before = self._current(whole - 1)
        left = 1.0 - passed_ns / self._length_ns
        return (
            (current >> _REQUESTS & _COUNT_MASK) + (before >> _REQUESTS & _COUNT_MASK) * left,
            (current & _COUNT_MASK) + (before & _COUNT_MASK) * left,
        )


def _fits(word: int) -> bool:
    return (word >> _REQUESTS & _COUNT_MASK) < _COUNT_MAX and (word & _COUNT_MASK) < _COUNT_MAX
