"""Somebody on the supervisor's socket who gives prepared answers: for tests of those who ask."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.wire import frame, take

Answer = dict[str, Any]
Answers = Mapping[str, Callable[[], Answer]]

STATUS: Answer = {
    "ok": True, "pid": 4711, "version": "1.2.3", "state": "running", "uptime_s": 93784.5, "generation": 2,
    "reloading": False, "listeners": ["http://127.0.0.1:8080", "https://127.0.0.1:8443"],
    "http3": ["127.0.0.1:8443"], "admin": None, "config_path": None, "state_dir": "/state",
    "cache_bytes": 64 * 1024**2,
    "cache_start": "warm", "cache_start_reason": "the last supervisor left it whole",
    "cache_objects_kept": 1234, "cache_objects_damaged": 0,
    "workers": [
        {"lane": 0, "member": 1, "pid": 1, "state": "draining", "generation": 1, "restarts": 9},
        {"lane": 0, "member": 2, "pid": 2, "state": "ready", "generation": 2, "restarts": 1},
        {"lane": 1, "member": -1, "pid": 0, "state": "down", "generation": 2, "restarts": 2},
    ],
}  # fmt: skip
"""A cluster of two workers, one of which is down, with a third of an older generation still draining."""


@contextmanager
def answering(path: Path, answers: Answers) -> Iterator[None]:
    """Answer on `path`, one question per connection, as long as the block runs."""
    path.parent.mkdir(exist_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    thread = threading.Thread(target=_serve, args=(listening, answers))
    thread.start()
    try:
        yield
    finally:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(path))  # without a question: the end
        thread.join()
        listening.close()
        path.unlink()


def _serve(listening: socket.socket, answers: Answers) -> None:
    while True:
        peer, _ = listening.accept()
        with peer:
            buffer = bytearray()
            while (question := take(buffer)) is None:
                piece = peer.recv(4096)
                if not piece:
                    return
                buffer += piece
            peer.sendall(frame(answers[question["verb"]]()))
