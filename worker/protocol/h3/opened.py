"""Which streams of one kind a client has opened: their bytes may come in any order, and late."""


class Opened:
    """Stream ids of one kind, each of which is new once. Opening one opens all below it (RFC 9000 2.1)."""

    __slots__ = ("_skipped", "next")

    def __init__(self, first: int) -> None:
        self.next = first  # above all that are open
        self._skipped: set[int] = set()  # open, but nothing has come on them

    def is_new(self, stream_id: int) -> bool:
        """Has nothing come on that stream before? Something has now."""
        if stream_id >= self.next:
            self._skipped.update(range(self.next, stream_id, 4))
            self.next = stream_id + 4
            return True
        if stream_id in self._skipped:
            self._skipped.remove(stream_id)
            return True
        return False
