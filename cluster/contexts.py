"""TLS contexts, made before the fork: that of the https listeners, and the origins'.

Those of the listeners seal tickets with the same keys, so a client resumes its session with whichever worker
it meets, also when that has another certificate by then. What a generation serves with never changes.
"""

import hashlib
import logging
import ssl
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cryptography import x509

from cluster.acme.store import issued_pairs
from cluster.certificates import covers, local_certificate, local_files, read_given
from cluster.client_certificates import ask_for_certificates, demanded, read_authorities
from cluster.errors import BootError
from cluster.profiles import put_into
from cluster.settings import CertificateSettings, ClusterSettings, TlsSettings
from cluster.side_by_side import Offer, kind_of, serving
from cluster.sni import Unserved, choose_by_name
from cluster.tickets import TicketKeys
from worker.origin.tls import TlsFileError, load_contexts
from worker.protocol.quic.certificates import Certificates
from worker.protocol.tls import load_pair, make_context

log = logging.getLogger("edgecluster.supervisor")

_FIRST = ""  # no name of a host

Pem = tuple[bytes, bytes]  # chain and key


class Contexts:
    """Makes the context for given settings, or hands out the last one when the files did not change."""

    def __init__(self) -> None:
        self._made: dict[bytes, ssl.SSLContext] = {}
        self.pairs: tuple[Pem, ...] = ()  # what the context that `of` gave last serves with
        self.tickets = TicketKeys(time.monotonic_ns())

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
        doubts = _doubts(settings.certificates)
        self.pairs = tuple(_read(pair) for pair in pairs)
        digests = [_digest(pair) for pair in self.pairs]
        protocols = ("h2", "http/1.1") if settings.worker.http2 else ("http/1.1",)
        digests += [read_authorities(path) for path in demanded(settings.worker.sites)]
        key = b"".join(digests) + repr((protocols, settings.tls, _wanted(settings))).encode()
        if key not in self._made:
            for words in doubts:
                log.warning("%s", words)
            # What was replaced lives on in the generation that uses it.
            self._made = {key: self._make(pairs, protocols, settings)}
        if settings.worker.http3:
            check_for_quic(self.pairs)
        return self._made[key]

    def _make(
        self, pairs: tuple[CertificateSettings, ...], protocols: tuple[str, ...], settings: ClusterSettings
    ) -> ssl.SSLContext:
        serving = _serving(pairs, settings)
        made: dict[tuple[int, ...], ssl.SSLContext] = {}
        for together in serving.values():
            if together not in made:
                made[together] = _make_one([pairs[index] for index in together], protocols, settings.tls)
                self.tickets.put_into(made[together])
        first = made[serving[_FIRST]]
        by_name = {name: made[together] for name, together in serving.items() if name != _FIRST}
        unserved = Unserved(settings.tls.refuse_unknown_name, settings.tls.refuse_no_name)
        if len(made) > 1 or unserved != Unserved():
            choose_by_name(first, by_name, unserved)
        if demanded(settings.worker.sites):
            ask_for_certificates(first, settings.worker.sites)
        return first


def _wanted(settings: ClusterSettings) -> tuple[tuple[tuple[bytes, ...], str], ...]:
    """Which hosts want which client certificates, if any does."""
    sites = settings.worker.sites
    return tuple((site.hosts, site.client_authority) for site in sites) if demanded(sites) else ()


def _serving(pairs: tuple[CertificateSettings, ...], settings: ClusterSettings) -> dict[str, tuple[int, ...]]:
    """The pairs, by index, that serve each name, and under `_FIRST` those for clients that ask for no other.

    The local authority's certificate stands beside no other: clients would get that which they do not trust.
    """
    offers = [_offer(pair.certificate) for pair in pairs]
    local = local_files(settings.state_dir)[0]
    if len(pairs) > 1 and pairs[-1].certificate == local:
        others = [name for offer in offers[:-1] for name in offer.names]
        left = (name for name in offers[-1].names if not any(covers(other, name) for other in others))
        offers[-1] = replace(offers[-1], names=tuple(left))
    found = serving(offers)
    first = offers[0].names[:1]
    return found | {_FIRST: found[first[0]] if first else (0,)}


def served_pairs(settings: ClusterSettings) -> tuple[CertificateSettings, ...]:
    """The pairs to serve with, the first for clients that ask for no name we know.

    Those given; those issued by a CA so far; the local authority's for whatever has none. Raises BootError.
    """
    pairs = settings.certificates + issued_pairs(settings)
    if settings.acme is None and pairs:
        return pairs
    return (*pairs, _local(settings))


def _doubts(given: Sequence[CertificateSettings]) -> list[str]:
    """What `check` warns of. Raises BootError for what it calls an error."""
    return [words for pair in given for words in read_given(pair.certificate, pair.key)[1]]


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


def _make_one(
    pairs: Sequence[CertificateSettings], protocols: tuple[str, ...], tls: TlsSettings
) -> ssl.SSLContext:
    first, *others = pairs
    try:
        context = make_context(first.certificate, first.key, protocols)
        for pair in others:
            load_pair(context, pair.certificate, pair.key)
    except (OSError, ValueError) as error:
        raise BootError(
            f"cannot serve https: {error}; certificate and key must be PEM files that belong together, "
            "the chain beginning with the server's own certificate"
        ) from error
    put_into(context, tls)
    return context


def _offer(certificate: Path) -> Offer:
    """What the certificate is for (RFC 9525: the subject's CN counts for nothing)."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError:
        return Offer((), "")  # `load_pair` says what is wrong with it
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Offer((), kind_of(leaf.public_key()))
    dns_names = tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))
    return Offer(dns_names, kind_of(leaf.public_key()))
