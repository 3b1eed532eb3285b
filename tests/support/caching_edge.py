"""A whole edge in front of an origin whose answers are a table: what tests of caching rules drive.

with CachingEdge(tmp_path) as edge:
    path = edge.serve("Cache-Control: max-age=60")
    edge.ask(path)
    assert edge.ask(path).fields["cache-status"]...
"""

import asyncio
import copy
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.client import Answer
from tests.support.cluster import Cluster, settings, with_worker
from tests.support.exchanges import Exchanges
from tests.support.scripted_origin import Recorded, ScriptedOrigin, Step, answer
from tests.support.versions import Ends, ask_many_over, ask_over, connect
from worker.settings import CacheSettings

BODY = b"0123456789" * 100


class CachingEdge:
    """One route. Every request comes on a connection of its own, so any worker may get it."""

    def __init__(self, state_dir: Path, cache: CacheSettings | None = None, workers: int = 2) -> None:
        self._state_dir = state_dir
        self._cache = cache
        self._workers = workers
        self._answers: dict[str, Callable[[Recorded], Step]] = {}
        self._stack = ExitStack()
        self.over = "h1"

    def __enter__(self) -> Self:
        self.origin = self._stack.enter_context(ScriptedOrigin(self._answer))
        made = settings(
            self._state_dir,
            origin=self.origin.url,
            workers=self._workers,
            cache=self._cache,
            schemes=("http", "https"),
        )
        self.cluster = self._stack.enter_context(Cluster(with_worker(made, http2_plain=True)))
        self.ends = Ends.of(self.cluster.urls)
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

    def by(self, version: str) -> "CachingEdge":
        """The same edge, asked over another one of `versions.VERSIONS`."""
        other = copy.copy(self)
        other.over = version
        return other

    def ask(self, path: str, *fields: str, method: str = "GET") -> Answer:
        """One request with these field lines."""
        return asyncio.run(ask_over(self.over, self.ends, path, fields=_lines(fields), method=method))

    def ask_many(self, path: str, count: int, *fields: str) -> list[Answer]:
        """`count` requests at the same time."""
        return asyncio.run(ask_many_over(self.over, self.ends, path, count, fields=_lines(fields)))

    def connect(self) -> AbstractAsyncContextManager[Exchanges]:
        """A client whose answers may be read as they come."""
        return connect(self.over, self.ends)

    def asked(self, path: str) -> list[Recorded]:
        """The requests for `path` that reached the origin."""
        return [request for request in self.origin.requests if request.target == path]

    def _answer(self, request: Recorded) -> Step:
        return self._answers[request.target](request)


def _lines(fields: tuple[str, ...]) -> str:
    return "".join(f"{line}\r\n" for line in fields)


def cache_status(answer: Answer) -> list[str]:
    """The parameters of our Cache-Status member, in order."""
    ours = answer.fields["cache-status"].rpartition(", ")[2]
    name, *parameters = ours.split("; ")
    assert name == "edgecluster"
    return parameters


def is_hit(answer: Answer) -> bool:
    return cache_status(answer)[0] == "hit"
