"""A TLS client that resumes its session, for tests of certificates and tickets."""

import socket
import ssl
from urllib.parse import urlsplit

from cryptography import x509

from tests.support.cluster import Cluster


def certificate_for(port: int, name: str) -> x509.Certificate:
    """The certificate that who asks for `name` is shown on a port of 127.0.0.1."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 60) as plain,
        context.wrap_socket(plain, server_hostname=name) as sock,
    ):
        return x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"")


class TlsClient:
    """Asks over TLS, a connection for each request, resuming the last session of it if there is one."""

    def __init__(self, edge: Cluster, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        port = urlsplit(edge.urls[1]).port
        assert port is not None
        self._port = port
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.minimum_version = self._context.maximum_version = version
        self.session: ssl.SSLSession | None = None
        self.resumed = False

    def get(self, name: str = "a.test", path: str = "/page") -> x509.Certificate:
        """One request; the certificate it was answered with."""
        with (
            socket.create_connection(("127.0.0.1", self._port), 60) as plain,
            self._context.wrap_socket(plain, server_hostname=name, session=self.session) as sock,
        ):
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            said = b""
            while piece := sock.recv(65536):
                said += piece
            assert said.startswith(b"HTTP/1.1 200 "), said
            self.session, self.resumed = sock.session, bool(sock.session_reused)
            return x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"")
