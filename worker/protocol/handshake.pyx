# cython: language_level=3, boundscheck=False, wraparound=False
"""What OpenSSL 3 calls in the middle of every handshake, in C: the keys of session tickets.

A call of Python from there costs 9 to 15 us here, and there are one or two of them in a handshake of 250 to 300.
The functions are found in the library that `ssl` is linked with; the numbers are those of its interface.
"""

import ctypes

from libc.stdint cimport uint64_t, uintptr_t
from libc.string cimport memcmp, memcpy

from worker.protocol.openssl import openssl

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint64_t now_current(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void set_current(uint64_t *at, uint64_t to) { __atomic_store_n(at, to, __ATOMIC_RELEASE); }
    """
    uint64_t now_current(const uint64_t *at) noexcept nogil
    void set_current(uint64_t *at, uint64_t to) noexcept nogil

cdef enum:
    NAME = 16
    SECRET = 32
    IV = 16
    SLOTS = 3  # the key that seals, and two before it that still open
    TLS_1_3 = 0x0304
    UTF8_STRING = 4  # OSSL_PARAM_UTF8_STRING
    OCTET_STRING = 5

cdef struct Key:
    unsigned char name[NAME]
    unsigned char mac[SECRET]
    unsigned char cipher[SECRET]

cdef struct Ring:
    uint64_t current  # how often it was turned; that modulo SLOTS is the key that seals
    Key keys[SLOTS]

cdef struct Param:  # OSSL_PARAM
    const char *key
    unsigned int data_type
    void *data
    size_t data_size
    size_t return_size

KEY_BYTES = sizeof(Key)
RING_BYTES = sizeof(Ring)
RING_SLOTS = SLOTS

cdef void *address(str name) except NULL:
    return <void *><uintptr_t>ctypes.cast(getattr(openssl, name), ctypes.c_void_p).value

cdef int (*version_of)(const void *) noexcept nogil
cdef int (*rand_bytes)(unsigned char *, int) noexcept nogil
cdef int (*init_encrypt)(void *, const void *, void *, const unsigned char *, const unsigned char *) noexcept nogil
cdef int (*init_decrypt)(void *, const void *, void *, const unsigned char *, const unsigned char *) noexcept nogil
cdef int (*set_mac_params)(void *, const Param *) noexcept nogil
cdef void *(*fetch_cipher)(void *, const char *, const char *) noexcept nogil

version_of = <int (*)(const void *) noexcept nogil>address("SSL_version")
rand_bytes = <int (*)(unsigned char *, int) noexcept nogil>address("RAND_bytes")
init_encrypt = <int (*)(
    void *, const void *, void *, const unsigned char *, const unsigned char *
) noexcept nogil>address("EVP_EncryptInit_ex")
init_decrypt = <int (*)(
    void *, const void *, void *, const unsigned char *, const unsigned char *
) noexcept nogil>address("EVP_DecryptInit_ex")
set_mac_params = <int (*)(void *, const Param *) noexcept nogil>address("EVP_MAC_CTX_set_params")
fetch_cipher = <void *(*)(void *, const char *, const char *) noexcept nogil>address("EVP_CIPHER_fetch")

cdef void *aes = fetch_cipher(NULL, "AES-256-CBC", NULL)
cdef const char *digest = "SHA256"

cdef Ring *ring = NULL
cdef object ring_memory = None  # what `ring` points into


def use_ring(memory):
    """Seal and open tickets with the keys in `memory`: RING_BYTES of it, random, shared with whom we fork."""
    global ring, ring_memory
    cdef unsigned char[::1] view = memory
    assert view.shape[0] >= <Py_ssize_t>sizeof(Ring)
    ring_memory = view
    ring = <Ring *>&view[0]
    set_current(&ring.current, 0)


def turn_ring(bytes key not None):
    """Seal with `key`, KEY_BYTES of it, from now on; the oldest one is no key any more.

    It is written before anyone seals with it, so that everyone opens what anyone seals. Who opens a ticket with
    the oldest key meanwhile finds that it does not hold, and shakes hands in full.
    """
    assert len(key) == <Py_ssize_t>sizeof(Key)
    cdef uint64_t current = now_current(&ring.current) + 1
    memcpy(&ring.keys[current % SLOTS], <const unsigned char *>key, sizeof(Key))
    set_current(&ring.current, current)


cdef bint set_mac(void *mac, Key *key) noexcept nogil:
    cdef Param params[3]
    params[0] = Param(b"key", OCTET_STRING, <void *>&key.mac[0], SECRET, 0)
    params[1] = Param(b"digest", UTF8_STRING, <void *>digest, 6, 0)
    params[2] = Param(NULL, 0, NULL, 0, 0)
    return set_mac_params(mac, params) == 1


cdef int on_ticket(
    void *connection, unsigned char *name, unsigned char *iv, void *cipher, void *mac, int sealing
) noexcept nogil:
    """Give OpenSSL the key for a ticket (SSL_CTX_set_tlsext_ticket_key_evp_cb); -1: fail, 0: it is not ours.

    2 asks for a new ticket: with TLS 1.3 a client needs a fresh one for each connection (RFC 8446 C.4).
    """
    cdef int current = now_current(&ring.current) % SLOTS
    cdef int slot
    cdef Key *key = &ring.keys[current]
    if sealing:
        if rand_bytes(iv, IV) != 1 or not set_mac(mac, key):
            return -1
        memcpy(name, key.name, NAME)
        return 1 if init_encrypt(cipher, aes, NULL, key.cipher, iv) == 1 else -1
    for slot in range(SLOTS):
        key = &ring.keys[slot]
        if memcmp(name, key.name, NAME) == 0:
            if not set_mac(mac, key) or init_decrypt(cipher, aes, NULL, key.cipher, iv) != 1:
                return -1
            return 1 if slot == current and version_of(connection) != TLS_1_3 else 2
    return 0


TICKET_CALLBACK = <uintptr_t>&on_ticket
