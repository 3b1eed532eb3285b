"""One supervisor per state directory: the flock that says so, and the pid file beside it."""

import fcntl
import os
import time
from pathlib import Path

from cluster.errors import BootError


def run_dir(state_dir: Path) -> Path:
    """Where the files of a running cluster lie; empty or absent when none runs."""
    return state_dir / "run"


def supervisor_socket(state_dir: Path) -> Path:
    return run_dir(state_dir) / "supervisor.sock"


def admin_socket(state_dir: Path) -> Path:
    return run_dir(state_dir) / "admin.sock"


def running_pid(state_dir: Path) -> int | None:
    """Pid of the supervisor that lives on that state directory; None when there is none."""
    try:
        fd = os.open(run_dir(state_dir) / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(fd, 32, 0) or b"0")
    finally:
        os.close(fd)
    return None


class InstanceLock:
    """Held as long as the supervisor lives, by the supervisor alone: the kernel drops it at its death."""

    def __init__(self, state_dir: Path) -> None:
        """Take the lock and write the pid file. Raises BootError naming the pid that holds it.

        `left_behind`: a supervisor before us died without tidying up.
        """
        self.directory = run_dir(state_dir)
        self.pid_file = self.directory / "pid"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.fd = self._acquire(self.directory / "lock")
        except OSError as error:
            raise BootError(
                f"cannot use the state directory {state_dir}: {error.strerror} ({error.filename}); "
                "choose one we may write to with --state-dir"
            ) from error
        self.left_behind = self.pid_file.exists()
        text = f"{os.getpid()}\n".encode()
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, text, 0)
        self.pid_file.write_bytes(text)

    def release(self) -> None:
        """Remove our files and let the next supervisor in."""
        self.pid_file.unlink(missing_ok=True)
        (self.directory / "lock").unlink(missing_ok=True)
        os.close(self.fd)

    def _acquire(self, path: Path) -> int:
        attempts = 5  # `running_pid` holds the lock for an instant, too
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                attempts -= 1
                if attempts:
                    os.close(fd)
                    time.sleep(0.05)
                    continue
                holder = os.pread(fd, 32, 0).decode().strip() or "unknown"
                os.close(fd)
                raise BootError(
                    f"another supervisor (pid {holder}) already runs on {self.directory.parent}; stop it "
                    "with `edgecluster stop`, or choose another --state-dir"
                ) from None
            if _is_at(fd, path):
                return fd
            os.close(fd)  # the holder before us removed the file between our open and our lock: again


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
