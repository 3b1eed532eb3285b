"""Several certificates on one address: the one whose names fit what the client asks for (SNI, RFC 6066 3).

Hung directly into OpenSSL's C interface: `SSLContext.sni_callback` works only for connections made by
Python's own `ssl` objects, and takes the process down with those of aiofastnet, which drives OpenSSL itself.
"""

import ctypes
import ssl
from collections.abc import Mapping, Sequence

from worker.protocol.openssl import openssl, pointer

_SET_SERVERNAME_CALLBACK = 53  # SSL_CTRL_SET_TLSEXT_SERVERNAME_CB
_HOST_NAME = 0  # TLSEXT_NAMETYPE_host_name
_OK = 0  # SSL_TLSEXT_ERR_OK: go on, with whatever context is set

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)

openssl.SSL_get_servername.argtypes = [ctypes.c_void_p, ctypes.c_int]
openssl.SSL_get_servername.restype = ctypes.c_char_p
openssl.SSL_set_SSL_CTX.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
openssl.SSL_set_SSL_CTX.restype = ctypes.c_void_p
openssl.SSL_CTX_callback_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, _Callback]
openssl.SSL_CTX_callback_ctrl.restype = ctypes.c_long

# OpenSSL calls these for as long as the process lives: contexts are few and must never take theirs along.
_callbacks: list[object] = []


def choose_by_name(pairs: Sequence[tuple[Sequence[str], ssl.SSLContext]]) -> ssl.SSLContext:
    """The context to serve with: each connection goes on with the one whose names fit, else with the first.

    `pairs`: the DNS names of each certificate, in lower case, possibly `*.` and a domain, and its context.
    The first one that claims a name has it.
    """
    first = pairs[0][1]
    by_name: dict[str, ssl.SSLContext] = {}
    for names, context in pairs:
        for name in names:
            by_name.setdefault(name, context)
    pointers = {name: pointer(context) for name, context in by_name.items()}

    def on_servername(connection: int, _alert: int, _argument: int) -> int:
        asked = openssl.SSL_get_servername(connection, _HOST_NAME)
        chosen = _find(pointers, asked)
        if chosen is not None:
            openssl.SSL_set_SSL_CTX(connection, chosen)
        return _OK

    callback = _Callback(on_servername)
    _callbacks.append((callback, pairs))
    openssl.SSL_CTX_callback_ctrl(pointer(first), _SET_SERVERNAME_CALLBACK, callback)
    return first


def _find(pointers: Mapping[str, int], asked: bytes | None) -> int | None:
    if asked is None:
        return None
    name = asked.decode("ascii", "replace").lower()
    return pointers.get(name) or pointers.get("*." + name.partition(".")[2])
