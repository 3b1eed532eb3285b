"""What OpenSSL 3 calls in the middle of every handshake, in C: the keys of session tickets."""

from mmap import mmap
from typing import Final

KEY_BYTES: Final[int]  # of one key: a name, a secret for the MAC, one for the cipher
RING_BYTES: Final[int]
RING_SLOTS: Final[int]  # keys that open tickets; one of them seals
TICKET_CALLBACK: Final[int]  # for SSL_CTX_set_tlsext_ticket_key_evp_cb; call `use_ring` before

def use_ring(memory: mmap) -> None:
    """Seal and open tickets with the keys in `memory`: RING_BYTES of it, random, shared with whom we fork."""

def turn_ring(key: bytes) -> None:
    """Seal with `key`, KEY_BYTES of it, from now on; the oldest one is no key any more."""
