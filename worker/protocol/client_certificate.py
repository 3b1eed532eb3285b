"""Which clients were asked for a certificate, by whose authority, and what they showed.

What the ClientHello decided is kept here until the connection is made. Which requests need a certificate is
not known here.
"""

import ctypes
import logging
from typing import Any

from worker.context import Client
from worker.identity import Identity

log = logging.getLogger("edgecluster.protocol")

# By the address of OpenSSL's SSL. Failed handshakes leave theirs behind until the address is used again.
_asked: dict[int, str] = {}


def note(connection: int, authority: str) -> None:
    """The handshake of that SSL asks for a certificate of `authority`; "": for none."""
    if authority:
        _asked[connection] = authority
    else:
        _asked.pop(connection, None)


def put_into(client: Client, tls: Any) -> None:
    """Let `client` say what it was asked for and what it showed. `tls`: aiofastnet's ssl_object."""
    if not _asked:
        return
    client.asked = _asked.pop(_address(tls), "")
    if not client.asked:
        return
    shown = tls.getpeercert(binary_form=True)
    if shown is None:
        return
    try:
        client.identity = Identity(shown)
    except ValueError as error:  # OpenSSL reads more than others; it counts as not shown
        log.warning("the certificate of %s cannot be read: %s", client.address, error)


def _address(tls: Any) -> int:
    """The SSL behind aiofastnet's object, whose last member it is (1.2.0).

    Only ever compared with addresses that OpenSSL gave us: if it were another member, no client would count
    as asked, and what needs a certificate would be refused.
    """
    at = id(tls) + type(tls).__basicsize__ - ctypes.sizeof(ctypes.c_void_p)
    return ctypes.c_void_p.from_address(at).value or 0
