"""Asking clients for a certificate during the handshake, where the site they ask for by name wants one.

What a site wants is put into the connection, not into the context that serves its name: the same certificate
of ours may serve sites that differ in this. Who shows none is let in; whether a request may do without is
decided when its route is known. A certificate that no authority vouches for ends the handshake.
"""

import ctypes
import hashlib
import ssl
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cluster.errors import BootError
from worker.protocol.client_certificate import note
from worker.protocol.hello import GO_ON, Alert, asked_name, decide
from worker.protocol.names import choose
from worker.protocol.openssl import function, pointer
from worker.settings import SiteSettings

_VERIFY_PEER = 1  # SSL_VERIFY_PEER
_SET_VERIFY_STORE = 106  # SSL_CTRL_SET_VERIFY_CERT_STORE

_set_verify = function("SSL_set_verify", None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_control = function("SSL_ctrl", ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
_set_session_context = function(
    "SSL_set_session_id_context", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint
)
_get_store = function("SSL_CTX_get_cert_store", ctypes.c_void_p, ctypes.c_void_p)
_load_names = function("SSL_load_client_CA_file", ctypes.c_void_p, ctypes.c_char_p)
_copy_names = function("SSL_dup_CA_list", ctypes.c_void_p, ctypes.c_void_p)
_set_names = function("SSL_set_client_CA_list", None, ctypes.c_void_p, ctypes.c_void_p)


class Demand:
    """One file of authorities, ready to be asked by."""

    def __init__(self, path: str) -> None:
        """Raises BootError."""
        self._path = path
        content = read_authorities(path)
        self._holder = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._holder.load_verify_locations(cadata=content.decode("ascii"))
        self._store = _get_store(pointer(self._holder))
        self._names = _load_names(path.encode())  # so that clients with several know which one to show
        # A session goes on only where the same authorities are asked: its client is not looked at again.
        self._session_context = hashlib.sha256(path.encode() + b"\0" + content).digest()

    def put_into(self, connection: int) -> None:
        """Ask that client."""
        _set_verify(connection, _VERIFY_PEER, None)
        _control(connection, _SET_VERIFY_STORE, 1, self._store)
        _set_names(connection, _copy_names(self._names))
        _set_session_context(connection, self._session_context, len(self._session_context))
        note(connection, self._path)


def demanded(sites: tuple[SiteSettings, ...]) -> tuple[str, ...]:
    """The files of authorities that some site wants certificates of, each once."""
    return tuple(dict.fromkeys(site.client_authority for site in sites if site.client_authority))


def read_authorities(path: str) -> bytes:
    """The certificates in that file, or BootError."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BootError(
            f"cannot read the authorities of client certificates {path}: {error.strerror}; "
            "'client_certificate.ca_file' is the path of a PEM file"
        ) from None
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise BootError(
            f"no certificate in {path}: 'client_certificate.ca_file' must be a PEM file "
            "(-----BEGIN CERTIFICATE-----)"
        ) from None
    return b"".join(one.public_bytes(Encoding.PEM) for one in found)


def ask_for_certificates(context: ssl.SSLContext, sites: tuple[SiteSettings, ...]) -> None:
    """Ask who connects by `context` for what the site he names wants. Raises BootError.

    Sites are found as requests find theirs: exact names, wildcards for one label, else the site without any.
    """
    demands: dict[str, Demand | None] = {path: Demand(path) for path in demanded(sites)}
    by_host: Mapping[str, tuple[Demand | None]] = {
        host.decode(): (demands.get(site.client_authority),) for site in sites for host in site.hosts
    }
    others = next((demands.get(site.client_authority) for site in sites if not site.hosts), None)

    def ask(connection: int, _alert: Alert) -> int:
        found = choose(by_host, asked_name(connection))
        demand = others if found is None else found[0]
        if demand is None:
            note(connection, "")
        else:
            demand.put_into(connection)
        return GO_ON

    decide(context, ask)
