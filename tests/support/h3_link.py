"""A `Link` without a network: writes down what it is told, and holds its callers to what a link allows."""

from collections import Counter


class WrittenDown:
    """Everything that a session did to its connection."""

    peer = ("127.0.0.1", 1)
    is_early = False
    cipher = "TLS_AES_128_GCM_SHA256"

    def __init__(self) -> None:
        self.opened = 0
        self.sent: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.stops: dict[int, int] = {}
        self.read: Counter[int] = Counter()
        self.acknowledged: Counter[int] = Counter()
        self.closed: int | None = None

    def open_stream(self) -> int:
        self.opened += 1
        return 4 * self.opened - 1

    def send(self, stream_id: int, data: bytes, end: bool) -> None:
        assert self.closed is None and stream_id not in self.ended and stream_id not in self.resets
        self.sent.setdefault(stream_id, bytearray()).extend(data)
        if end:
            self.ended.add(stream_id)

    def waiting(self, stream_id: int) -> int:
        if stream_id in self.resets:
            return 0
        return len(self.sent.get(stream_id, b"")) - self.acknowledged[stream_id]

    def acknowledge(self, stream_id: int) -> None:
        """The client has all of that stream."""
        self.acknowledged[stream_id] = len(self.sent.get(stream_id, b""))

    def consumed(self, stream_id: int, size: int) -> None:
        assert size >= 0
        self.read[stream_id] += size

    def widen(self, stream_id: int, size: int) -> None:
        pass

    def reset(self, stream_id: int, code: int) -> None:
        assert self.closed is None and stream_id not in self.resets
        self.resets[stream_id] = code

    def stop(self, stream_id: int, code: int) -> None:
        assert self.closed is None
        self.stops[stream_id] = code

    def close(self, code: int, reason: str = "") -> None:
        assert self.closed is None
        self.closed = code

    def flush_soon(self) -> None:
        pass
