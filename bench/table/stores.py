"""The stores compared, each doing the same operations in loops as tight as Python allows.

An operation is a method that takes the keys to go over. A store that has no way to do one has no such
method. The peers get the nearest thing they have: what that is stands beside each.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import lmdb

from bench import peers
from shmcache import core

KILO, MEGA, PAGE = 1024, 1 << 20, 65536
SEGMENT_BYTES = 2 << 30
FILLED_BYTES = 256 << 20  # so small that every process has touched all of it before it is measured
NOW_NS, FOREVER_NS, SECOND_NS = 1_000_000_000, 1 << 62, 1_000_000_000
DATES: dict[str, Any] = {"now_ns": NOW_NS, "fresh_until_ns": FOREVER_NS, "keep_until_ns": FOREVER_NS}

Keys = Sequence[bytes]


class Store(Protocol):
    """What all have in common."""

    name: str
    pass_operations: int  # of one pass at most, so that slow ones come to an end
    servers: tuple[int, ...]  # processes whose CPU time is part of the cost

    def join(self, member: int) -> None:
        """Called in a forked child before anything else."""

    def put(self, keys: Keys, size: int) -> None:
        """Store for each key a body of its own."""

    def read(self, key: bytes) -> bytes:
        """The body of a key."""


def body_of(key: bytes, size: int) -> bytes:
    """The key, then zeros."""
    return key.ljust(size, b"\0")


class Shmcache:
    """The shared cache, as a worker calls it."""

    name = "shmcache, Python"
    pass_operations = 20_000
    servers: tuple[int, ...] = ()

    def __init__(self, segment: core.Segment) -> None:
        self._segment = segment
        self._cache = segment.cache
        self._clock_ns = NOW_NS

    def join(self, member: int) -> None:
        self._segment.join(member, NOW_NS)

    def put(self, keys: Keys, size: int) -> None:
        for key in keys:
            if not self._cache.put(key, b"", body_of(key, size), **DATES):
                raise RuntimeError(f"not stored: {key!r}")

    def read(self, key: bytes) -> bytes:
        hit = self._cache.get(key, NOW_NS)
        if hit is None:
            return b""
        return hit.body if isinstance(hit.body, bytes) else b"".join(hit.body.views())

    def get_copy(self, keys: Keys) -> None:
        get = self._cache.get
        for key in keys:
            get(key, NOW_NS)

    def get_pin(self, keys: Keys) -> None:
        get: Any = self._cache.get
        for key in keys:
            get(key, NOW_NS).body.release()

    def get_runs(self, keys: Keys) -> None:
        get: Any = self._cache.get
        for key in keys:
            body = get(key, NOW_NS).body
            body.views()
            body.release()

    def get_views(self, keys: Keys) -> None:
        get: Any = self._cache.get
        for key in keys:
            body = get(key, NOW_NS).body
            for at in range(0, MEGA, PAGE):
                body.views(at, at + PAGE)
            body.release()

    def set(self, keys: Keys) -> None:
        put, body = self._cache.put, bytes(KILO)
        for key in keys:
            put(key, b"", body, now_ns=NOW_NS, fresh_until_ns=FOREVER_NS, keep_until_ns=FOREVER_NS)

    def fill(self, keys: Keys) -> None:
        begin: Any = self._cache.begin
        piece = bytes(PAGE)
        for key in keys:
            filling = begin(
                key, b"", MEGA, now_ns=NOW_NS, fresh_until_ns=FOREVER_NS, keep_until_ns=FOREVER_NS
            )
            for _ in range(MEGA // PAGE):
                filling.write(piece)
            filling.publish()

    def take(self, keys: Keys) -> None:
        take = self._segment.buckets.take
        for key in keys:
            take(key, NOW_NS, 1, 1 << 40)

    def count(self, keys: Keys) -> None:
        take = self._segment.windows.take
        self._clock_ns += 7200 * SECOND_NS  # two windows later than the last pass: everything is granted
        now_ns = self._clock_ns
        for key in keys:
            take(key, now_ns, 3600, 200_000)

    def renew(self, keys: Keys) -> None:
        leases, now_ns = self._segment.leases, NOW_NS
        renew, progress = leases.renew, leases.progress
        _, ticket = leases.claim(b"of process %d" % os.getpid(), now_ns, SECOND_NS)
        for _ in keys:
            renew(ticket, now_ns, SECOND_NS)
            progress(ticket)
        leases.release(ticket, core.PUBLISHED)

    def lease(self, keys: Keys) -> None:
        claim, release = self._segment.leases.claim, self._segment.leases.release
        claimed, published = core.CLAIMED, core.PUBLISHED
        for key in keys:
            answer, ticket = claim(key, NOW_NS, SECOND_NS)
            if answer == claimed:
                release(ticket, published)

    def purge_tag(self, keys: Keys) -> None:
        purge = self._cache.purge_tag
        for key in keys:
            purge(key)

    def purge_tag_softly(self, keys: Keys) -> None:
        purge = self._cache.purge_tag
        for key in keys:
            purge(key, NOW_NS)

    def purge_directory(self, keys: Keys) -> None:
        purge = self._cache.purge_prefix
        directory = keys[0].rpartition(b"/")[0] + b"/"
        for _ in keys:
            purge(directory)


class Dict:
    """A plain dict, private to each process: no copy, no sharing, hashes kept in the keys. The ceiling."""

    name = "dict"
    pass_operations = 20_000
    servers: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._dict: dict[bytes, Any] = {}

    def join(self, member: int) -> None:
        pass

    def put(self, keys: Keys, size: int) -> None:
        self._dict.update((key, body_of(key, size)) for key in keys)

    def read(self, key: bytes) -> bytes:
        return bytes(self._dict[key])

    def nothing(self, keys: Keys) -> None:
        """The loop all the others stand in."""
        for _ in keys:
            pass

    def get_copy(self, keys: Keys) -> None:
        get = self._dict.get
        for key in keys:
            get(key)

    get_pin = get_copy
    get_runs = get_copy

    def get_views(self, keys: Keys) -> None:
        get: Any = self._dict.get
        for key in keys:
            view = memoryview(get(key))
            for at in range(0, MEGA, PAGE):
                view[at : at + PAGE]

    def set(self, keys: Keys) -> None:
        stored, body = self._dict, bytes(KILO)
        for key in keys:
            stored[key] = body

    def fill(self, keys: Keys) -> None:
        stored, piece = self._dict, bytes(PAGE)
        for key in keys:
            body = bytearray()
            for _ in range(MEGA // PAGE):
                body += piece
            stored[key] = body

    def take(self, keys: Keys) -> None:
        """A count that is raised; no rate is decided."""
        counts = self._dict
        for key in keys:
            counts[key] = counts.get(key, 0) + 1

    count = take

    def lease(self, keys: Keys) -> None:
        owners = self._dict
        for key in keys:
            owners.setdefault(key, 1)
            del owners[key]


class Lmdb:
    """LMDB on tmpfs, not synced: a transaction per operation."""

    name = "lmdb"
    pass_operations = 5_000
    servers: tuple[int, ...] = ()

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._env: Any = None

    def _open(self) -> Any:
        return lmdb.open(str(self._directory), map_size=SEGMENT_BYTES, sync=False, writemap=True)

    def join(self, member: int) -> None:
        """An environment does not live across a fork."""
        self._env = self._open()

    def put(self, keys: Keys, size: int) -> None:
        with self._open() as env, env.begin(write=True) as transaction:
            for key in keys:
                transaction.put(key, body_of(key, size))

    def read(self, key: bytes) -> bytes:
        with self._env.begin() as transaction:
            body: bytes = transaction.get(key, b"")
            return body

    def get_copy(self, keys: Keys) -> None:
        begin = self._env.begin
        for key in keys:
            with begin() as transaction:
                transaction.get(key)

    def get_pin(self, keys: Keys) -> None:
        """A view that is good until the transaction ends."""
        begin = self._env.begin
        for key in keys:
            with begin(buffers=True) as transaction:
                transaction.get(key)

    get_runs = get_pin

    def get_views(self, keys: Keys) -> None:
        begin = self._env.begin
        for key in keys:
            with begin(buffers=True) as transaction:
                view = transaction.get(key)
                for at in range(0, MEGA, PAGE):
                    view[at : at + PAGE]

    def set(self, keys: Keys) -> None:
        begin, body = self._env.begin, bytes(KILO)
        for key in keys:
            with begin(write=True) as transaction:
                transaction.put(key, body)

    def fill(self, keys: Keys) -> None:
        begin, body = self._env.begin, bytes(MEGA)
        for key in keys:
            with begin(write=True) as transaction:
                transaction.put(key, body)

    def take(self, keys: Keys) -> None:
        """A count that is raised; no rate is decided."""
        begin = self._env.begin
        for key in keys:
            with begin(write=True) as transaction:
                count = int.from_bytes(transaction.get(key, b""), "little") + 1
                transaction.put(key, count.to_bytes(8, "little"))

    count = take

    def lease(self, keys: Keys) -> None:
        begin = self._env.begin
        for key in keys:
            with begin(write=True) as transaction:
                transaction.put(key, b"owner", overwrite=False)
            with begin(write=True) as transaction:
                transaction.delete(key)


class Memcached:
    """memcached over a Unix socket, by a client of a few lines. Its own CPU time counts, too."""

    name = "memcached"
    pass_operations = 2_000

    def __init__(self, path: Path, pid: int) -> None:
        self._path = path
        self.servers: tuple[int, ...] = (pid,)
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(self._path))

    def join(self, member: int) -> None:
        self._connect()

    def _read(self, end: bytes) -> bytes:
        """An answer up to its end."""
        answer = self._socket.recv(MEGA)
        while not answer.endswith(end):
            answer += self._socket.recv(MEGA)
        return answer

    def _tell(self, command: bytes) -> bytes:
        """A command with an answer of one line."""
        self._socket.sendall(command)
        return self._read(b"\r\n")

    def put(self, keys: Keys, size: int) -> None:
        for key in keys:
            if self._tell(b"set %b 0 0 %d\r\n%b\r\n" % (key, size, body_of(key, size))) != b"STORED\r\n":
                raise RuntimeError(f"memcached did not store {key!r}")

    def read(self, key: bytes) -> bytes:
        self._socket.sendall(b"get %b\r\n" % key)
        return self._read(b"END\r\n").partition(b"\r\n")[2].removesuffix(b"\r\nEND\r\n")

    def get_copy(self, keys: Keys) -> None:
        send, read = self._socket.sendall, self._read
        for key in keys:
            send(b"get %b\r\n" % key)
            read(b"END\r\n")

    def set(self, keys: Keys) -> None:
        tell, body = self._tell, bytes(KILO)
        for key in keys:
            tell(b"set %b 0 0 %d\r\n%b\r\n" % (key, KILO, body))

    def fill(self, keys: Keys) -> None:
        tell, body = self._tell, bytes(MEGA)
        for key in keys:
            tell(b"set %b 0 0 %d\r\n%b\r\n" % (key, MEGA, body))

    def take(self, keys: Keys) -> None:
        """A count that is raised; no rate is decided."""
        tell = self._tell
        for key in keys:
            if tell(b"incr %b 1\r\n" % key) == b"NOT_FOUND\r\n":
                tell(b"add %b 0 0 1\r\n1\r\n" % key)

    count = take

    def lease(self, keys: Keys) -> None:
        tell = self._tell
        for key in keys:
            if tell(b"add %b 0 1 5\r\nowner\r\n" % key) == b"STORED\r\n":
                tell(b"delete %b\r\n" % key)


@contextlib.contextmanager
def segment(size_bytes: int = SEGMENT_BYTES, *, entries: int = 0) -> Iterator[core.Segment]:
    """A fresh segment, joined as member 0."""
    fd = os.memfd_create("bench")
    os.ftruncate(fd, size_bytes)
    made = core.Segment(fd, size_bytes, create=True, boot_id=b"bench", entries=entries)
    os.close(fd)
    made.join(0, NOW_NS)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def memcached(directory: Path) -> Iterator[Memcached]:
    """A server of our own, with the room the segment has."""
    if shutil.which("memcached") is None:
        raise SystemExit("bench: memcached not found; apt-get install memcached")
    path = directory / "memcached"
    user = pwd.getpwuid(os.getuid()).pw_name
    command = ["memcached", "-s", str(path), "-m", str(SEGMENT_BYTES >> 20), "-I", "4m", "-u", user]
    process = subprocess.Popen(command)
    try:
        for _ in range(200):
            if path.exists():
                break
            time.sleep(0.02)
        yield Memcached(path, process.pid)
    finally:
        process.terminate()
        process.wait()


def versions() -> dict[str, str]:
    """What was measured, for the record."""
    library = ".".join(str(number) for number in lmdb.version())
    return {
        **peers.machine(),
        "memcached": peers.first_line("memcached", "-V").split()[-1],
        "lmdb": f"{library} by py-lmdb {lmdb.__version__}",
    }
