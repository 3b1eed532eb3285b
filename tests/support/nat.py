"""A network between a client and the edge: it may give the client another address, or lose datagrams."""

import asyncio
import random
from collections.abc import Callable
from types import TracebackType
from typing import Self

Address = tuple[str, int]
Take = Callable[[bytes, Address], None]


class Nat:
    """Relays UDP between one client and `server`. Clients talk to `port`."""

    def __init__(self, server: Address, *, loss: float = 0.0, seed: int = 1) -> None:
        """`loss`: the share of datagrams that get lost, either way; it may be changed."""
        self.server = server
        self.port = 0
        self.outside: list[int] = []  # the ports the server has seen, the last one in use
        self._listeners: list[tuple[Callable[[bytes], bool], asyncio.Event]] = []
        self.loss = loss
        self._random = random.Random(seed)
        self._client: Address | None = None
        self._inner: asyncio.DatagramTransport | None = None
        self._outer: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        self._inner = await self._open(self._from_client)
        self.port = self._inner.get_extra_info("sockname")[1]
        await self.rebind()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in range(3):  # turns of the loop, for what was sent last to go through
            await asyncio.sleep(0)
        for transport in (self._inner, self._outer):
            if transport is not None:
                transport.close()
        await asyncio.sleep(0)

    async def rebind(self) -> None:
        """From now on the client comes from another port; what is sent to the old one is lost."""
        old, self._outer = self._outer, await self._open(self._from_server)
        self.outside.append(self._outer.get_extra_info("sockname")[1])
        if old is not None:
            old.close()

    async def until_heard(self, wanted: Callable[[bytes], bool]) -> None:
        """Wait for a datagram of the server that is `wanted`."""
        heard = asyncio.Event()
        self._listeners.append((wanted, heard))
        await heard.wait()

    async def _open(self, take: Take) -> asyncio.DatagramTransport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _End(take), local_addr=("127.0.0.1", 0))
        return transport

    def _from_client(self, data: bytes, client: Address) -> None:
        self._client = client
        if self._outer is not None and not self._is_lost():
            self._outer.sendto(data, self.server)

    def _from_server(self, data: bytes, _server: Address) -> None:
        for wanted, heard in self._listeners:
            if wanted(data):
                heard.set()
        if self._inner is not None and self._client is not None and not self._is_lost():
            self._inner.sendto(data, self._client)

    def _is_lost(self) -> bool:
        return self._random.random() < self.loss


class _End(asyncio.DatagramProtocol):
    """One of its two sockets."""

    def __init__(self, take: Take) -> None:
        self._take = take

    def datagram_received(self, data: bytes, peer: Address) -> None:
        self._take(data, peer)
