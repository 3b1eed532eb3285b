"""A whole edge before a recording origin, an attacker in any version of HTTP, and a neighbour on each worker.

The neighbours are honest clients with a connection of their own to each worker: what the attacker left on a
pooled connection to the origin, one of them gets.
"""

import asyncio
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psutil
from hpack import Decoder, Encoder

from tests.support import h2_raw, h3_raw
from tests.support.cluster import Cluster, wait_until
from tests.support.configured_edge import configured_edge
from tests.support.h2_raw import Raw
from tests.support.h3_client import open_client
from tests.support.recording_origin import RecordingOrigin
from tests.support.strict_reader import Asked

PATIENCE_S = 30.0
BODY_TIMEOUT_S = 4.0
NEIGHBOURLY = b"/plain/neighbour/"

_CONFIG = """
listen: [http://127.0.0.1:0, https://127.0.0.1:0]
http2: {{plain: true}}
limits: {{body_timeout: {body_timeout}s, requests_per_connection: 1000000, idle_timeout: 300s}}
sites:
  - origin: {origin}
    redirects: [{{path: /moved/*, to: /new/$1}}]
    routes:
      - {{prefix: /stored/}}
      - {{prefix: /plain/, cache: false}}
      - {{prefix: /forbidden/, access: {{deny: [127.0.0.0/8]}}}}
"""

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [!-~ ]*")

Pairs = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    """One answer of the edge, or (status 0) the reset of its stream or connection."""

    status: int
    body: bytes = b""

    @property
    def refuses(self) -> bool:
        return self.status == 0 or self.status >= 400


class Client:
    """A connection in HTTP/1.1, byte by byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        """Send; no matter whether the edge still listens."""
        try:
            for piece in pieces:
                self.socket.sendall(piece)
        except OSError:
            pass

    def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next final answer; None at the end of the connection."""
        while True:
            while b"\r\n\r\n" not in self.held:
                if not self._more():
                    assert not self.held, self.held
                    return None
            head, _, self.held = self.held.partition(b"\r\n\r\n")
            line, *lines = head.split(b"\r\n")
            match = _STATUS_LINE.fullmatch(line)
            assert match is not None, line
            status = int(match[1])
            if status >= 200 or status == 101:
                break
        fields = {name.lower(): value.strip() for name, _, value in (one.partition(b":") for one in lines)}
        if to_head or status in (101, 204, 304):
            return Answer(status)
        if fields.get(b"transfer-encoding") == b"chunked":
            return Answer(status, self._chunks())
        length = fields.get(b"content-length")
        if length is None:
            body = self.rest()
            self.held = b""
            return Answer(status, body)
        return Answer(status, self._exactly(int(length)))

    def rest(self) -> bytes:
        """All that comes until the end of the connection."""
        while self._more():
            pass
        return self.held

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self.held:
                if not self._more():
                    return body
            size, _, self.held = self.held.partition(b"\r\n")
            piece = self._exactly(int(size, 16) + 2)
            body += piece[:-2]
            if len(piece) <= 2:
                return body

    def _exactly(self, size: int) -> bytes:
        while len(self.held) < size and self._more():
            pass
        piece, self.held = self.held[:size], self.held[size:]
        return piece

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self.held += data
        return bool(data)


class SmugglingEdge:
    """Two workers. Answers are kept below /stored/, not below /plain/; two other paths are answered early."""

    def __init__(self, cluster: Cluster, origin: RecordingOrigin) -> None:
        self.cluster = cluster
        self.origin = origin
        self.port, self.tls_port = (urlsplit(url).port or 0 for url in cluster.urls)
        self._authority = (cluster.settings.state_dir / "tls" / "ca.pem").read_bytes()
        self._neighbours: dict[int, Client] = {}
        self._count = 0
        self._seen = 0
        self._faults = 0
        for pid in cluster.pids:
            self._neighbours[pid] = self._neighbour_of(pid)

    def _neighbour_of(self, pid: int) -> Client:
        """A connection that this worker has accepted."""
        worker = psutil.Process(pid)

        def found() -> Client | None:
            client = Client(self.port)
            port = client.socket.getsockname()[1]
            client.send(b"GET %bfirst HTTP/1.1\r\nHost: edge.test\r\n\r\n" % NEIGHBOURLY)
            assert client.answer() == Answer(200, b"GET %bfirst" % NEIGHBOURLY)
            if any(one.raddr and one.raddr.port == port for one in worker.net_connections("tcp")):
                return client
            client.socket.close()
            return None

        client = wait_until(found)
        assert isinstance(client, Client)
        return client

    def new_path(self, below: str = "plain") -> bytes:
        """One that nobody has asked for."""
        self._count += 1
        return b"/%b/%d" % (below.encode(), self._count)

    def client(self) -> Client:
        return Client(self.port)

    def ask_as_neighbours(self) -> None:
        """Every neighbour asks, and gets what it asked for."""
        for client in self._neighbours.values():
            self._count += 1
            path = b"%b%d" % (NEIGHBOURLY, self._count)
            client.send(b"GET %b HTTP/1.1\r\nHost: edge.test\r\n\r\n" % path)
            assert client.answer() == Answer(200, b"GET " + path)
            assert not client.held

    def begin(self) -> None:
        """What comes from here on is for `got`."""
        self._seen, self._faults = len(self.origin.requests), len(self.origin.faults)

    def got(self) -> list[Asked]:
        """What the origin was asked since `begin`, but for the neighbours. Nothing of it was ambiguous."""
        assert not self.origin.faults[self._faults :]
        new = self.origin.requests[self._seen :]
        return [one for one in new if not one.target.startswith(NEIGHBOURLY)]

    # the attacker in HTTP/2 and HTTP/3

    def over(
        self, version: str, fields: Pairs, body: bytes | None, trailers: Pairs, path: bytes
    ) -> tuple[Answer, Answer]:
        """The answer to these fields, whatever they hold, and to an honest request for `path` behind it."""
        ask = self._over_h2 if version == "h2" else self._over_h3
        return asyncio.run(ask(fields, body, trailers, path))

    async def _over_h2(
        self, fields: Pairs, body: bytes | None, trailers: Pairs, path: bytes
    ) -> tuple[Answer, Answer]:
        raw = Raw(*await asyncio.open_connection("127.0.0.1", self.port))
        try:
            ends = h2_raw.END_HEADERS | h2_raw.END_STREAM
            frames = [
                h2_raw.frame(
                    h2_raw.HEADERS, h2_raw.END_HEADERS if body is not None else ends, 1, _block(fields)
                )
            ]
            if body is not None:
                frames.append(h2_raw.frame(h2_raw.DATA, 0 if trailers else h2_raw.END_STREAM, 1, body))
            if trailers:
                frames.append(h2_raw.frame(h2_raw.HEADERS, ends, 1, _block(trailers)))
            await raw.send(h2_raw.PREFACE + h2_raw.settings() + b"".join(frames))
            decoder = Decoder()
            first = await _h2_answer(raw, decoder, 1)
            await raw.send(h2_raw.frame(h2_raw.HEADERS, ends, 3, _block(honest(b"http", path))))
            return first, await _h2_answer(raw, decoder, 3)
        finally:
            await raw.end()

    async def _over_h3(
        self, fields: Pairs, body: bytes | None, trailers: Pairs, path: bytes
    ) -> tuple[Answer, Answer]:
        frames = h3_raw.frame(h3_raw.HEADERS, h3_raw.literal(list(fields)))
        if body is not None:
            frames += h3_raw.frame(h3_raw.DATA, body)
        if trailers:
            frames += h3_raw.frame(h3_raw.HEADERS, h3_raw.literal(list(trailers)))
        answers = []
        async with await open_client(self.tls_port, self._authority, authority="localhost") as client:
            for sent in (frames, h3_raw.frame(h3_raw.HEADERS, h3_raw.literal(honest(b"https", path)))):
                if client.closed:
                    answers.append(Answer(0))
                    continue
                came = await client.answer(client.open_request(sent, end=True))
                answers.append(Answer(came.status if came.ended else 0, bytes(came.body)))
        return answers[0], answers[1]


def honest(scheme: bytes, path: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of a plain GET."""
    return [(b":method", b"GET"), (b":scheme", scheme), (b":authority", b"edge.test"), (b":path", path)]


def _block(fields: Pairs) -> bytes:
    return bytes(Encoder().encode([(name, value, True) for name, value in fields]))


async def _h2_answer(raw: Raw, decoder: Decoder, stream: int) -> Answer:
    """The final answer on this stream; status 0 if that was reset or the connection ended."""
    status, body, at = 0, b"", 0
    async with asyncio.timeout(PATIENCE_S):
        while True:
            while at < len(raw.frames):
                kind, flags, on, payload = raw.frames[at]
                at += 1
                if on != stream:
                    continue
                if kind == h2_raw.RST_STREAM:
                    return Answer(0)
                if kind == h2_raw.HEADERS:
                    status = int(dict(decoder.decode(payload)).get(":status", status))
                elif kind == h2_raw.DATA:
                    body += payload
                if flags & h2_raw.END_STREAM and kind in (h2_raw.HEADERS, h2_raw.DATA):
                    return Answer(status, body)
            if raw.closed and at == len(raw.frames):
                return Answer(0)
            await asyncio.sleep(0.001)


@contextmanager
def smuggling_edge(directory: Path) -> Iterator[SmugglingEdge]:
    """Raises AssertionError at its end if anything was smuggled all the same."""
    with RecordingOrigin() as origin:
        text = _CONFIG.format(origin=origin.url, body_timeout=int(BODY_TIMEOUT_S))
        with configured_edge(directory, text) as edge:
            running = SmugglingEdge(edge.cluster, origin)
            yield running
            assert not [one for one in origin.requests if one.target.startswith(b"/smuggled")]
            assert not origin.faults
            assert all(worker["restarts"] == 0 for worker in edge.cluster.workers)
            assert "Traceback" not in edge.cluster.output
            for client in running._neighbours.values():
                client.socket.close()
