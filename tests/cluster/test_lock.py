"""One supervisor per state directory."""

import os
import signal
from pathlib import Path

import pytest

from cluster.errors import BootError
from cluster.lock import InstanceLock, run_dir, running_pid


def test_the_holder_is_known_by_pid_and_nothing_is_left_after_release(tmp_path: Path) -> None:
    assert running_pid(tmp_path) is None
    lock = InstanceLock(tmp_path)
    assert not lock.left_behind
    assert running_pid(tmp_path) == os.getpid()
    assert (run_dir(tmp_path) / "pid").read_text() == f"{os.getpid()}\n"
    lock.release()
    assert running_pid(tmp_path) is None
    assert not list(run_dir(tmp_path).iterdir())


def test_a_second_one_is_refused_naming_the_first(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path)
    with pytest.raises(BootError, match=rf"pid {os.getpid()}\) already runs on {tmp_path}"):
        InstanceLock(tmp_path)
    assert running_pid(tmp_path) == os.getpid()
    lock.release()
    InstanceLock(tmp_path).release()


def test_a_holder_that_was_killed_is_out_and_its_traces_are_noticed(tmp_path: Path) -> None:
    held, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        InstanceLock(tmp_path)
        os.write(told, b"+")
        signal.pause()
        os._exit(0)
    assert os.read(held, 1) == b"+"
    assert running_pid(tmp_path) == pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(held)
    os.close(told)
    assert running_pid(tmp_path) is None
    lock = InstanceLock(tmp_path)
    assert lock.left_behind
    lock.release()


def test_an_unusable_state_directory_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(BootError, match=r"cannot use the state directory .*--state-dir"):
        InstanceLock(tmp_path)
