"""Clients of an edge of bare workers: one request, or requests without pause."""

import contextlib
import http.client
import json
import threading
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

from tests.support.cluster import PATIENCE_S
from tests.support.without_pause import without_pause


def ask(url: str, path: str = "/") -> dict[str, Any]:
    """One request on a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer


def clients(url: str) -> AbstractContextManager[list[object]]:
    """Ask without pause, a connection for every request; what was answered or went wrong."""

    def turn(seen: list[object], _done: threading.Event) -> None:
        try:
            seen.append(ask(url)["name"])
        except Exception as error:
            seen.append(error)

    return without_pause(turn)
