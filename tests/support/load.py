"""Keep-alive clients that check every byte they get and remember which connection broke.

A thread with its own loop drives `connections` connections; each asks for paths in turn and compares
the body with what the origin serves. A connection that breaks is recorded by its local port and replaced.
"""

import asyncio
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class LoadReport:
    """What the clients saw."""

    requests: int = 0
    hits: int = 0
    wrong_bodies: list[str] = field(default_factory=list)
    bad_statuses: list[str] = field(default_factory=list)
    broken_ports: list[int] = field(default_factory=list)  # local ports of connections that broke
    refused: int = 0  # connects that failed


class KeepAliveLoad:
    """`with KeepAliveLoad(...) as load:` runs until the block ends; then read `load.report`."""

    def __init__(
        self, port: int, expected: Mapping[str, bytes], connections: int, host: str = "127.0.0.1"
    ) -> None:
        self.report = LoadReport()
        self._address = (host, port)
        self._expected = expected
        self._connections = connections
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="load")

    def __enter__(self) -> "KeepAliveLoad":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping = True
        self._thread.join()

    def _main(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self._connections)))

    async def _client(self, number: int) -> None:
        choose = random.Random(number)
        paths = list(self._expected)
        while not self._stopping:
            try:
                reader, writer = await asyncio.open_connection(*self._address)
            except OSError:
                self.report.refused += 1
                await asyncio.sleep(0.02)
                continue
            port = writer.get_extra_info("sockname")[1]
            try:
                while not self._stopping:
                    await self._exchange(reader, writer, choose.choice(paths))
            except (OSError, asyncio.IncompleteReadError):
                self.report.broken_ports.append(port)
            finally:
                writer.close()
                try:
                    await writer.wait_closed()
                except OSError:
                    pass

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: edge.test\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.rstrip().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(fields["content-length"]))
        self.report.requests += 1
        self.report.hits += "hit" in fields.get("cache-status", "")
        if not status.startswith("HTTP/1.1 200"):
            self.report.bad_statuses.append(f"{path}: {status}")
        elif body != self._expected[path]:
            self.report.wrong_bodies.append(path)
