"""What was found out about values, kept while they go on being asked for. Knows nothing of what it keeps."""

from typing import Any

KEY_BYTES = 2048  # a longer key comes too seldom to be kept
GENERATION_BYTES = 1024 * 1024
ENTRY_BYTES = 128  # what a key takes beside itself


class Memory:
    """A bounded memory of two generations: the young one, once full, takes the old one's place.

    What is asked for again comes into the young one, so that a key is kept as long as it is asked for once
    per generation. Keys take at most twice `GENERATION_BYTES`; values are small or shared.
    """

    def __init__(self) -> None:
        self._young: dict[bytes, Any] = {}
        self._old: dict[bytes, Any] = {}
        self._left = GENERATION_BYTES

    def get(self, key: bytes) -> Any:
        """What is kept under the key; None if nothing is."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: bytes, value: Any) -> None:
        """Keep a value other than None under a key that `get` did not find."""
        size = len(key)
        if size > KEY_BYTES:
            return
        self._left -= size + ENTRY_BYTES
        if self._left < 0:
            self._old, self._young = self._young, {}
            self._left = GENERATION_BYTES - size - ENTRY_BYTES
        self._young[key] = value
