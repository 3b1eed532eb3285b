from worker.context import Context

def plain_line(begin: bytes, ctx: Context) -> bytes | None:
    """The JSON line of a request that nothing was held against; None if it is not to be written this way."""
