"""Client-side TLS contexts: certificates are verified and SNI is sent unless the settings say otherwise."""

import ssl
from functools import cache

from worker.settings import OriginSettings


def client_context(settings: OriginSettings) -> ssl.SSLContext | None:
    """The context for one origin, None for a plain one. Origins with equal settings share it.

    Raises OSError or ssl.SSLError if `ca_file` cannot be read.
    """
    if settings.scheme != "https":
        return None
    return _context(settings.verify, settings.ca_file)


@cache  # reading the system's authorities takes tens of milliseconds; there are few different settings
def _context(verify: bool, ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
