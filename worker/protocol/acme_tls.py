"""The handshake that proves to a certification authority that a name is ours (TLS-ALPN-01, RFC 8737).

A client that offers `acme-tls/1` and nothing else is answered with the certificate put down for the name it
asks for, before the choice among those that are served. Knows nothing of where these certificates come from.
"""

import ctypes
import logging
import ssl
from collections.abc import Callable

from worker.protocol.hello import GO_ON, REFUSED, TAKEN, Alert, asked_name, decide, extension
from worker.protocol.openssl import function, pointer

PROTOCOL = "acme-tls/1"
Find = Callable[[str], tuple[bytes, bytes] | None]

log = logging.getLogger("edgecluster.protocol")

_ALPN = 16  # type of the extension
_OFFER = b"\0\x0b\x0a" + PROTOCOL.encode()  # a list of that one protocol (RFC 7301 3.1)
_NO_APPLICATION_PROTOCOL = 120  # the alert
_EC_KEY = 408  # EVP_PKEY_EC
_VERIFY_NONE = 0

_set_context = function("SSL_set_SSL_CTX", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_set_session_context = function(
    "SSL_set_session_id_context", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint
)
_set_verify = function("SSL_set_verify", None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_use_certificate = function(
    "SSL_use_certificate_ASN1", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
)
_use_key = function(
    "SSL_use_PrivateKey_ASN1", ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_long
)

_kept: list[object] = []  # connections are told of these by address only


def answer_challenges(context: ssl.SSLContext, find: Find) -> None:
    """Let connections that begin with `context` answer challenges; call it once, in the process that serves.

    `find` gives certificate and EC key (DER) for a name in lower case, None: there is no challenge for it,
    and the handshake fails. It must not raise.
    """
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.set_alpn_protocols([PROTOCOL])
    own_pointer = pointer(own)

    def on_hello(connection: int, alert: Alert) -> int:
        if extension(connection, _ALPN) != _OFFER:
            return GO_ON
        name = (asked_name(connection) or "").lower()
        found = find(name)
        if found is None:
            log.debug("nothing to prove for the name %r that a client asks for by %s", name, PROTOCOL)
            alert[0] = _NO_APPLICATION_PROTOCOL
            return REFUSED
        certificate, key = found
        _set_context(connection, own_pointer)
        # Neither does a session of such a connection open another, nor the other way round; and who checks us
        # has no certificate of its own to show.
        _set_session_context(connection, PROTOCOL.encode(), len(PROTOCOL))
        _set_verify(connection, _VERIFY_NONE, None)
        usable = _use_certificate(connection, certificate, len(certificate)) == 1 and (
            _use_key(_EC_KEY, connection, key, len(key)) == 1
        )
        return TAKEN if usable else REFUSED

    _kept.append(own)
    decide(context, on_hello, first=True)
