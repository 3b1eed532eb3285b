"""One request in any version of HTTP, with or without TLS: for behaviour that must be the same in all."""

import asyncio
import ssl

from tests.support.client import Answer, ask
from tests.support.h2_client import H2Client

VERSIONS = ("h1", "h1+TLS", "h2", "h2+TLS")


def trusting(protocol: str) -> ssl.SSLContext:
    """A client that offers `protocol` and believes every certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


async def ask_over(version: str, port: int, path: str, *, fields: str = "", method: str = "GET") -> Answer:
    """`client.ask` over one of VERSIONS, on a connection of its own. Over TLS nothing is verified."""
    context = trusting("h2" if version.startswith("h2") else "http/1.1") if version.endswith("+TLS") else None
    if version.startswith("h1"):
        return await ask(port, path, fields=fields, method=method, tls=context)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    pairs = [
        (name.lower(), value.strip())
        for name, _, value in (line.partition(":") for line in fields.splitlines())
    ]
    scheme = "https" if context else "http"
    async with H2Client(reader, writer, scheme=scheme, authority="edge.test") as client:
        came = await client.ask(path, pairs, method=method)
        return Answer(came.status, came.fields, bytes(came.body), came.ended)
