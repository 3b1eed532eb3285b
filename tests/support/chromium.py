"""Debian's Chromium, headless: it loads one page and tells what became of it."""

import subprocess
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PATIENCE_S = 90.0
# It is here for one page: no extensions, no telephoning home, no sandbox that root could not set up.
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-sync", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


def dump_dom(url: str, port: int, certificate: Path, profile: Path, *, over_quic: bool = False) -> str:
    """The document after its load, as HTML. Every name leads to `port` on this machine.

    The certificate's key is believed, whoever has signed it. `over_quic`: ask by HTTP/3 from the beginning.
    """
    name = url.split("/")[2]
    command = [
        "chromium", *QUIET, f"--user-data-dir={profile}", f"--host-resolver-rules=MAP *:443 127.0.0.1:{port}",
        f"--ignore-certificate-errors-spki-list={spki(certificate)}", "--dump-dom",
    ]  # fmt: skip
    if over_quic:
        command.append(f"--origin-to-force-quic-on={name}:443")
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def spki(certificate: Path) -> str:
    """The digest by which browsers pin a key: of the SubjectPublicKeyInfo, in base64 (RFC 7469 2.4)."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(sha256(info).digest()).decode()
