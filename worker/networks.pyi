"""Maps of networks in memory that forked processes share: which value holds for an address.

The most specific network that holds an address decides; addresses of IPv4 within IPv6 are those of IPv4.
Nothing here reads files or knows what a value means.
"""

from collections.abc import Iterable

class NetworkError(ValueError):
    """A line that is no network; `args[0]` says why, in a few words."""

    source: int  # which of the texts, from 0
    line: int  # from 1

class NetworkMap:
    """Networks that never change, each with a value from 1 to 255."""

    count: int  # networks, equal ones counted as often as they were given
    def __init__(self, texts: Iterable[tuple[bytes, int]]) -> None:
        """Each text: lines of `address` or `address/prefix`, and the value of all of them. What follows "#"
        or ";" is a comment. Of two equal networks the larger value holds. Raises NetworkError; MemoryError.

        About 34 bytes a network; a million are read in less than a second.
        """
    @property
    def bytes_used(self) -> int: ...
    def find(self, packed: bytes) -> int:
        """The value for an address of 4 or 16 bytes; 0 for none."""

class SharedNetworks:
    """A map that one process replaces while others read it, without a lock.

    Made before the fork. Death of the writer at any instant leaves the map that was published last.
    """

    def __init__(self, networks: int) -> None:
        """`networks`: how many it has room for, of IPv4 and IPv6 together."""
    def load_version(self) -> int:
        """Changes with every `publish`."""
    def publish(self, networks: NetworkMap) -> None:
        """Replace the map, for all processes at once. By one process only. Raises ValueError if there is no room."""
    def find(self, packed: bytes) -> int:
        """As `NetworkMap.find`, in the map published last."""
