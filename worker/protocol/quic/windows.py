"""How much a client may have on the way: windows that open by what was read, not by what came (RFC 9000 4).

Pure bookkeeping over one connection and its streams, in bytes. What a client can make us hold in memory is
the connection's window.
"""


class _Reading:
    """One stream: what was delivered of it, and how much of that has been read."""

    __slots__ = ("abandoned", "delivered", "ended", "limit", "read", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.limit = window  # as the client was told
        self.delivered = 0
        self.read = 0
        self.ended = False  # nothing more is delivered
        self.abandoned = False  # nobody reads it


class Windows:
    """The limits of one connection: offsets up to which the client may send, which never fall."""

    def __init__(self, stream_bytes: int, connection_bytes: int) -> None:
        self._stream_bytes = stream_bytes
        self._readings: dict[int, _Reading] = {}
        self._window = connection_bytes
        self._read = 0
        self.limit = connection_bytes

    def deliver(self, stream_id: int, size: int, ended: bool) -> tuple[bool, int | None]:
        """So much more of a stream came, in order: does anybody want it, and what is its new limit."""
        reading = self._readings.get(stream_id)
        if reading is None:
            reading = self._readings[stream_id] = _Reading(self._stream_bytes)
        reading.delivered += size
        reading.ended = reading.ended or ended
        return not reading.abandoned, self._consume(stream_id, reading, size if reading.abandoned else 0)

    def consume(self, stream_id: int, size: int) -> int | None:
        """So much of a stream was read: its new limit, or None when that is not worth a frame."""
        reading = self._readings.get(stream_id)
        if reading is None:
            return None
        return self._consume(stream_id, reading, min(size, reading.delivered - reading.read))

    def widen(self, stream_id: int, size: int) -> int | None:
        """Let so much of a stream be on the way: its new limit, None when it has that already."""
        reading = self._readings.get(stream_id)
        if reading is None or size <= reading.window:
            return None
        reading.window = size
        return self._consume(stream_id, reading, 0)

    def abandon(self, stream_id: int) -> int | None:
        """Nobody will read more of that stream: what came of it, and what will come, counts as read."""
        reading = self._readings.get(stream_id)
        if reading is None:
            return None
        reading.abandoned = True
        return self._consume(stream_id, reading, reading.delivered - reading.read)

    def cut(self, stream_id: int, final_size: int) -> bool:
        """The client broke off a stream at that offset, as far as it counts; whether anybody cares."""
        reading = self._readings.pop(stream_id, None)
        delivered, read = (reading.delivered, reading.read) if reading else (0, 0)
        self._give_back(max(final_size, delivered) - read)
        return reading is None or not reading.abandoned

    def _consume(self, stream_id: int, reading: _Reading, size: int) -> int | None:
        reading.read += size
        if size:
            self._give_back(size)
        if reading.ended:
            if reading.read == reading.delivered:
                del self._readings[stream_id]
            return None
        limit = reading.read + reading.window
        if (limit - reading.limit) * 2 < reading.window:
            return None
        reading.limit = limit
        return limit

    def _give_back(self, size: int) -> None:
        """Raise the connection's limit in steps of a quarter, so that few frames tell of it."""
        self._read += size
        limit = self._read + self._window
        if (limit - self.limit) * 4 >= self._window:
            self.limit = limit
