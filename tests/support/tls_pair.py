"""Certificates for tests of TLS."""

import ssl
from pathlib import Path

import trustme


def write_pair(authority: trustme.CA, folder: Path, name: str = "a") -> tuple[Path, Path]:
    """A certificate for localhost and its key, as files."""
    pair = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    key.write_bytes(pair.private_key_pem.bytes())
    return certificate, key


def client_context(authority: trustme.CA, *protocols: str) -> ssl.SSLContext:
    """A client that believes the authority and offers `protocols`."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
