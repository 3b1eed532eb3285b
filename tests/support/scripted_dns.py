"""A scripted DNS server on a free loopback port: names are answered as a table says, or not at all.

with ScriptedDns() as dns:
    dns.answers["origin.test"] = Records("127.0.0.1", "127.0.0.2", ttl_s=60)
    ...  # give the code under test `dns.address`
    assert dns.asked("origin.test") == 1

It speaks UDP and one question per message, which is all that resolvers ask for.
"""

import socket
import struct
import threading
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

A, AAAA = 1, 28
NXDOMAIN, SERVFAIL = 3, 2  # response codes (RFC 1035 4.1.1)
NOTHING = None  # the question is taken and never answered


@dataclass(frozen=True, slots=True)
class Records:
    """The addresses of a name; of the family nobody listed, it has none (NODATA)."""

    addresses: tuple[IPv4Address | IPv6Address, ...]
    ttl_s: int

    def __init__(self, *addresses: str, ttl_s: int = 60) -> None:
        object.__setattr__(self, "addresses", tuple(map(ip_address, addresses)))
        object.__setattr__(self, "ttl_s", ttl_s)

    def of(self, kind: int) -> list[bytes]:
        version = {A: 4, AAAA: 6}.get(kind)
        return [address.packed for address in self.addresses if address.version == version]


Script = Records | int | None


class ScriptedDns:
    """Use as a context manager. What no script names does not exist."""

    def __init__(self) -> None:
        self.answers: dict[str, Script] = {}
        self.questions: list[tuple[str, int]] = []  # (name, type) in the order they came
        self.changed = threading.Condition()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, name="scripted-dns", daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def asked(self, name: str, kind: int = A) -> int:
        """How often the records of a name were asked for."""
        return self.questions.count((name, kind))

    def wait_for(self, name: str, count: int, timeout_s: float = 30.0) -> None:
        """Block until a name has been asked for that often."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.asked(name) >= count, timeout_s)

    def __enter__(self) -> Self:
        self._socket.bind(("127.0.0.1", 0))
        self._thread.start()
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self._socket.getsockname())  # an empty datagram ends the server
        self._thread.join(30)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            message, peer = self._socket.recvfrom(4096)
            if not message:
                return
            name, kind, question = _question(message)
            with self.changed:
                self.questions.append((name, kind))
                self.changed.notify_all()
            script = self.answers.get(name, NXDOMAIN)
            if script is not NOTHING:
                self._socket.sendto(_answer(message[:2], question, kind, script), peer)


def _question(message: bytes) -> tuple[str, int, bytes]:
    """The name, the type, and the bytes of the question (RFC 1035 4.1.2)."""
    labels, at = [], 12
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels).lower(), *struct.unpack("!H", message[at + 1 : at + 3]), message[12 : at + 5]


def _answer(identity: bytes, question: bytes, kind: int, script: Records | int) -> bytes:
    """A response with recursion available; each record names the question's own name by a pointer."""
    code = script if isinstance(script, int) else 0
    records = [] if isinstance(script, int) else script.of(kind)
    ttl_s = 0 if isinstance(script, int) else script.ttl_s
    lines = b"".join(
        struct.pack("!HHHIH", 0xC00C, kind, 1, ttl_s, len(packed)) + packed for packed in records
    )
    return identity + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0) + question + lines
