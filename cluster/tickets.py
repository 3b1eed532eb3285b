"""The keys that session tickets are sealed with: one set for every context of a supervisor's life.

A client's ticket is good in every worker, and after respawns, reloads and new certificates, because the
contexts made for each are given the same keys. They lie in memory only.
"""

import ctypes
import os
import ssl

from worker.protocol.openssl import openssl, pointer

_GET_KEYS = 58  # SSL_CTRL_GET_TLSEXT_TICKET_KEYS
_SET_KEYS = 59  # SSL_CTRL_SET_TLSEXT_TICKET_KEYS

openssl.SSL_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
openssl.SSL_CTX_ctrl.restype = ctypes.c_long


class TicketKeys:
    """Random keys, and the putting of them into contexts."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """`context`: any; it tells how many bytes this OpenSSL wants (a name, a MAC key, an AES key)."""
        size: int = openssl.SSL_CTX_ctrl(pointer(context), _GET_KEYS, 0, None)
        self._keys = os.urandom(size)

    def put_into(self, context: ssl.SSLContext) -> None:
        """Let `context` seal its tickets with these keys, and open those sealed with them elsewhere."""
        done = openssl.SSL_CTX_ctrl(pointer(context), _SET_KEYS, len(self._keys), self._keys)
        assert done == 1, "OpenSSL has told the size itself"
