"""Forking a process: what it inherits, what it may say, how it ends."""

import os
import signal
import sys
import time

import pytest

from cluster.process import Exit, User, fork
from worker.start import tell_failure, tell_ready


def listen(pipe: int) -> bytes:
    """All that comes through a readiness pipe until it is closed."""
    os.set_blocking(pipe, True)
    told = b""
    while piece := os.read(pipe, 4096):
        told += piece
    os.close(pipe)
    return told


def end(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_it_says_that_it_serves_and_its_exit_code_is_what_it_returned() -> None:
    def body(ready: int) -> int:
        tell_ready(ready)
        return Exit.DRAINED

    pid, pipe = fork(body, close=())
    assert listen(pipe) == b"+"
    assert end(pid) == 0


def test_it_says_why_it_cannot() -> None:
    def body(ready: int) -> int:
        tell_failure(ready, "no café")
        return Exit.COULD_NOT_BOOT

    pid, pipe = fork(body, close=())
    assert listen(pipe).decode() == "-no café"
    assert end(pid) == Exit.COULD_NOT_BOOT


@pytest.mark.parametrize(
    ("body", "code"),
    [(lambda _: 1 // 0, 1), (lambda _: sys.exit(4), 4), (lambda _: sys.exit("why"), 1)],
    ids=["exception", "exit", "exit-message"],
)
def test_whatever_escapes_ends_the_child_and_only_the_child(body: object, code: int) -> None:
    pid, pipe = fork(body, close=())  # type: ignore[arg-type]
    assert listen(pipe) == b""
    assert end(pid) == code


def test_what_is_not_its_own_is_closed() -> None:
    reading, writing = os.pipe()

    def body(_ready: int) -> int:
        try:
            os.fstat(reading)
        except OSError:
            return 0
        return 1

    pid, pipe = fork(body, close={reading})
    listen(pipe)
    os.close(reading)
    os.close(writing)
    assert end(pid) == 0


def test_signals_start_as_the_child_needs_them() -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)}
    signal.signal(signal.SIGTERM, lambda *_: None)

    def body(ready: int) -> int:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        tell_ready(ready)
        time.sleep(600)
        return 0

    try:
        pid, pipe = fork(body, close=())
        assert listen(pipe) == b"+"
        os.kill(pid, signal.SIGTERM)
        assert end(pid) == -signal.SIGTERM
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    finally:
        signal.signal(signal.SIGTERM, before[signal.SIGTERM])
    assert all(signal.getsignal(number) == handler for number, handler in before.items())


def test_root_becomes_the_user_that_was_asked_for() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root changes users")
    user = User.find("nobody")
    assert user is not None

    def body(ready: int) -> int:
        os.write(ready, f"{os.getuid()} {os.getgid()} {os.getgroups()}".encode())
        return 0

    pid, pipe = fork(body, close=(), user=user)
    assert listen(pipe).decode() == f"{user.uid} {user.gid} [{user.gid}]"
    assert end(pid) == 0


def test_nobody_asked_for_means_no_change() -> None:
    assert User.find(None) is None
