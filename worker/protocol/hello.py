"""What is decided about a connection once its ClientHello is read, before OpenSSL decides anything itself.

A context has one such callback in OpenSSL and may need several decisions: they are taken in order here. The
callback for the name (RFC 6066 3) comes after the session of a ticket was taken up, too late for a say in
whether that may be resumed; `SSLContext.sni_callback` besides works only for connections made by Python's own
`ssl` objects, and takes the process down with those of aiofastnet, which drives OpenSSL itself.
"""

import ctypes
import ssl
from collections.abc import Callable
from typing import Any

from worker.protocol.openssl import function, pointer

# What a decision says: the next one may follow, none may, or the client gets an alert.
GO_ON, TAKEN, REFUSED = 1, 2, 0
UNRECOGNIZED_NAME = 112  # an alert (RFC 8446 6.2); of others OpenSSL may make a handshake_failure here

_SERVER_NAME = 0  # type of the extension
_HOST_NAME = 0  # type of an entry in it
_SUCCESS, _ERROR = 1, 0  # SSL_CLIENT_HELLO_SUCCESS, SSL_CLIENT_HELLO_ERROR

Alert = Any  # a pointer to an int
Decide = Callable[[int, Alert], int]

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int), ctypes.c_void_p)
_set_callback = function("SSL_CTX_set_client_hello_cb", None, ctypes.c_void_p, _Callback, ctypes.c_void_p)
_get_extension = function(
    "SSL_client_hello_get0_ext", ctypes.c_int,
    ctypes.c_void_p, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_size_t),
)  # fmt: skip

_decisions: dict[int, list[Decide]] = {}  # by SSL_CTX
# OpenSSL calls these for as long as the process lives: contexts are few and must never take theirs along.
_kept: list[object] = []


def decide(context: ssl.SSLContext, decision: Decide, *, first: bool = False) -> None:
    """Take this decision about every connection made with `context`, behind those there are, or before them.

    It is called with the SSL and a place for the alert of a refusal, and must not raise: that refuses, too.
    """
    decisions = _decisions.get(pointer(context))
    if decisions is not None:
        decisions.insert(0 if first else len(decisions), decision)
        return
    decisions = _decisions[pointer(context)] = [decision]

    def on_hello(connection: int, alert: Alert, _argument: int) -> int:
        for each in decisions:
            said = each(connection, alert)
            if said != GO_ON:
                return _SUCCESS if said == TAKEN else _ERROR
        return _SUCCESS

    callback = _Callback(on_hello)
    _kept.append((callback, context))
    _set_callback(pointer(context), callback, None)


def asked_name(connection: int) -> str | None:
    """The name in the ClientHello that is being read. A malformed one counts as none: OpenSSL refuses it."""
    data = extension(connection, _SERVER_NAME)
    # The list's length, the first entry's type, its length; there is one entry of that type at most.
    if data is None or len(data) < 5 or data[2] != _HOST_NAME:
        return None
    return data[5 : 5 + int.from_bytes(data[3:5], "big")].decode("ascii", "replace")


def extension(connection: int, kind: int) -> bytes | None:
    """What the ClientHello that is being read has in that extension."""
    start, size = ctypes.c_void_p(), ctypes.c_size_t()
    if not _get_extension(connection, kind, ctypes.byref(start), ctypes.byref(size)):
        return None
    return ctypes.string_at(start, size.value)
