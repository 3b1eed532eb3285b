"""An input read as decisions: numbers, choices and pieces, as many as a target asks for."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Take:
    """Reads from the front; 0 and b"" behind the end, so that every input means something."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return max(len(self._data) - self._at, 0)

    def below(self, limit: int) -> int:
        """A number from 0 on, of one byte; `limit` is at most 256."""
        self._at += 1
        return self._data[self._at - 1] % limit if self._at <= len(self._data) else 0

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def piece(self) -> bytes:
        """What stands before the next NUL, which goes, too."""
        end = self._data.find(b"\0", self._at)
        end = len(self._data) if end < 0 else end
        piece = self._data[self._at : end]
        self._at = end + 1
        return piece

    def some(self) -> bytes:
        """As many bytes as the next one says: any bytes, unlike a piece."""
        size = self.below(256)
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        rest = self._data[self._at :]
        self._at = len(self._data)
        return rest

    def swollen(self, sizes: Sequence[int]) -> tuple[bytes, int]:
        """The rest, repeated up to a size of those (1: as it is); the value, and the size picked."""
        size = self.pick(sizes)
        value = self.rest()
        return (value * (size // len(value)) if value and size > len(value) else value), size


def cut(data: bytes, size: int) -> list[bytes]:
    """The data in pieces of that size; the last may be shorter."""
    return [data[at : at + size] for at in range(0, len(data), size)]
