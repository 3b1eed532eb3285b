"""Several certificates on one address: the one whose names fit what the client asks for (SNI, RFC 6066 3)."""

import ctypes
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from worker.protocol.hello import GO_ON, REFUSED, UNRECOGNIZED_NAME, Alert, asked_name, decide
from worker.protocol.names import choose
from worker.protocol.openssl import function, pointer

_set_context = function("SSL_set_SSL_CTX", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)

# Connections are told of these by address only: contexts are few and stay.
_kept: list[object] = []


@dataclass(frozen=True, slots=True)
class Unserved:
    """What happens to a client whose name no certificate is for: it gets the first one, or an alert."""

    refuse_unknown: bool = False  # it asks for a name
    refuse_absent: bool = False  # it asks for none


def choose_by_name(first: ssl.SSLContext, contexts: Mapping[str, ssl.SSLContext], unserved: Unserved) -> None:
    """Let each connection made with `first` go on with the context whose name fits, else as `unserved` says.

    `contexts` by DNS name, in lower case, possibly `*.` and a domain.
    """
    pointers = {name: pointer(context) for name, context in contexts.items()}

    def by_name(connection: int, alert: Alert) -> int:
        asked = asked_name(connection)
        chosen = choose(pointers, asked)
        if chosen is not None:
            _set_context(connection, chosen)
        elif unserved.refuse_absent if asked is None else unserved.refuse_unknown:
            alert[0] = UNRECOGNIZED_NAME
            return REFUSED
        return GO_ON

    _kept.append(contexts)
    decide(first, by_name)
