"""Loops: a request that this edge has forwarded before must not be forwarded again (RFC 8586)."""

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import CDN_LOOP
from worker.message import Response
from worker.reasons import Fault, Side


class LoopGate:
    """Refuses what came back, 508, before it waits for the fetch that sent it: each would wait for the other.

    It stands behind the cache, so that a hit does not pay for it.
    """

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id.encode("ascii")

    def __call__(self, ctx: Context) -> Response | None:
        fields = ctx.request.fields
        if fields.mask & CDN_LOOP:
            refuse_loop(fields.joined(b"cdn-loop") or b"", self._own_id)
        return None


def refuse_loop(passed: bytes, own_id: bytes) -> None:
    """Raise EdgeError 508 if a CDN-Loop value names us; parameters of its members count not."""
    if any(info.split(b";", 1)[0].strip() == own_id for info in passed.split(b",")):
        raise EdgeError(508, Side.CLIENT, Fault.LOOP, f"CDN-Loop already names {own_id.decode()}")
