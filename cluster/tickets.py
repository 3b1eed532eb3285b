"""The keys that session tickets are sealed with: one set for every context of a supervisor's life.

A client's ticket is good in every worker, and after respawns, reloads and new certificates: the keys lie in
memory that the workers share with the supervisor, which alone writes there. No file ever has them.
"""

import ctypes
import mmap
import os
import ssl

from worker.protocol.handshake import KEY_BYTES, RING_BYTES, TICKET_CALLBACK, turn_ring, use_ring
from worker.protocol.openssl import openssl, pointer

_set_callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(
    ("SSL_CTX_set_tlsext_ticket_key_evp_cb", openssl)
)


class TicketKeys:
    """Random keys: the one that seals, and the two before it, which still open. One object in a process."""

    def __init__(self, now_ns: int) -> None:
        self._memory = mmap.mmap(-1, RING_BYTES)  # anonymous, and shared with whom we fork
        self._memory.madvise(mmap.MADV_DONTDUMP)
        self._memory[:] = os.urandom(RING_BYTES)  # every slot: nobody can know a key that none was put into
        use_ring(self._memory)
        self._turned_ns = now_ns

    def put_into(self, context: ssl.SSLContext) -> None:
        """Let `context` seal and open tickets with these keys, those of today and those to come."""
        _set_callback(pointer(context), TICKET_CALLBACK)

    def turn(self, now_ns: int) -> None:
        """Seal with a new key from now on, everywhere; the oldest one opens no ticket any more."""
        turn_ring(os.urandom(KEY_BYTES))
        self._turned_ns = now_ns

    def turn_if_due(self, now_ns: int, interval_s: float) -> bool:
        """Turn when the key has been in use for `interval_s`; whether it was time."""
        if now_ns - self._turned_ns < interval_s * 1e9:
            return False
        self.turn(now_ns)
        return True
