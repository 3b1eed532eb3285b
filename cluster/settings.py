"""What the supervisor is started with: the outcome of config file, flags and environment."""

from dataclasses import dataclass, field
from pathlib import Path

from worker.settings import ListenerSettings, WorkerSettings


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """A certificate chain and its key, PEM files. None given: one from the local CA is made."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class BindingSettings:
    """An account with an authority that was made elsewhere (external account binding, RFC 8555 7.3.4)."""

    kid: str  # what the authority calls it
    key: str = field(default="", repr=False)  # of its MAC, base64url
    key_file: Path | None = None  # where that is to be read from instead


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How the https listeners speak TLS."""

    profile: str = "default"  # or "modern", "old": `cluster.profiles`
    minimum_version: str | None = None  # "1.0" to "1.3"; None: the profile's
    refuse_unknown_name: bool = False  # clients that ask for a name no certificate is for
    refuse_no_name: bool = False  # clients that ask for none


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """A certification authority that speaks ACME (RFC 8555)."""

    directory: str  # URL
    ca_file: Path | None = None  # trusted for its https; None: the public authorities
    binding: BindingSettings | None = None


@dataclass(frozen=True, slots=True)
class AcmeSettings:
    """Whom to get certificates from, and for which names."""

    authorities: tuple[AuthoritySettings, ...]  # the one to use, then the one to fall back to
    names: tuple[str, ...]  # of the sites, public, without a given certificate
    email: str | None = None
    challenges: tuple[str, ...] = ("http-01",)  # how a name is proven; after a failure by the next one


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """One edge: everything `edgecluster start` needs."""

    worker: WorkerSettings
    workers: int  # 1..30
    cache_bytes: int  # size of the whole segment
    state_dir: Path
    config_path: Path | None  # None: started by flags alone
    admin: ListenerSettings | None  # loopback address for /metrics, /healthz, /readyz
    certificates: tuple[CertificateSettings, ...] = ()
    ticket_rotation_s: float = 3600.0  # age of the key for session tickets when it is replaced
    tls: TlsSettings = TlsSettings()
    acme: AcmeSettings | None = None  # None: certificates are given, or the local CA's
    local_names: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")  # names of the local CA's certificate
    user: str | None = None  # user the workers run as when started as root
    heartbeat_timeout_s: float = 10.0  # a worker whose loop is silent for longer is ended
    pin_cores: bool = True
    keep_cache: bool = True  # take over the segment that the supervisor before us left
    keep_cache_on_stop: bool = False  # leave the segment for the next start
    drop_cache: bool = False  # start empty this once, whatever keep_cache says
