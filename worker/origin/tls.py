"""Client-side TLS contexts: certificates are verified and SNI is sent unless the settings say otherwise."""

import ssl
from collections.abc import Iterable
from functools import cache

from worker.settings import OriginSettings

# What is offered in the TLS handshake, by `OriginSettings.protocol`: first to those that may speak HTTP/2.
ALPN = {
    "http/1.1": (("http/1.1",),),
    "h2": (("h2",), ("http/1.1",)),
    "auto": (("h2", "http/1.1"), ("http/1.1",)),
}


class TlsFileError(OSError):
    """A file that a context needs cannot be used; says which and why."""


def client_context(
    settings: OriginSettings, protocols: tuple[str, ...] = ("http/1.1",)
) -> ssl.SSLContext | None:
    """The context for one origin, None for a plain one; it offers `protocols` (ALPN).

    Origins with equal settings share it. Raises TlsFileError.
    """
    if settings.scheme != "https":
        return None
    certificate = settings.client_certificate
    key = settings.client_key or certificate
    return _context(settings.verify, settings.ca_file, certificate, key, protocols)


def load_contexts(origins: Iterable[OriginSettings]) -> None:
    """Read the files of all origins anew, for this process and those it forks later.

    The processes that serve need not be able to read a private key. Raises TlsFileError.
    """
    _context.cache_clear()
    for settings in origins:
        try:
            for protocols in ALPN[settings.protocol]:
                client_context(settings, protocols)
        except TlsFileError as error:
            raise TlsFileError(f"{settings.url}: {error}") from error


@cache  # reading the system's authorities takes tens of milliseconds; there are few different settings
def _context(
    verify: bool, ca_file: str | None, certificate: str | None, key: str | None, protocols: tuple[str, ...]
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise TlsFileError(
            f"cannot load ca_file {ca_file}: {_reason(error, 'no certificate in it')}"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None and key is not None:
        _load_pair(context, certificate, key)
    return context


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Show this certificate to origins that ask for one."""
    for name, path in (("client_certificate", certificate), ("client_key", key)):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise TlsFileError(f"cannot read {name} {path}: {error.strerror}") from error
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        reason = _reason(error, "they must be PEM, the key without a password")
        raise TlsFileError(
            f"cannot load client_certificate {certificate} with client_key {key}: {reason}"
        ) from error


def _no_password() -> bytes:
    """Keeps OpenSSL from asking the terminal."""
    return b""


def _reason(error: OSError, otherwise: str) -> str:
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    return "the key belongs to another certificate" if error.reason == "KEY_VALUES_MISMATCH" else otherwise
