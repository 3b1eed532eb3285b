"""Any version of HTTP, with or without TLS, by one face: for behaviour that must be the same in all.

    async with connect("h2+TLS", ends) as client:
        answer = await client.ask("/page")

`VERSIONS` are those that this edge speaks.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

from tests.support import client
from tests.support.aioquic_client import connect_h3
from tests.support.client import Answer
from tests.support.exchanges import Exchanges, Pairs
from tests.support.h1_client import H1Client
from tests.support.h2_client import H2Client

HAS_H3 = find_spec("worker.protocol.h3.connection") is not None
VERSIONS = ("h1", "h1+TLS", "h2", "h2+TLS", *(["h3"] if HAS_H3 else []))
HTTP1 = ("h1", "h1+TLS")
NAME = "edge.test"  # the site asked for when nothing else is said


@dataclass(frozen=True, slots=True)
class Ends:
    """Where an edge listens: ports of its http and its https listener; HTTP/3 has the latter's."""

    plain: int
    tls: int

    @classmethod
    def of(cls, urls: Iterable[str]) -> "Ends":
        """From the addresses that a cluster tells."""
        ports = {parts.scheme: parts.port for parts in map(urlsplit, urls)}
        return cls(ports.get("http") or 0, ports.get("https") or 0)

    def port(self, version: str) -> int:
        return self.tls if is_secure(version) else self.plain


def is_secure(version: str) -> bool:
    """Is its scheme https?"""
    return version == "h3" or version.endswith("+TLS")


def trusting(protocol: str) -> ssl.SSLContext:
    """A client that offers `protocol` and believes every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


@asynccontextmanager
async def connect(version: str, ends: Ends, *, authority: str = NAME) -> AsyncIterator[Exchanges]:
    """A client of one of VERSIONS. Over TLS nothing is verified."""
    port = ends.port(version)
    if version == "h3":
        async with connect_h3(port, authority=authority) as h3:
            yield h3
        return
    protocol = "h2" if version.startswith("h2") else "http/1.1"
    context = trusting(protocol) if is_secure(version) else None
    if version in HTTP1:
        async with H1Client(port, tls=context, authority=authority) as h1:
            yield h1
        return
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    scheme = "https" if context else "http"
    async with H2Client(reader, writer, scheme=scheme, authority=authority) as h2:
        yield h2


async def ask_over(
    version: str, ends: Ends, path: str, *, fields: str = "", method: str = "GET", name: str = NAME
) -> Answer:
    """`client.ask` over one of VERSIONS, on a connection of its own."""
    if version == "h1":
        return await client.ask(ends.plain, path, fields=fields, method=method, name=name)
    async with asyncio.timeout(client.PATIENCE_S), connect(version, ends, authority=name) as connection:
        came = await connection.ask(path, pairs(fields), method=method)
        return Answer(came.status, came.fields, bytes(came.body), came.ended)


async def ask_many_over(
    version: str, ends: Ends, path: str, count: int, *, fields: str = "", name: str = NAME
) -> list[Answer]:
    """`count` requests for the same path at the same time, each on its own connection."""
    asked = (ask_over(version, ends, path, fields=fields, name=name) for _ in range(count))
    return await asyncio.gather(*asked)


def pairs(lines: str) -> Pairs:
    """Names in lower case and values, of ready-made lines."""
    parts = (line.partition(":") for line in lines.splitlines())
    return [(name.lower(), value.strip()) for name, _, value in parts]
