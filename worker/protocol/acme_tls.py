"""The handshake that proves to a certification authority that a name is ours (TLS-ALPN-01, RFC 8737).

A client that offers `acme-tls/1` and nothing else is answered with the certificate put down for the name it
asks for, before the choice among those that are served. Hung into OpenSSL's C interface, as the choice by
name is; knows nothing of where these certificates come from.
"""

import ctypes
import logging
import ssl
from collections.abc import Callable
from typing import Any

from worker.protocol.handshake import HELLO_CALLBACK
from worker.protocol.openssl import openssl, pointer

PROTOCOL = "acme-tls/1"
Find = Callable[[str], tuple[bytes, bytes] | None]

log = logging.getLogger("edgecluster.protocol")

_SERVER_NAME = 0  # type of the extension
_GO_ON, _FAIL = 1, 0  # SSL_CLIENT_HELLO_SUCCESS, SSL_CLIENT_HELLO_ERROR
_NO_APPLICATION_PROTOCOL = 120  # the alert
_SET_SERVERNAME_CALLBACK = 53  # SSL_CTRL_SET_TLSEXT_SERVERNAME_CB
_EC_KEY = 408  # EVP_PKEY_EC
_VERIFY_NONE = 0

_HelloCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int), ctypes.c_void_p
)
_NameCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def _declare(name: str, result: Any, *arguments: Any) -> Callable[..., int]:
    """A function of OpenSSL as an object of our own, so that nobody else's declaration changes it."""
    return ctypes.CFUNCTYPE(result, *arguments)((name, openssl))


_pointer_to_pointer = ctypes.POINTER(ctypes.c_void_p)
_pointer_to_size = ctypes.POINTER(ctypes.c_size_t)
_get_extension = _declare(
    "SSL_client_hello_get0_ext", ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, _pointer_to_pointer,
    _pointer_to_size,
)  # fmt: skip
_set_hello_callback = _declare(
    "SSL_CTX_set_client_hello_cb", None, ctypes.c_void_p, ctypes.c_void_p, _HelloCallback
)
_set_callback = _declare("SSL_CTX_callback_ctrl", ctypes.c_long, ctypes.c_void_p, ctypes.c_int, _NameCallback)
_set_context = _declare("SSL_set_SSL_CTX", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_set_session_context = _declare(
    "SSL_set_session_id_context", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint
)
_set_verify = _declare("SSL_set_verify", None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_use_certificate = _declare(
    "SSL_use_certificate_ASN1", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
)
_use_key = _declare(
    "SSL_use_PrivateKey_ASN1", ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_long
)

# OpenSSL calls these for as long as the process lives: contexts are few and must never take theirs along.
_kept: list[object] = []


def answer_challenges(context: ssl.SSLContext, find: Find) -> None:
    """Let connections that begin with `context` answer challenges; call it once, in the process that serves.

    `find` gives certificate and EC key (DER) for a name in lower case, None: there is no challenge for it,
    and the handshake fails. It must not raise.
    """
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.set_alpn_protocols([PROTOCOL])
    stay = _NameCallback(lambda _connection, _alert, _argument: 0)
    _set_callback(pointer(own), _SET_SERVERNAME_CALLBACK, stay)  # else that of `context` chooses anew
    own_pointer = pointer(own)
    start, size = ctypes.c_void_p(), ctypes.c_size_t()
    to_start, to_size = ctypes.byref(start), ctypes.byref(size)

    def on_challenge(connection: int, alert: "ctypes._Pointer[ctypes.c_int]", _argument: int) -> int:
        is_named = _get_extension(connection, _SERVER_NAME, to_start, to_size)
        name = _host_name(ctypes.string_at(start.value or 0, size.value)) if is_named else ""
        found = find(name)
        if found is None:
            log.debug("nothing to prove for the name %r that a client asks for by %s", name, PROTOCOL)
            alert[0] = _NO_APPLICATION_PROTOCOL
            return _FAIL
        certificate, key = found
        _set_context(connection, own_pointer)
        # Neither does a session of such a connection open another, nor the other way round; and who checks us
        # has no certificate of its own to show.
        _set_session_context(connection, PROTOCOL.encode(), len(PROTOCOL))
        _set_verify(connection, _VERIFY_NONE, None)
        usable = _use_certificate(connection, certificate, len(certificate)) == 1 and (
            _use_key(_EC_KEY, connection, key, len(key)) == 1
        )
        return _GO_ON if usable else _FAIL

    callback = _HelloCallback(on_challenge)
    _kept.append((callback, stay, own))
    _set_hello_callback(pointer(context), HELLO_CALLBACK, callback)


def _host_name(extension: bytes) -> str:
    """The host in an extension server_name (RFC 6066 3), lower case; "" when there is none."""
    length = int.from_bytes(extension[3:5], "big")
    is_one = extension[2:3] == b"\0" and len(extension) == 5 + length
    return extension[5:].decode("ascii", "replace").lower() if is_one else ""
