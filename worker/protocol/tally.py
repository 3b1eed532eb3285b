"""Whom a protocol tells about its connections. Keeping the numbers is not its business."""

from typing import Protocol

from worker.reasons import TurnedAway


class Tally(Protocol):
    """Told of every client connection as it comes and goes."""

    def opened(self) -> None: ...

    def closed(self) -> None:
        """One that was opened is gone."""
        ...

    def refused(self) -> None:
        """One was cut at once because there are too many."""
        ...

    def turned_away(self, reason: TurnedAway) -> None:
        """One was closed before any request of it was read."""
        ...

    def handshake(self, succeeded: bool) -> None:
        """A TLS handshake has ended."""
        ...

    def tunnel(self, *, opened: bool) -> None:
        """A connection has become a tunnel, or one that had is gone."""
        ...


class NoTally:
    """Keeps no numbers."""

    def opened(self) -> None:
        pass

    def closed(self) -> None:
        pass

    def refused(self) -> None:
        pass

    def turned_away(self, reason: TurnedAway) -> None:
        pass

    def handshake(self, succeeded: bool) -> None:
        pass

    def tunnel(self, *, opened: bool) -> None:
        pass
