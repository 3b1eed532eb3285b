"""Who a client is by the certificate it has shown and proven to own during the TLS handshake.

Knows what to tell the origin and the log about it. That an authority vouches for it was seen to before.
"""

import base64
import hashlib
import re

from cryptography import x509

# RFC 9440, then what is easier to read. What a client says in them itself is never believed.
FIELDS = (
    b"client-cert",
    b"client-cert-chain",
    b"x-client-certificate-subject",
    b"x-client-certificate-fingerprint",
)

_UNSAFE = re.compile(rb"[^ -~]")


class Identity:
    """One certificate."""

    __slots__ = ("fingerprint", "lines", "subject", "until_s")

    def __init__(self, der: bytes) -> None:
        """`der`: the certificate. Raises ValueError when it cannot be read."""
        certificate = x509.load_der_x509_certificate(der)
        self.fingerprint = hashlib.sha256(der).hexdigest()
        self.subject = _subject(certificate.subject)  # RFC 4514, printable ASCII
        self.until_s = certificate.not_valid_after_utc.timestamp()  # wall clock
        self.lines = (
            f"Client-Cert: :{base64.b64encode(der).decode()}:\r\n"
            f"X-Client-Certificate-Subject: {self.subject}\r\n"
            f"X-Client-Certificate-Fingerprint: {self.fingerprint}\r\n"
        ).encode()


def _subject(name: x509.Name) -> str:
    """What a field cannot carry is written as two hex digits behind a backslash (RFC 4514 2.4)."""
    text = name.rfc4514_string().encode("utf-8", "replace")
    return _UNSAFE.sub(lambda found: b"\\%02X" % found[0][0], text).decode("ascii")
