"""The TLS 1.3 handshake of one QUIC connection: which certificate answers, and which session may be resumed.

Bends aioquic's `tls.Context`, which knows one certificate and takes any ticket, at the ClientHello.
How a session is stored is known here; where it lies is not.
"""

import datetime
import struct

from aioquic import tls
from aioquic._buffer import Buffer

from worker.protocol.quic.certificates import Certificates
from worker.protocol.quic.tickets import LIFETIME_S, Tickets

# The first of these that the client offers, as a resumed session needs the same again.
CIPHER_SUITES = [
    tls.CipherSuite.AES_128_GCM_SHA256,
    tls.CipherSuite.CHACHA20_POLY1305_SHA256,
    tls.CipherSuite.AES_256_GCM_SHA384,
]
CIPHER_NAMES = {
    tls.CipherSuite.AES_128_GCM_SHA256: "TLS_AES_128_GCM_SHA256",
    tls.CipherSuite.AES_256_GCM_SHA384: "TLS_AES_256_GCM_SHA384",
    tls.CipherSuite.CHACHA20_POLY1305_SHA256: "TLS_CHACHA20_POLY1305_SHA256",
}
_EARLY_BYTES = 0xFFFFFFFF  # RFC 9001 4.6.1: QUIC limits early data by its own windows

_SESSION = struct.Struct(">HdB")  # cipher suite, wall clock seconds, length of the secret


class ServerTls(tls.Context):
    """A context that has seen the ClientHello before it must choose."""

    certificates: Certificates
    server_name: str | None

    def _server_handle_hello(self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer) -> None:
        # aioquic keeps of the hello neither the name nor the schemes, and has chosen a scheme before it
        # calls anybody: so it is read twice.
        start = input_buf.tell()
        hello = tls.pull_client_hello(input_buf)
        input_buf.seek(start)
        self.server_name = hello.server_name
        chosen = self.certificates.choose(hello.server_name, hello.signature_algorithms or ())
        self.certificate = chosen.leaf
        self.certificate_chain = chosen.chain
        self.certificate_private_key = chosen.key
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf)


def bend(context: tls.Context, certificates: Certificates, tickets: Tickets, terms: bytes) -> ServerTls:
    """Make a fresh context of aioquic's one of ours.

    `terms`: what we promise about early data. A session begun under others is not resumed, for its client
    would send by them (RFC 9000 7.4.1).
    """
    # aioquic makes its context in the middle of a long method: it can only be changed afterwards.
    context.__class__ = ServerTls
    assert isinstance(context, ServerTls)
    context.certificates = certificates
    context.server_name = None

    def keep(session: tls.SessionTicket) -> None:
        tickets.keep(session.ticket, _pack(session, _bound(context, terms)))

    def take(name: bytes) -> tls.SessionTicket | None:
        stored = tickets.take(name)
        return None if stored is None else _unpack(name, stored, _bound(context, terms))

    context.new_session_ticket_cb = keep
    context.get_session_ticket_cb = take
    return context


def _bound(context: ServerTls, terms: bytes) -> bytes:
    """What must be the same when a session is resumed."""
    return terms + b"\0" + (context.server_name or "").lower().encode()


def _pack(session: tls.SessionTicket, bound: bytes) -> bytes:
    secret = session.resumption_secret
    issued_s = session.not_valid_before.timestamp()
    return _SESSION.pack(session.cipher_suite, issued_s, len(secret)) + secret + bound


def _unpack(name: bytes, stored: bytes, bound: bytes) -> tls.SessionTicket | None:
    suite, issued_s, size = _SESSION.unpack_from(stored)
    secret, stored_bound = stored[_SESSION.size : _SESSION.size + size], stored[_SESSION.size + size :]
    if stored_bound != bound:
        return None
    issued = datetime.datetime.fromtimestamp(issued_s, datetime.UTC)
    return tls.SessionTicket(
        age_add=0,  # the client's age of it is not looked at: it counts once
        cipher_suite=tls.CipherSuite(suite),
        not_valid_before=issued,
        not_valid_after=issued + datetime.timedelta(seconds=LIFETIME_S),
        resumption_secret=secret,
        server_name="",
        ticket=name,
        max_early_data_size=_EARLY_BYTES,
    )
