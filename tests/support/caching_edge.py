"""A whole edge in front of an origin whose answers are a table: what tests of caching rules drive.

with CachingEdge(tmp_path) as edge:
    path = edge.serve("Cache-Control: max-age=60")
    edge.ask(path)
    assert edge.ask(path).fields["cache-status"]...
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.support.client import Answer, ask
from tests.support.cluster import Cluster, settings, with_worker
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, answer
from tests.support.versions import ask_over
from worker.settings import CacheSettings

BODY = b"0123456789" * 100


class CachingEdge:
    """Two workers, one route. Every request comes on a connection of its own, so either worker may get it."""

    def __init__(self, state_dir: Path, cache: CacheSettings | None = None, over: str = "h1") -> None:
        """`over`: which of `versions.VERSIONS` the requests come by."""
        self._state_dir = state_dir
        self._over = over
        self._cache = cache
        self._answers: dict[str, Callable[[Recorded], Step]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        origin = self._stack.enter_context(ScriptedOrigin(self._answer))
        scheme = "https" if self._over.endswith("+TLS") else "http"
        made = settings(self._state_dir, origin=origin.url, workers=2, cache=self._cache, schemes=(scheme,))
        made = with_worker(made, http2_plain=True)
        port = urlsplit(self._stack.enter_context(Cluster(made)).url).port
        assert port is not None
        self.origin, self.port = origin, port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def serve(self, *headers: str, status: str = "200 OK", body: bytes = BODY) -> str:
        """A new path that is answered like this."""
        return self.script(lambda request: answer(body, status, headers))

    def script(self, handler: Callable[[Recorded], Step]) -> str:
        """A new path whose requests `handler` answers."""
        path = f"/{len(self._answers)}"
        self._answers[path] = handler
        return path

    def ask(self, path: str, *fields: str, method: str = "GET") -> Answer:
        """One request with these field lines."""
        lines = "".join(f"{line}\r\n" for line in fields)
        if self._over != "h1":
            return asyncio.run(ask_over(self._over, self.port, path, fields=lines, method=method))
        return asyncio.run(ask(self.port, path, fields=lines, method=method))

    def asked(self, path: str) -> list[Recorded]:
        """The requests for `path` that reached the origin."""
        return [request for request in self.origin.requests if request.target == path]

    def _answer(self, request: Recorded) -> Step:
        return self._answers[request.target](request)


def cache_status(answer: Answer) -> list[str]:
    """The parameters of our Cache-Status member, in order."""
    ours = answer.fields["cache-status"].rpartition(", ")[2]
    name, *parameters = ours.split("; ")
    assert name == "edgecluster"
    return parameters


def is_hit(answer: Answer) -> bool:
    return cache_status(answer)[0] == "hit"
