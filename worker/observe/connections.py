"""Counts client connections in the shared statistics, as `protocol` tells of them."""

from typing import TYPE_CHECKING

from worker.observe.counters import (
    CONNECTIONS_CLOSED,
    CONNECTIONS_OPENED,
    CONNECTIONS_REFUSED,
    QUIC_DROPPED,
    QUIC_FAILURES,
    QUIC_HANDED_OVER,
    QUIC_HANDSHAKES,
    QUIC_RECEIVED,
    QUIC_RESETS,
    QUIC_RETRIES,
    QUIC_SENT,
    TLS_FAILURES,
    TLS_HANDSHAKES,
    TUNNELS_CLOSED,
    TUNNELS_OPENED,
    TURNED_AWAY,
    TURNED_AWAY_FOR,
)
from worker.reasons import TurnedAway

if TYPE_CHECKING:
    from shmcache.core import Statistics


class ConnectionCounts:
    """The connections of one worker. What a killed worker had open its supervisor counts as closed."""

    def __init__(self, statistics: "Statistics") -> None:
        self._add = statistics.add

    def opened(self) -> None:
        self._add(CONNECTIONS_OPENED)

    def closed(self) -> None:
        self._add(CONNECTIONS_CLOSED)

    def refused(self) -> None:
        """Above the limit, so cut at once; neither opened nor closed."""
        self._add(CONNECTIONS_REFUSED)

    def turned_away(self, reason: TurnedAway) -> None:
        """Closed before any request of it was read."""
        self._add(TURNED_AWAY + TURNED_AWAY_FOR.index(reason))

    def handshake(self, succeeded: bool) -> None:
        """A TLS handshake has ended; those that succeed are opened connections as well."""
        self._add(TLS_HANDSHAKES if succeeded else TLS_FAILURES)

    def tunnel(self, *, opened: bool) -> None:
        """A connection has become a tunnel, or one that had is gone."""
        self._add(TUNNELS_OPENED if opened else TUNNELS_CLOSED)


class QuicCounts(ConnectionCounts):
    """The same of one worker's QUIC, whose handshakes are counted apart; and its datagrams."""

    def __init__(self, statistics: "Statistics") -> None:
        super().__init__(statistics)
        self._told = dict.fromkeys(_DATAGRAMS, 0)

    def handshake(self, succeeded: bool) -> None:
        """A handshake has ended."""
        self._add(QUIC_HANDSHAKES if succeeded else QUIC_FAILURES)

    def datagrams(self, **totals: int) -> None:
        """How many there have been so far of each kind that `_DATAGRAMS` names."""
        for kind, total in totals.items():
            self._add(_DATAGRAMS[kind], total - self._told[kind])
            self._told[kind] = total


_DATAGRAMS = {
    "received": QUIC_RECEIVED,
    "sent": QUIC_SENT,
    "handed_over": QUIC_HANDED_OVER,
    "dropped": QUIC_DROPPED,
    "resets": QUIC_RESETS,
    "retries": QUIC_RETRIES,
}
