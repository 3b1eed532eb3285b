"""The supervisor's control socket: length-prefixed msgpack frames over a Unix socket.

A frame is four bytes of length (big-endian) and one msgpack map. A request names its `verb`; the answer
has `ok`, and `error` when that is false. The server side lives in the supervisor's selector and may
answer later; the client side is `call`.
"""

import logging
import os
import selectors
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgpack

from cluster.errors import BootError

log = logging.getLogger("edgecluster.supervisor")

FRAME_BYTES = 1024**2  # no request or answer comes near this: more is garbage
PATH_BYTES = 107  # sun_path less its final zero
_HEAD = struct.Struct(">I")

Answer = dict[str, Any]
Reply = Callable[[Answer], None]
Verb = Callable[[Answer, Reply], None]


class WireError(Exception):
    """The supervisor could not be asked, or did not answer as agreed."""


class NotRunning(WireError):
    """Nobody listens on that socket."""


def frame(message: Answer) -> bytes:
    """`message` as it goes on the wire. Raises ValueError above FRAME_BYTES."""
    body: bytes = msgpack.packb(message)
    if len(body) > FRAME_BYTES:
        raise ValueError(f"a frame of {len(body)} bytes exceeds {FRAME_BYTES}")
    return _HEAD.pack(len(body)) + body


def take(buffer: bytearray) -> Answer | None:
    """Cut the first whole frame off `buffer`; None when it is not whole yet. Raises ValueError on garbage."""
    if len(buffer) < _HEAD.size:
        return None
    (length,) = _HEAD.unpack_from(buffer)
    if length > FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes exceeds {FRAME_BYTES}")
    if len(buffer) < _HEAD.size + length:
        return None
    body = bytes(buffer[_HEAD.size : _HEAD.size + length])
    del buffer[: _HEAD.size + length]
    try:
        message = msgpack.unpackb(body)
    except Exception as error:  # msgpack raises a different type for every kind of damage
        raise ValueError(f"not msgpack: {error}") from error
    if not isinstance(message, dict):
        raise ValueError("a frame must hold a map")
    return message


def call(path: Path, verb: str, *, timeout_s: float = 10.0, **args: Any) -> Answer:
    """Ask the supervisor that listens on `path`; its answer.

    `timeout_s` bounds each wait for the peer, not the sum. Raises NotRunning when nobody listens and
    WireError when the answer does not come or cannot be read.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(timeout_s)
        try:
            peer.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"no supervisor listens on {path}: is the edge running?") from None
        except OSError as error:
            raise WireError(f"cannot reach the supervisor on {path}: {error}") from error
        try:
            peer.sendall(frame({"verb": verb, **args}))
            return _answer(peer)
        except TimeoutError:
            raise WireError(
                f"the supervisor on {path} did not answer {verb!r} within {timeout_s:g} s"
            ) from None
        except (OSError, ValueError) as error:
            raise WireError(f"the supervisor on {path} broke off {verb!r}: {error}") from error


def _answer(peer: socket.socket) -> Answer:
    buffer = bytearray()
    while (message := take(buffer)) is None:
        piece = peer.recv(65536)
        if not piece:
            raise ValueError("it closed the connection before the answer")
        buffer += piece
    return message


class WireServer:
    """The listening side; every callback runs in the supervisor's loop and none waits."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb], selector: selectors.BaseSelector) -> None:
        """Listen on `path` (0600), replacing a socket file nobody answers. Raises BootError."""
        self.path = path
        self.verbs = verbs
        self.selector = selector
        self.peers: set[_Peer] = set()
        if len(os.fsencode(path)) > PATH_BYTES:
            raise BootError(
                f"the state directory's path is too long: {path} has {len(os.fsencode(path))} bytes, a Unix "
                f"socket's at most {PATH_BYTES}; choose a shorter --state-dir"
            )
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self.listening.bind(os.fspath(path))
        except OSError as error:
            self.listening.close()
            raise BootError(f"cannot make the control socket {path}: {error.strerror}") from error
        finally:
            os.umask(mask)
        self.listening.listen(64)
        selector.register(self.listening, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Close everything and remove the socket file."""
        for peer in list(self.peers):
            peer.close()
        self.selector.unregister(self.listening)
        self.listening.close()
        self.path.unlink(missing_ok=True)

    def filenos(self) -> set[int]:
        return {self.listening.fileno(), *(peer.socket.fileno() for peer in self.peers)}

    def _accept(self, _events: int) -> None:
        try:
            accepted, _ = self.listening.accept()
        except OSError as error:  # gone again, or out of file descriptors
            log.warning("a control connection could not be accepted: %s", error)
            return
        accepted.setblocking(False)
        self.peers.add(_Peer(self, accepted))


class _Peer:
    """One client of the control socket."""

    def __init__(self, server: WireServer, accepted: socket.socket) -> None:
        self.server = server
        self.socket = accepted
        self.received = bytearray()
        self.unsent = bytearray()
        server.selector.register(accepted, selectors.EVENT_READ, self.on_event)

    def on_event(self, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._flush()
            if events & selectors.EVENT_READ:
                self._read()
        except (OSError, ValueError) as error:
            log.debug("control connection closed: %s", error)
            self.close()

    def close(self) -> None:
        if self in self.server.peers:
            self.server.peers.remove(self)
            self.server.selector.unregister(self.socket)
            self.socket.close()

    def reply(self, answer: Answer) -> None:
        """Send `answer`, now or as soon as the peer takes it; nothing happens when the peer has left."""
        if self not in self.server.peers:
            return
        self.unsent += frame(answer)
        try:
            self._flush()
        except OSError:
            self.close()

    def _read(self) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            self.close()
            return
        self.received += piece
        while (message := take(self.received)) is not None:
            verb = self.server.verbs.get(str(message.get("verb")))
            if verb is None:
                known = ", ".join(self.server.verbs)
                self.reply({"ok": False, "error": f"unknown verb {message.get('verb')!r}; known: {known}"})
            else:
                verb(message, self.reply)

    def _flush(self) -> None:
        try:
            del self.unsent[: self.socket.send(self.unsent)]
        except BlockingIOError:
            pass
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.unsent else 0)
        self.server.selector.modify(self.socket, wanted, self.on_event)
