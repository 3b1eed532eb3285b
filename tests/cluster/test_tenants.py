"""Who has a file mapped, and the end of those."""

import mmap
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import pytest

from cluster import tenants
from tests.support.processes import spawn, wait_exit


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as opened:
        opened.truncate(mmap.PAGESIZE)
        yield opened


def tenant(file: IO[bytes]) -> int:
    """A process that has the file mapped and takes no notice of SIGTERM."""
    reading, writing = os.pipe()

    def work() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with mmap.mmap(file.fileno(), mmap.PAGESIZE):
            os.write(writing, b"+")
            time.sleep(600)

    pid = spawn(work)
    assert os.read(reading, 1) == b"+"
    os.close(reading)
    os.close(writing)
    return pid


def test_only_those_that_map_this_very_file_are_found(file: IO[bytes]) -> None:
    pid, other = tenant(file), spawn(lambda: time.sleep(600))
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as another:
        another.truncate(mmap.PAGESIZE)
        stranger = tenant(another)
        assert tenants.tenants(file.fileno()) == {pid}
        assert tenants.tenants(another.fileno()) == {stranger}
    with mmap.mmap(file.fileno(), mmap.PAGESIZE):
        assert tenants.tenants(file.fileno()) == {pid}, "we are not our own tenant"
    for one in (pid, other, stranger):
        os.kill(one, signal.SIGKILL)
        wait_exit(one)


def test_a_tenant_is_killed_whatever_it_ignores(file: IO[bytes]) -> None:
    pid = tenant(file)
    assert tenants.kill(file.fileno(), pid)
    assert wait_exit(pid) == -signal.SIGKILL


def test_nobody_is_killed_who_has_let_go(file: IO[bytes]) -> None:
    bystander = spawn(lambda: time.sleep(600))
    assert tenants.kill(file.fileno(), bystander)
    os.kill(bystander, signal.SIGTERM)
    assert wait_exit(bystander) == -signal.SIGTERM
    assert tenants.kill(file.fileno(), bystander), "a pid that nobody has is gone"
