"""The one exception a stage may raise for a broken peer or a broken edge.

A miss, a refusal to store, a blocked client and a full slab are values, not errors.
Only `pipeline.py` turns an EdgeError into a response.
"""

from worker.reasons import Fault, Side


class EdgeError(Exception):
    """A request cannot be answered as asked.

    `status` is the HTTP status the client gets, `side` who failed, `fault` what failed.
    `detail` is for the log only: it may name origins and addresses and never reaches a client.
    `retryable` is true when no byte of the request can have been acted upon, so that another
    attempt is safe for any method (RFC 9110 9.2.2 permits it for idempotent ones anyway).
    """

    def __init__(
        self, status: int, side: Side, fault: Fault, detail: str = "", *, retryable: bool = False
    ) -> None:
        super().__init__(f"{status} {side} {fault}: {detail}" if detail else f"{status} {side} {fault}")
        self.status = status
        self.side = side
        self.fault = fault
        self.detail = detail
        self.retryable = retryable
