"""What a connection is doing, as far as it matters when there are too many of them."""

from worker.context import Client

# Nothing; waiting for what its client has to do; or at work for its client. The last is never closed.
UNUSED, AWAITED, AT_WORK = range(3)

Standing = tuple[int, int, Client]  # one of these, since when (monotonic ns), and whose connection it is
