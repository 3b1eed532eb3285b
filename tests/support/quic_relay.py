"""A bad way between a client and a server of UDP: it loses, reorders and doubles a share of what passes."""

import asyncio
import random
import socket
from functools import partial

from worker.protocol.quic.link import Address

DELAY_S = 0.005


class BadWay:
    """Listens on `address` and passes on to `server` and back; each client is seen under a port of its own.

    `lost`, `late`, `doubled`: shares of the datagrams, each way, as `seed` has it.
    """

    def __init__(
        self, server: Address, *, lost: float = 0, late: float = 0, doubled: float = 0, seed: int = 0
    ) -> None:
        self._server = server
        self._lost, self._late, self._doubled = lost, late, doubled
        self._random = random.Random(seed)
        self._loop = asyncio.get_running_loop()
        self._backs: dict[Address, socket.socket] = {}
        self._front = self._open()
        self._front.bind(("127.0.0.1", 0))
        self._loop.add_reader(self._front, self._from_clients)
        self.address: Address = self._front.getsockname()
        self.dropped = 0

    async def __aenter__(self) -> "BadWay":
        return self

    async def __aexit__(self, *_: object) -> None:
        for sock in (self._front, *self._backs.values()):
            self._loop.remove_reader(sock)
            sock.close()

    def _open(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.setblocking(False)
        return sock

    def _from_clients(self) -> None:
        for data, client in self._waiting(self._front):
            back = self._backs.get(client)
            if back is None:
                back = self._backs[client] = self._open()
                back.connect(self._server)
                self._loop.add_reader(back, partial(self._from_server, back, client))
            self._carry(partial(self._give, back, data, None))

    def _from_server(self, back: socket.socket, client: Address) -> None:
        for data, _ in self._waiting(back):
            self._carry(partial(self._give, self._front, data, client))

    def _waiting(self, sock: socket.socket) -> list[tuple[bytes, Address]]:
        found: list[tuple[bytes, Address]] = []
        while True:
            try:
                found.append(sock.recvfrom(65536))
            except OSError:
                return found

    def _carry(self, give: "partial[None]") -> None:
        if self._random.random() < self._lost:
            self.dropped += 1
            return
        for _ in range(2 if self._random.random() < self._doubled else 1):
            if self._random.random() < self._late:
                self._loop.call_later(self._random.random() * DELAY_S, give)
            else:
                give()

    @staticmethod
    def _give(sock: socket.socket, data: bytes, to: Address | None) -> None:
        if sock.fileno() < 0:
            return
        if to is None:
            sock.send(data)
        else:
            sock.sendto(data, to)
