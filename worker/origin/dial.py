"""Opening one connection to an origin: which of its addresses, in which order, and what went wrong.

Knows no request and does not count connections; that is the pool's business.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Sequence
from time import monotonic_ns
from typing import Any, Protocol, cast

import aiofastnet
from aiohappyeyeballs import start_connection

from worker.errors import EdgeError
from worker.origin.resolve import ResolveError, Resolver, is_numeric
from worker.origin.tls import client_context
from worker.reasons import Fault, Side
from worker.settings import OriginSettings

# How long a closing TLS connection waits for the other side's close_notify.
TLS_SHUTDOWN_S = 2.0

NEXT_ADDRESS_S = 0.25  # Connection Attempt Delay (RFC 8305 5)
AVOID_S = 10.0  # an address that failed is tried after all others for this long

# Our own want of descriptors, ports or memory, not the origin's failure.
_OUR_WANT = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN)
)

AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]  # as getaddrinfo gives it


class Connection(Protocol):
    """What is opened: a protocol of asyncio's."""

    address: str | None  # set when it is connected: numeric, of the other end


class Dialer:
    """Opens connections to one origin. Several addresses take turns, and race as RFC 8305 has it.

    `protocols` are offered in the TLS handshake.
    """

    def __init__(
        self, settings: OriginSettings, resolver: Resolver, protocols: tuple[str, ...] = ("http/1.1",)
    ) -> None:
        self.settings = settings
        self.tls = client_context(settings, protocols)
        self.resolver = resolver
        self.name = None if is_numeric(settings.host) else settings.host
        self.turns = 0
        self.failed_ns: dict[str, int] = {}  # when an address did last; only of names with several

    def addresses(self, now_ns: int) -> tuple[str, ...]:
        """What the origin's name stands for now, () while that is unknown or when it has none."""
        return () if self.name is None else self.resolver.addresses(self.name, now_ns)

    async def open(self, connection: Connection, timeout_s: float) -> None:
        """Connect. Raises a retryable EdgeError: nothing of any request was sent."""
        until_s = asyncio.get_running_loop().time() + timeout_s
        try:
            if self.name is None:
                addresses: tuple[str, ...] = (self.settings.host,)
            else:
                addresses = await self.resolver.resolve(self.name, timeout_s)
            async with asyncio.timeout_at(until_s):
                await self._connect(connection, addresses)
        except ResolveError as error:
            raise self._resolve_error(error) from error
        except OSError as error:
            raise self._connect_error(error, timeout_s) from error
        except ExceptionGroup as group:  # aiofastnet's, of its only attempt
            last = group.exceptions[-1]
            known = last if isinstance(last, OSError) else OSError(str(last))
            raise self._connect_error(known, timeout_s) from group

    async def _connect(self, connection: Connection, addresses: tuple[str, ...]) -> None:
        if len(addresses) == 1:
            await self._attach(connection, host=addresses[0], port=self.settings.port)
            connection.address = addresses[0]
            return
        sock, address = await self._race(self._in_order(addresses, monotonic_ns()))
        try:
            await self._attach(connection, sock=sock)
        except BaseException:
            sock.close()
            self.failed_ns[address] = monotonic_ns()
            raise
        connection.address = address

    async def _attach(self, connection: Connection, **to: Any) -> None:
        """Make it the protocol of a transport to `host` and `port`, or over `sock`."""
        loop = asyncio.get_running_loop()

        def factory() -> asyncio.Protocol:
            return cast(asyncio.Protocol, connection)  # all but the name: its class is compiled

        if self.tls is None:
            await loop.create_connection(factory, **to)
        else:
            settings = self.settings
            await aiofastnet.create_connection(
                loop,
                factory,
                **to,
                ssl=self.tls,
                server_hostname=settings.server_name or settings.host,
                ssl_handshake_timeout=settings.connect_timeout_s,
                ssl_shutdown_timeout=TLS_SHUTDOWN_S,
                all_errors=True,
            )

    async def _race(self, infos: Sequence[AddrInfo]) -> tuple[socket.socket, str]:
        """A socket connected to the first address that answers, and which that is."""
        tried: dict[socket.socket, str] = {}  # in the order of the attempts

        def open_socket(info: AddrInfo) -> socket.socket:
            sock = socket.socket(*info[:3])
            tried[sock] = info[4][0]
            return sock

        won = None
        try:
            won = await start_connection(
                infos, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1, socket_factory=open_socket
            )
        except RuntimeError as error:  # uvloop's word for some failures of a socket
            raise OSError(str(error)) from error
        finally:
            for sock, address in tried.items():  # those before the winner have failed, or were too slow
                if sock is won:
                    break
                self.failed_ns[address] = monotonic_ns()
        return won, tried[won]

    def _in_order(self, addresses: tuple[str, ...], now_ns: int) -> list[AddrInfo]:
        """The addresses in the order in which they are to be tried."""
        self.turns += 1
        for address in [a for a, at_ns in self.failed_ns.items() if now_ns - at_ns > AVOID_S * 1e9]:
            del self.failed_ns[address]
        infos = [_info(address, self.settings.port) for address in addresses]
        families = dict.fromkeys(info[0] for info in infos)  # the preferred one first
        turned = []
        for family in families:
            own = [info for info in infos if info[0] == family]
            first = self.turns % len(own)
            turned += own[first:] + own[:first]
        return sorted(turned, key=lambda info: info[4][0] in self.failed_ns)

    # what went wrong

    def _resolve_error(self, error: ResolveError) -> EdgeError:
        detail = f"cannot resolve {self.name}: {error}"
        if error.timed_out:
            return self._error(504, Fault.DNS_TIMEOUT, detail)
        return self._error(502, Fault.DNS, detail)

    def _connect_error(self, error: OSError, timeout_s: float) -> EdgeError:
        """What kept us from connecting, in the words of RFC 9209."""
        said = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            return self._error(504, Fault.CONNECT_TIMEOUT, f"no connection within {timeout_s:g} s")
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._error(502, Fault.TLS_CERTIFICATE, f"its certificate is not accepted: {said}")
        if isinstance(error, ssl.SSLError):
            return self._error(502, Fault.TLS, said)
        if isinstance(error, ConnectionRefusedError):
            return self._error(502, Fault.CONNECT_REFUSED, "connection refused")
        if error.errno in _OUR_WANT:
            return EdgeError(503, Side.EDGE, Fault.OVERLOAD, f"{self.settings.url}: {said}", retryable=True)
        if isinstance(error, ConnectionError):
            if self.tls is not None:
                return self._error(502, Fault.TLS, f"closed the connection during the handshake: {said}")
            return self._error(502, Fault.TERMINATED, f"closed the connection at once: {said}")
        return self._error(502, Fault.UNAVAILABLE, said)

    def _error(self, status: int, fault: Fault, detail: str) -> EdgeError:
        return EdgeError(status, Side.ORIGIN, fault, f"{self.settings.url}: {detail}", retryable=True)


def _info(address: str, port: int) -> AddrInfo:
    """What getaddrinfo says of a numeric address; it asks nobody for that."""
    (info, *_) = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return info
