"""TLS contexts, and serving with or without them.

Contexts are made once, before the fork, so that every worker and every generation shares ticket keys.
"""

import ssl
from asyncio import AbstractEventLoop, AbstractServer
from pathlib import Path
from socket import socket

from worker.protocol.accept import BACKLOG, Acceptor
from worker.protocol.server import ConnectionServer

# TLS 1.2 with forward secrecy and AEAD only; TLS 1.3 has no other suites.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def make_context(certificate: Path, key: Path, protocols: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """A server context: TLS 1.2 and 1.3, ALPN `protocols`, tickets, no compression, no renegotiation.

    Raises what `load_pair` does.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(list(protocols))
    load_pair(context, certificate, key)
    return context


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Serve with this certificate, beside those of other kinds of key that were loaded before.

    OSError names a file that cannot be read; ValueError says which file holds no usable certificate or key,
    or that the two do not belong together.
    """
    if b"-----BEGIN CERTIFICATE-----" not in _read(certificate, "certificate"):
        raise ValueError(f"{certificate} holds no certificate in PEM format")
    secret = _read(key, "key")
    if b"PRIVATE KEY-----" not in secret:
        raise ValueError(f"{key} holds no private key in PEM format")
    if b"ENCRYPTED" in secret:
        raise ValueError(
            f"the key in {key} is encrypted: nobody is there to type its password, store it decrypted"
        )
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(
                f"the key in {key} does not belong to the certificate in {certificate}"
            ) from None
        raise ValueError(f"cannot use {certificate} with {key}: {error.reason or error}") from None


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OSError(error.errno, f"cannot read the {what} {path}: {error.strerror}") from None


async def serve(
    loop: AbstractEventLoop, sock: socket, context: ssl.SSLContext | None, server: ConnectionServer
) -> AbstractServer:
    """Accept on `sock`, which is bound, with TLS if a context is given; what answers closes `sock`.

    `server` has the connections, and its door is asked before a byte of them is read.
    """
    if context is None and not server.is_proxied:
        # uvloop's own transport: per small answer it costs about nine tenths of aiofastnet's plain one, which
        # is entered from the loop through a reader callback. Out of file descriptors it refuses what comes.
        return await loop.create_server(server.factory, sock=sock, backlog=BACKLOG)
    return Acceptor(loop, sock, context, server)
