"""What the supervisor is started with: the outcome of config file, flags and environment."""

from dataclasses import dataclass
from pathlib import Path

from worker.settings import ListenerSettings, WorkerSettings


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """A certificate chain and its key, PEM files. None given: one from the local CA is made."""

    certificate: Path
    key: Path


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
    local_names: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")  # names of the local CA's certificate
    user: str | None = None  # user the workers run as when started as root
    heartbeat_timeout_s: float = 10.0  # a worker whose loop is silent for longer is ended
    pin_cores: bool = True
    keep_cache: bool = True  # take over the segment that the supervisor before us left
    keep_cache_on_stop: bool = False  # leave the segment for the next start
    drop_cache: bool = False  # start empty this once, whatever keep_cache says
