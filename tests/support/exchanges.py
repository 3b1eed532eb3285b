"""What clients of every version of HTTP share: exchanges begun, and what has come of each so far."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

PATIENCE_S = 100.0  # for two hundred handshakes on a busy machine, too

Pairs = Sequence[tuple[str, str]]


@dataclass(slots=True)
class Arriving:
    """What has come on one stream so far."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)  # repeated lines joined with ", "
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    interim: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    ended: bool = False  # as announced: by END_STREAM, or the length
    reset: int | None = None  # the error code that cut it; 0 where the version knows none

    @property
    def is_over(self) -> bool:
        """Nothing more will come."""
        return self.ended or self.reset is not None


class Exchanges:
    """A connection's exchanges by stream id, and how to wait for them."""

    def __init__(self) -> None:
        self.answers: dict[int, Arriving] = {}
        self.closed = False
        self._news = asyncio.Event()

    def begin(
        self, path: str = "/", fields: Pairs = (), *, method: str = "GET", body: bytes | None = None,
        end: bool = True,
    ) -> int:  # fmt: skip
        """Send a request, and its body if that is known; its stream."""
        raise NotImplementedError

    async def upload(self, stream: int, pieces: Iterable[bytes], trailers: Pairs = ()) -> None:
        """Send the body of a request that was begun with `end=False`, as the other side allows."""
        raise NotImplementedError

    async def ask(
        self, path: str = "/", fields: Pairs = (), *, method: str = "GET", body: bytes | None = None
    ) -> Arriving:
        return await self.answer(self.begin(path, fields, method=method, body=body))

    async def answer(self, stream: int) -> Arriving:
        """The answer, once its stream has ended somehow."""
        answer = self.answers[stream]
        await self.until(lambda: answer.is_over or self.closed)
        return answer

    async def head(self, stream: int) -> Arriving:
        """The answer, once its final head is there, or nothing will come."""
        answer = self.answers[stream]
        await self.until(lambda: answer.status or answer.is_over or self.closed)
        return answer

    async def body(self, stream: int, size: int) -> bytes:
        """The next `size` bytes of the body; fewer when it has ended before."""
        answer = self.answers[stream]
        await self.until(lambda: len(answer.body) >= size or answer.is_over or self.closed)
        data = bytes(answer.body[:size])
        del answer.body[:size]
        return data

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that news from the edge make true."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_closed(self) -> None:
        await self.until(lambda: self.closed)


def joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names in lower case; repeated lines joined with ", "."""
    fields: dict[str, str] = {}
    for name, value in pairs:
        name = name.lower()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields
