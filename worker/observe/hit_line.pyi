from worker.context import Context

def hit_line(begin: bytes, ctx: Context) -> bytes | None:
    """The JSON line of a request that was a plain hit; None if it is not to be written this way."""
