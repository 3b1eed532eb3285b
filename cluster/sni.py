"""Several certificates on one address: the one whose names fit what the client asks for (SNI, RFC 6066 3).

Hung directly into OpenSSL's C interface: `SSLContext.sni_callback` works only for connections made by
Python's own `ssl` objects, and takes the process down with those of aiofastnet, which drives OpenSSL itself.
It is the ClientHello's callback, not that of the name: OpenSSL calls the latter after it has taken up the
session of a ticket, too late for a say in whether that session may be resumed.
"""

import ctypes
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.openssl import openssl, pointer
from worker.protocol.names import choose

_SERVER_NAME = 0  # TLSEXT_TYPE_server_name
_HOST_NAME = 0  # TLSEXT_NAMETYPE_host_name
_GO_ON, _REFUSE = 1, 0  # SSL_CLIENT_HELLO_SUCCESS, SSL_CLIENT_HELLO_ERROR
_UNRECOGNIZED_NAME = 112  # the alert (RFC 8446 6.2); of others OpenSSL makes a handshake_failure here

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int), ctypes.c_void_p)

openssl.SSL_client_hello_get0_ext.argtypes = [
    ctypes.c_void_p, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_size_t)
]  # fmt: skip
openssl.SSL_client_hello_get0_ext.restype = ctypes.c_int
openssl.SSL_set_SSL_CTX.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
openssl.SSL_set_SSL_CTX.restype = ctypes.c_void_p
openssl.SSL_CTX_set_client_hello_cb.argtypes = [ctypes.c_void_p, _Callback, ctypes.c_void_p]
openssl.SSL_CTX_set_client_hello_cb.restype = None

# OpenSSL calls these for as long as the process lives: contexts are few and must never take theirs along.
_callbacks: list[object] = []


@dataclass(frozen=True, slots=True)
class Unserved:
    """What happens to a client whose name no certificate is for: it gets the first one, or an alert."""

    refuse_unknown: bool = False  # it asks for a name
    refuse_absent: bool = False  # it asks for none


def choose_by_name(
    first: ssl.SSLContext, contexts: Mapping[str, ssl.SSLContext], unserved: Unserved = Unserved()
) -> None:
    """Let each connection made with `first` go on with the context whose name fits, else as `unserved` says.

    `contexts` by DNS name, in lower case, possibly `*.` and a domain.
    """
    pointers = {name: pointer(context) for name, context in contexts.items()}

    def on_hello(connection: int, alert: "ctypes._Pointer[ctypes.c_int]", _argument: int) -> int:
        asked = asked_name(connection)
        chosen = choose(pointers, asked)
        if chosen is not None:
            openssl.SSL_set_SSL_CTX(connection, chosen)
        elif unserved.refuse_absent if asked is None else unserved.refuse_unknown:
            alert[0] = _UNRECOGNIZED_NAME
            return _REFUSE
        return _GO_ON

    callback = _Callback(on_hello)
    _callbacks.append((callback, first, contexts))
    openssl.SSL_CTX_set_client_hello_cb(pointer(first), callback, None)


def asked_name(connection: int) -> str | None:
    """The name in the ClientHello that is being read. A malformed one counts as none: OpenSSL refuses it."""
    start, size = ctypes.c_void_p(), ctypes.c_size_t()
    if not openssl.SSL_client_hello_get0_ext(
        connection, _SERVER_NAME, ctypes.byref(start), ctypes.byref(size)
    ):
        return None
    # The list's length, the first entry's type, its length (RFC 6066 3 has one entry of that type at most).
    data = ctypes.string_at(start, size.value)
    if len(data) < 5 or data[2] != _HOST_NAME:
        return None
    return data[5 : 5 + int.from_bytes(data[3:5], "big")].decode("ascii", "replace")
