class RequestIds:
    """Endless ids, each 128 random bits in 32 lower-case hex digits.

    Take the first after the fork: what was read ahead before it, both sides would give.
    """

    def take(self) -> bytes: ...
