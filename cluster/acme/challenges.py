"""The two ways in which we prove to an authority that a name is ours: HTTP-01 and TLS-ALPN-01.

What is put into the segment for them, where any worker finds it, and taken out again. Knows nothing of
orders.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from shmcache.core import Cache
from shmcache.errors import SegmentError
from worker.security.challenge import KEEP_S, publish, withdraw
from worker.security.challenge_certificate import publish_certificate, withdraw_certificate

if TYPE_CHECKING:
    from cluster.acme.authority import Challenge

HTTP_01: Final = "http-01"  # RFC 8555 8.3
TLS_ALPN_01: Final = "tls-alpn-01"  # RFC 8737
KINDS: Final = (HTTP_01, TLS_ALPN_01)

_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_OCTET_STRING = b"\x04\x20"  # DER: of 32 bytes
_CLOCK_SKEW = timedelta(hours=1)


def order_of_kinds(kinds: Sequence[str], refusals: int) -> tuple[str, ...]:
    """Which challenge to answer, the best first: after each refusal the next has its turn, and keeps it."""
    first = refusals % len(kinds)
    return (*kinds[first:], *kinds[:first])


def challenge_certificate(name: str, answer: bytes) -> tuple[bytes, bytes]:
    """A certificate that proves `answer` (the key authorization) for `name`, and its key, DER; RFC 8737 3."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    proof = x509.UnrecognizedExtension(_ACME_IDENTIFIER, _OCTET_STRING + hashlib.sha256(answer).digest())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=subject, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(seconds=KEEP_S) + _CLOCK_SKEW)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(proof, critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return certificate.public_bytes(Encoding.DER), secret


def put_down(cache: Cache, name: str, challenge: "Challenge") -> bool:
    """Let every worker answer the challenge; whether there was room. It is forgotten after ten minutes."""
    if challenge.kind == HTTP_01:
        return publish(cache, challenge.token, challenge.answer)
    return publish_certificate(cache, name, *challenge_certificate(name, challenge.answer))


def take_away(cache: Cache, name: str, challenge: "Challenge") -> None:
    """Nobody need answer it any more."""
    with contextlib.suppress(SegmentError):  # a stopped process is in the way: it expires by itself
        if challenge.kind == HTTP_01:
            withdraw(cache, challenge.token)
        else:
            withdraw_certificate(cache, name)
