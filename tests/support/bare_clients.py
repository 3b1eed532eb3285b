"""Clients of an edge of bare workers: one request, or requests without pause."""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.support.cluster import PATIENCE_S


def ask(url: str, path: str = "/") -> dict[str, Any]:
    """One request on a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer


@contextlib.contextmanager
def clients(url: str, count: int = 4) -> Iterator[list[object]]:
    """Ask without pause, a connection for every request; what was answered or went wrong."""
    seen: list[object] = []
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            try:
                seen.append(ask(url)["name"])
            except Exception as error:
                seen.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in threads:
            thread.join()
