"""An origin on a free loopback port that keeps every byte it gets and answers only what it reads strictly.

Each connection has a thread with a plain socket. The answer to a request names its method and target, so that
nobody gets another's unnoticed; `scripts` has other answers, byte for byte.
"""

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import Self

from tests.support.strict_reader import Asked, NotStrict, read_head, read_request

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Script:
    """Answer with these bytes. `early`: as soon as the head is there. `late`: bytes behind the answer in a
    segment of their own; then wait until the edge has closed. `ends`: close behind it all."""

    answer: bytes
    early: bool = False
    late: bytes = b""
    ends: bool = False


@dataclass(slots=True)
class Connection:
    """What came on one connection. `rest`: the bytes that are no complete request yet."""

    number: int
    received: bytearray = field(default_factory=bytearray)
    requests: list[Asked] = field(default_factory=list)
    rest: bytes = b""
    ended: bool = False


class RecordingOrigin:
    """Use as a context manager."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.scripts: dict[bytes, Script] = {}  # by target
        self.faults: list[str] = []  # what no strict origin would have taken
        self._asked: list[Asked] = []
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._sockets: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def requests(self) -> list[Asked]:
        """All of them so far, in order."""
        with self._changed:
            return list(self._asked)

    def carriers(self, target: bytes) -> list[Connection]:
        """The connections that brought a request for `target`, or the beginning of one."""
        with self._changed:
            return [c for c in self.connections if b" %b HTTP/1.1\r\n" % target in c.received]

    def wait_until_ended(self, target: bytes) -> None:
        """Wait until the connections that brought a request for `target` are over."""
        carriers = self.carriers(target)
        with self._changed:
            ended = self._changed.wait_for(lambda: all(c.ended for c in carriers), PATIENCE_S)
        assert ended, "the edge keeps a connection that is not fit for another request"

    def wait_until_cut(self, word: bytes) -> None:
        """Wait until no connection is open on which half a request lies that contains `word`."""
        with self._changed:
            cut = self._changed.wait_for(
                lambda: all(c.ended for c in self.connections if word in c.rest), PATIENCE_S
            )
        assert cut, "the edge keeps a connection with half a request on it"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            sockets = list(self._sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                with self._changed:
                    connection = Connection(len(self.connections) + 1)
                    self.connections.append(connection)
                    self._sockets.add(accepted)
                thread = threading.Thread(target=self._serve, args=(accepted, connection), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, accepted: socket.socket, connection: Connection) -> None:
        try:
            with accepted, contextlib.suppress(OSError):
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while data := accepted.recv(65536):
                    with self._changed:
                        connection.received += data
                        connection.rest += data
                    if not self._answer(accepted, connection):
                        break
        except NotStrict as error:
            self.faults.append(f"{error.args[0]}: {bytes(connection.received)[-2000:]!r}")
        finally:
            with self._changed:
                self._sockets.discard(accepted)
                connection.ended = True
                self._changed.notify_all()

    def _answer(self, accepted: socket.socket, connection: Connection) -> bool:
        """Answer what has come; False when the connection is over."""
        answered = False  # before its body was there
        while connection.rest:
            head = read_head(connection.rest)
            if head is None:
                return True
            script = self.scripts.get(head[0].target)
            if script is not None and script.early and not answered:
                accepted.sendall(script.answer)
                answered = True
                if script.ends:
                    return False
            whole = read_request(connection.rest)
            if whole is None:
                return self._rest_of(accepted, connection) if answered else True
            asked, end = whole
            with self._changed:
                connection.requests.append(asked)
                self._asked.append(asked)
                connection.rest = connection.rest[end:]
                self._changed.notify_all()
            if script is None:
                accepted.sendall(usual_answer(asked))
            elif not self._play(accepted, script, answered):
                return False
            answered = False
        return True

    def _rest_of(self, accepted: socket.socket, connection: Connection) -> bool:
        """Read what still comes of a request that was answered early, until the edge closes."""
        while data := accepted.recv(65536):
            with self._changed:
                connection.received += data
                connection.rest += data
        return False

    def _play(self, accepted: socket.socket, script: Script, answered: bool) -> bool:
        if not answered:
            accepted.sendall(script.answer)
        if script.late:
            accepted.sendall(script.late)
            while accepted.recv(65536):
                pass
            return False
        return not script.ends


def usual_answer(asked: Asked) -> bytes:
    """Names what was asked for. Below /stored/ it may be stored."""
    body = b"%b %b" % (asked.method, asked.target)
    control = b"max-age=600" if asked.target.startswith(b"/stored/") else b"no-store"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: %b\r\nVary: X-Lang\r\n\r\n"
    return head % (len(body), control) + (b"" if asked.method == b"HEAD" else body)
