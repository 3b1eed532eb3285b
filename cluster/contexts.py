"""TLS contexts, made before the fork: that of the https listeners, and the origins'.

Those of the listeners seal tickets with the same keys, so a client resumes its session with whichever worker
it meets, also when that has another certificate by then. What a generation serves with never changes.
"""

import hashlib
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from cluster.acme.store import issued_pairs
from cluster.certificates import local_certificate
from cluster.errors import BootError
from cluster.settings import CertificateSettings, ClusterSettings
from cluster.sni import choose_by_name
from cluster.tickets import TicketKeys
from worker.origin.tls import TlsFileError, load_contexts
from worker.protocol.quic.certificates import Certificates
from worker.protocol.tls import make_context

Pem = tuple[bytes, bytes]  # chain and key


class Contexts:
    """Makes the context for given settings, or hands out the last one when the files did not change."""

    def __init__(self) -> None:
        self._made: dict[bytes, ssl.SSLContext] = {}
        self.pairs: tuple[Pem, ...] = ()  # what the context that `of` gave last serves with
        self._tickets = TicketKeys(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def of(self, settings: ClusterSettings) -> ssl.SSLContext | None:
        """The context for all https listeners; None when there are none. Reads the origins' files, too.

        Raises BootError.
        """
        try:
            load_contexts(settings.worker.servers)
        except TlsFileError as error:
            raise BootError(f"cannot reach an origin over TLS: {error}") from error
        if not any(listener.scheme == "https" for listener in settings.worker.listeners):
            return None
        pairs = served_pairs(settings)
        self.pairs = tuple(_read(pair) for pair in pairs)
        protocols = ("h2", "http/1.1") if settings.worker.http2 else ("http/1.1",)
        key = b"".join(map(_digest, self.pairs)) + protocols[0].encode()
        if key not in self._made:
            # What was replaced lives on in the generation that uses it.
            self._made = {key: self._make(pairs, protocols)}
        if settings.worker.http3:
            check_for_quic(self.pairs)
        return self._made[key]

    def _make(self, pairs: tuple[CertificateSettings, ...], protocols: tuple[str, ...]) -> ssl.SSLContext:
        contexts = [_make_one(pair, protocols) for pair in pairs]
        for context in contexts:
            self._tickets.put_into(context)
        if len(contexts) == 1:
            return contexts[0]
        names = [_names(pair.certificate) for pair in pairs]
        return choose_by_name(list(zip(names, contexts, strict=True)))


def served_pairs(settings: ClusterSettings) -> tuple[CertificateSettings, ...]:
    """The pairs to serve with, the first for clients that ask for no name we know.

    Those given; those issued by a CA so far; the local authority's for whatever has none. Raises BootError.
    """
    pairs = settings.certificates + issued_pairs(settings)
    if settings.acme is None and pairs:
        return pairs
    return (*pairs, _local(settings))


def check_for_quic(pairs: Sequence[Pem]) -> None:
    """Raise BootError if HTTP/3 cannot serve with one of `pairs`, with which HTTP/1 and 2 can."""
    try:
        Certificates.load(pairs)
    except ValueError as error:
        raise BootError(f"cannot serve HTTP/3: {error}; use another key, or set http3 to false") from error


def _local(settings: ClusterSettings) -> CertificateSettings:
    return CertificateSettings(*local_certificate(settings.state_dir, settings.local_names))


def _read(pair: CertificateSettings) -> Pem:
    return _read_file(pair.certificate), _read_file(pair.key)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BootError(f"cannot read the TLS file {path}: {error.strerror}") from error


def _digest(pair: Pem) -> bytes:
    digest = hashlib.sha256()
    for content in pair:
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.digest()


def _make_one(pair: CertificateSettings, protocols: tuple[str, ...]) -> ssl.SSLContext:
    try:
        return make_context(pair.certificate, pair.key, protocols)
    except (OSError, ValueError) as error:
        raise BootError(
            f"cannot serve https: {error}; certificate and key must be PEM files that belong together, "
            "the chain beginning with the server's own certificate"
        ) from error


def _names(certificate: Path) -> list[str]:
    """The certificate's DNS names, lower-case (RFC 9525: the subject's CN counts for nothing)."""
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
