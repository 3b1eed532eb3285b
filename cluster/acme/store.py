"""What ACME leaves on disk: account keys, certificates, orders under way, and when to try again.

Everything lies under `acme` in the state directory, 0600, each file replaced whole. A certificate and its key
are one file, so that no crash can part them. Knows nothing of the protocol.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.certificates import Pair, read_pair, write_whole
from cluster.errors import BootError
from cluster.settings import AuthoritySettings, CertificateSettings, ClusterSettings


@dataclass(slots=True)
class Progress:
    """Where a name stands; wall-clock seconds."""

    failures: int = 0  # in a row
    refusals: int = 0  # of what we proved the name by, ever: what to prove it by next
    error: str = ""  # the last one
    error_s: float = 0.0
    next_s: float = 0.0  # not before, after a failure
    renew_s: float = 0.0  # when the CA wants it renewed (ARI); 0: at two thirds of its life
    ask_s: float = 0.0  # when to ask the CA for that again


@dataclass(frozen=True, slots=True)
class Order:
    """An order under way: enough to go on with it after a crash."""

    directory: str  # of the authority
    url: str
    key: str  # PEM, of the certificate to be


class Store:
    """The files of one name."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self.name = name
        self.folder = state_dir / "acme" / "certificates" / name
        self.pair_file = self.folder / "pair.pem"
        self._order_file = self.folder / "order.json"
        self._progress_file = self.folder / "progress.json"

    def pair(self) -> Pair | None:
        """The certificate and its key; None when there is none that can be used."""
        try:
            return read_pair(self.pair_file, self.pair_file)
        except BootError:
            return None

    def save_pair(self, key: str, chain: str) -> None:
        """Put a new certificate in place of the old one, and forget its order. Raises OSError."""
        self._write(self.pair_file, key.rstrip("\n") + "\n" + chain)
        self.drop_order()

    def order(self) -> Order | None:
        """The order under way."""
        try:
            return Order(**json.loads(self._order_file.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def save_order(self, order: Order) -> None:
        """Remember an order, or raise OSError."""
        self._write(self._order_file, json.dumps(asdict(order)))

    def drop_order(self) -> None:
        """Forget the order under way."""
        self._order_file.unlink(missing_ok=True)

    def progress(self) -> Progress:
        """Where the name stands."""
        try:
            return Progress(**json.loads(self._progress_file.read_bytes()))
        except (OSError, ValueError, TypeError):
            return Progress()

    def save_progress(self, progress: Progress) -> None:
        """Remember where the name stands, or raise OSError."""
        self._write(self._progress_file, json.dumps(asdict(progress)))

    def _write(self, path: Path, text: str) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, text.encode(), 0o600)


def account_file(state_dir: Path, authority: AuthoritySettings) -> Path:
    """Where the key of our account with that authority lies."""
    digest = hashlib.blake2b(authority.directory.encode(), digest_size=8).hexdigest()
    return state_dir / "acme" / "accounts" / f"{digest}.key"


def save_account(path: Path, key: bytes) -> None:
    """Keep an account's key. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, key, 0o600)


def issued_pairs(settings: ClusterSettings) -> tuple[CertificateSettings, ...]:
    """The certificates that were issued so far for the names that want one."""
    if settings.acme is None:
        return ()
    stores = [Store(settings.state_dir, name) for name in settings.acme.names]
    return tuple(
        CertificateSettings(store.pair_file, store.pair_file)
        for store in stores
        if os.path.exists(store.pair_file) and store.pair() is not None
    )
