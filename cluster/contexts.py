"""TLS contexts, made before the fork: that of the https listeners, kept across reloads, and the origins'.

One context object for all workers and all generations means one set of ticket keys, so a client resumes
its session with whichever worker it meets.
"""

import hashlib
import ssl
from pathlib import Path

from cryptography import x509

from cluster.certificates import local_certificate
from cluster.errors import BootError
from cluster.settings import CertificateSettings, ClusterSettings
from cluster.sni import choose_by_name
from worker.origin.tls import TlsFileError, load_contexts
from worker.protocol.tls import make_context


class Contexts:
    """Makes the context for given settings, or hands out the last one when the files did not change."""

    def __init__(self) -> None:
        self._made: dict[bytes, ssl.SSLContext] = {}

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
        pairs = settings.certificates or (_local(settings),)
        digests = [_digest(pair) for pair in pairs]
        protocols = ("h2", "http/1.1") if settings.worker.http2 else ("http/1.1",)
        key = b"".join(digests) + protocols[0].encode()
        if key not in self._made:
            self._made = {
                key: _make(pairs, protocols)
            }  # what was replaced lives on in the generation that uses it
        return self._made[key]


def _local(settings: ClusterSettings) -> CertificateSettings:
    return CertificateSettings(*local_certificate(settings.state_dir, settings.local_names))


def _digest(pair: CertificateSettings) -> bytes:
    digest = hashlib.sha256()
    for path in (pair.certificate, pair.key):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BootError(f"cannot read the TLS file {path}: {error.strerror}") from error
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.digest()


def _make(pairs: tuple[CertificateSettings, ...], protocols: tuple[str, ...]) -> ssl.SSLContext:
    contexts = [_make_one(pair, protocols) for pair in pairs]
    if len(contexts) == 1:
        return contexts[0]
    names = [_names(pair.certificate) for pair in pairs]
    return choose_by_name(list(zip(names, contexts, strict=True)))


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
