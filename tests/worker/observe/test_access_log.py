"""The access log: whole lines into real files and pipes, whatever fails, and every lost line counted."""

import fcntl
import json
import os
import resource
import signal
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.contexts import make_context
from worker.context import Context
from worker.observe.access_log import FLUSH_BYTES, KEEP_BYTES, AccessLog
from worker.reasons import Outcome
from worker.settings import LogSettings


class Lost:
    """Counts the lines a log says it lost."""

    lines = 0

    def __call__(self, lines: int) -> None:
        self.lines += lines


def finished(number: int = 0, path: bytes = b"/page") -> Context:
    ctx = make_context((b"User-Agent", b"test"), path=path)
    ctx.outcome, ctx.status, ctx.bytes_out = Outcome.HIT, 200, number
    return ctx


def numbers(data: bytes) -> list[int]:
    """The bytes_out of every line; fails on a torn one."""
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line)["bytes_out"] for line in data.splitlines()]


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; its exit code, 0 if nothing was raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_lines_are_kept_until_they_are_flushed(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(LogSettings(str(path)), Lost())
    log(finished(1))
    log(finished(2))
    assert path.read_bytes() == b""
    log.flush()
    assert numbers(path.read_bytes()) == [1, 2]
    log.flush()
    log.close()
    log.close()
    assert numbers(path.read_bytes()) == [1, 2]


def test_a_full_buffer_is_written_without_being_asked(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(LogSettings(str(path)), Lost())
    for number in range(1000):
        log(finished(number))
    written = path.read_bytes()
    assert len(written) >= FLUSH_BYTES
    assert numbers(written) == list(range(len(numbers(written))))
    log.close()
    assert numbers(path.read_bytes()) == list(range(1000))


def test_no_path_means_no_log() -> None:
    lost = Lost()
    log = AccessLog(LogSettings(""), lost)
    log(finished())
    log.flush()
    log.reopen()
    log.close()
    assert lost.lines == 0


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AccessLog(LogSettings(str(tmp_path / "missing" / "access.log")), Lost())


def test_rotation_moves_on_to_the_new_file_and_loses_nothing(tmp_path: Path) -> None:
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(LogSettings(str(path)), Lost())
    log(finished(1))
    path.rename(rotated)
    log.reopen()
    log(finished(2))
    log.close()
    assert numbers(rotated.read_bytes()) == [1]
    assert numbers(path.read_bytes()) == [2]


def test_when_the_new_file_cannot_be_opened_the_old_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = AccessLog(LogSettings(str(folder / "access.log")), Lost())
    folder.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError):
        log.reopen()
    log(finished(3))
    log.close()
    assert numbers((tmp_path / "moved" / "access.log").read_bytes()) == [3]


def test_workers_share_a_file_without_tearing_lines(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    each = 3000

    def work(first: int) -> None:
        log = AccessLog(LogSettings(str(path)), Lost())
        for number in range(first, first + each):
            log(finished(number, path=b"/" + b"x" * (number % 700)))
        log.close()

    pids = []
    for worker in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                work(worker * each)
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    assert Counter(numbers(path.read_bytes())) == Counter(range(3 * each))


def test_a_disk_that_fills_up_in_the_middle_of_a_line_leaves_no_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        lost = Lost()
        log = AccessLog(LogSettings(str(path)), lost)
        for number in range(20):
            log(finished(number))
        log.flush()
        written = numbers(path.read_bytes())
        assert 0 < len(written) < 20
        assert written == list(range(len(written)))
        log.flush()
        assert numbers(path.read_bytes()) == written
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))  # somebody made room
        log.close()
        assert numbers(path.read_bytes()) == list(range(20))
        assert lost.lines == 0

    assert in_child(work) == 0


def test_what_cannot_be_written_for_long_is_lost_oldest_first_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "access.log"

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        lost, total = Lost(), 12_000
        log = AccessLog(LogSettings(str(path)), lost)
        for number in range(total):
            log(finished(number))
        log.flush()
        assert lost.lines > 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
        log.close()
        assert path.stat().st_size <= KEEP_BYTES + FLUSH_BYTES
        assert numbers(path.read_bytes()) == list(range(lost.lines, total))

    assert in_child(work) == 0


def test_a_log_that_can_never_be_written_counts_its_lines_when_it_closes(tmp_path: Path) -> None:
    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        lost = Lost()
        log = AccessLog(LogSettings(str(tmp_path / "access.log")), lost)
        log(finished())
        log(finished())
        log.close()
        assert lost.lines == 2

    assert in_child(work) == 0


def read_available(fd: int) -> bytes:
    data = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except BlockingIOError:
            return data
        if not piece:
            return data
        data += piece


def with_stdout(fd: int, work: Callable[[AccessLog, Lost], None]) -> Callable[[], None]:
    """`work` with a log on standard output, which is `fd`."""

    def run() -> None:
        os.dup2(fd, 1)
        lost = Lost()
        work(AccessLog(LogSettings("-"), lost), lost)

    return run


def test_a_pipe_that_nobody_reads_never_holds_the_worker() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETFL, os.O_NONBLOCK)

    def work(log: AccessLog, lost: Lost) -> None:
        for number in range(2000):  # several times what a pipe holds
            log(finished(number))
        log.flush()
        first = numbers(read_available(reading))
        assert first == list(range(len(first)))
        assert len(first) < 2000
        seen = first
        while len(seen) < 2000:
            log.flush()
            seen += numbers(read_available(reading))
        assert seen == list(range(2000))
        log.close()
        assert lost.lines == 0
        assert not fcntl.fcntl(1, fcntl.F_GETFL) & os.O_NONBLOCK  # our parent's output is as it was

    assert in_child(with_stdout(writing, work)) == 0
    os.close(reading)
    os.close(writing)


def test_a_line_too_long_for_a_pipe_is_shortened() -> None:
    reading, writing = os.pipe()

    def work(log: AccessLog, lost: Lost) -> None:
        log(finished(1, path=b"/" + b"x" * 6000))
        log(finished(2))
        log.close()

    assert in_child(with_stdout(writing, work)) == 0
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert numbers(pipe.read()) == [1, 2]


def test_a_pipe_without_a_reader_loses_lines_and_counts_them() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    def work(log: AccessLog, lost: Lost) -> None:
        log(finished())
        log.flush()
        log.close()
        assert lost.lines == 1

    assert in_child(with_stdout(writing, work)) == 0
    os.close(writing)


def test_a_socket_takes_whole_lines_and_is_never_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)

        def work(log: AccessLog, lost: Lost) -> None:
            for number in range(20_000):
                log(finished(number))
            log.flush()
            got = numbers(read_available(ours.fileno()))
            assert got == list(range(len(got)))
            assert 0 < len(got) < 20_000
            log.close()

        assert in_child(with_stdout(theirs.fileno(), work)) == 0


def test_standard_output_redirected_to_a_file_is_shared_with_other_writers(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as out:

        def work(log: AccessLog, lost: Lost) -> None:
            log(finished(1))
            log.flush()
            os.write(1, b'{"bytes_out":2}\n')  # what another process of ours says
            log(finished(3))
            log.reopen()
            log(finished(4))
            log.close()

        assert in_child(with_stdout(out.fileno(), work)) == 0
    assert numbers(path.read_bytes()) == [1, 2, 3, 4]
