"""The inboxes by which workers hand datagrams over to each other: one for every place a worker may have.

Made before the first worker that needs one is forked, and kept as long as the supervisor lives: whoever comes
later finds those who were there before. What crosses is the workers' business.
"""

import socket

from cluster.generation import WORKER_PLACES
from worker.protocol.quic.handover import make_inbox


class Inboxes:
    """All of them; none until `open`."""

    def __init__(self) -> None:
        self._reading: list[socket.socket] = []
        self.writing: tuple[socket.socket, ...] = ()  # by member; every worker keeps all of them

    def open(self) -> None:
        """Make them, unless they are there."""
        if not self._reading:
            pairs = [make_inbox() for _ in range(WORKER_PLACES)]
            self._reading = [reading for reading, _ in pairs]
            self.writing = tuple(writing for _, writing in pairs)

    def take(self, member: int) -> socket.socket:
        """The inbox of `member`; in its own process, after the fork: the others' are closed there."""
        for place, reading in enumerate(self._reading):
            if place != member:
                reading.close()
        return self._reading[member]

    def filenos(self) -> set[int]:
        return {end.fileno() for end in (*self._reading, *self.writing)}

    def close(self) -> None:
        for end in (*self._reading, *self.writing):
            end.close()
