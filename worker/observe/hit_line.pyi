from worker.context import Context

def hit_line(begin: bytes, ctx: Context, now_ns: int) -> bytes | None:
    """The JSON line of a request that was a plain hit; None if it is not to be written this way."""
