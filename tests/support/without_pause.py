"""Clients that ask without pause while a test does something to the edge."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CLIENTS = 4

Turn = Callable[[list[object], threading.Event], None]


@contextmanager
def without_pause(turn: Turn) -> Iterator[list[object]]:
    """Let threads take turn after turn; what they have seen, in which each `turn(seen, done)` puts more.

    A turn that takes long ends early once `done` is set.
    """
    seen: list[object] = []
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            turn(seen, done)

    threads = [threading.Thread(target=run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in threads:
            thread.join()
