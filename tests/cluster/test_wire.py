"""Frames and the control socket, over real sockets; the server runs in a thread of the test."""

import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import BootError
from cluster.wire import FRAME_BYTES, Answer, NotRunning, Reply, WireError, WireServer, call, frame, take

PATIENCE_S = 30.0


class Served:
    """A WireServer in its own thread, with verbs to try."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: list[Reply] = []
        self.selector = selectors.DefaultSelector()
        verbs = {"echo": self.echo, "later": self.later, "now": self.now, "large": self.large}
        self.server = WireServer(path, verbs, self.selector)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.ended.is_set():
            for key, events in self.selector.select(0.02):
                key.data(events)

    def echo(self, message: Answer, reply: Reply) -> None:
        reply({"ok": True, "message": message})

    def later(self, _message: Answer, reply: Reply) -> None:
        self.kept.append(reply)

    def now(self, _message: Answer, reply: Reply) -> None:
        for kept in self.kept:
            kept({"ok": True, "late": True})
        reply({"ok": True, "answered": len(self.kept)})

    def large(self, _message: Answer, reply: Reply) -> None:
        reply({"ok": True, "bytes": b"x" * (FRAME_BYTES - 100)})

    def close(self) -> None:
        self.ended.set()
        self.thread.join()
        self.server.close()
        self.selector.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "supervisor.sock")
    yield served
    served.close()


@given(
    st.lists(st.dictionaries(st.text(), st.one_of(st.none(), st.booleans(), st.text(), st.binary()))),
    st.data(),
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    messages: list[Answer], data: st.DataObject
) -> None:
    stream = b"".join(frame(message) for message in messages)
    buffer, taken = bytearray(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        buffer += stream[:cut]
        stream = stream[cut:]
        while (message := take(buffer)) is not None:
            taken.append(message)
    assert taken == messages
    assert not buffer


@pytest.mark.parametrize(
    "garbage",
    [struct.pack(">I", FRAME_BYTES + 1), struct.pack(">I", 1) + b"\xc1", frame({})[:3] + b"\x01\x05"],
    ids=["too-large", "not-msgpack", "not-a-map"],
)
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r"frame|msgpack"):
        take(bytearray(garbage))


def test_a_verb_gets_its_arguments_and_its_answer_comes_back(served: Served) -> None:
    assert call(served.path, "echo", names=["a"], n=1)["message"] == {"verb": "echo", "names": ["a"], "n": 1}


def test_an_unknown_verb_is_answered_with_the_known_ones(served: Served) -> None:
    answer = call(served.path, "dance")
    assert not answer["ok"]
    assert "echo, later, now" in answer["error"]


def test_an_answer_may_come_later_and_others_are_served_meanwhile(served: Served) -> None:
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(call(served.path, "later", timeout_s=PATIENCE_S)))
    thread.start()
    while not served.kept:
        call(served.path, "echo")
    assert call(served.path, "now")["answered"] == 1
    thread.join()
    assert answers == [{"ok": True, "late": True}]


def test_an_answer_larger_than_the_socket_takes_at_once_arrives_whole(served: Served) -> None:
    assert len(call(served.path, "large", timeout_s=PATIENCE_S)["bytes"]) == FRAME_BYTES - 100


def test_a_client_that_left_is_not_missed(served: Served) -> None:
    with pytest.raises(WireError, match="did not answer 'later' within"):
        call(served.path, "later", timeout_s=0.1)
    assert call(served.path, "now")["ok"]
    assert len(served.server.peers) <= 2


def test_a_client_that_sends_garbage_is_cut_and_the_server_lives_on(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PATIENCE_S)
        peer.connect(str(served.path))
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert peer.recv(10) == b""
    assert call(served.path, "echo")["ok"]


def test_nobody_listening_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="is the edge running"):
        call(tmp_path / "none.sock", "ping")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    with pytest.raises(NotRunning):
        call(tmp_path / "dead.sock", "ping")


def test_a_socket_file_left_behind_is_replaced_and_removed_at_the_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s.sock"))
    served = Served(tmp_path / "s.sock")
    assert (tmp_path / "s.sock").stat().st_mode & 0o777 == 0o600
    served.close()
    assert not (tmp_path / "s.sock").exists()


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with selectors.DefaultSelector() as selector, pytest.raises(BootError, match="too long"):
        WireServer(tmp_path / ("x" * 108), {}, selector)
