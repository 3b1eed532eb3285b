"""What the supervisor hands to a worker at the fork, and how a forked process answers it.

Plain data and two calls, free of the stages, so that the supervisor's side can name them.
"""

import mmap
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from shmcache.core import Segment
from worker.geo import Geo
from worker.networks import NetworkMap, SharedNetworks
from worker.settings import AccessSettings, JudgeSettings, ListenerSettings, WorkerSettings


class Exit(IntEnum):
    """What the exit code of a forked process tells its supervisor; every other value is a crash."""

    DRAINED = 0  # asked to end, and has ended well
    COULD_NOT_BOOT = 3  # another try will end the same way: it said why on its readiness pipe


@dataclass(frozen=True, slots=True)
class UdpListening:
    """Where HTTP/3 comes in.

    Workers of several generations have the same socket. All may send by it; which of them reads it once
    they drain says `readers`.
    """

    socket: socket.socket
    number: int  # of the address: what is handed over between workers names it
    readers: mmap.mmap  # by lane: the member that reads its socket; written by the supervisor


@dataclass(frozen=True, slots=True)
class Listening:
    """One address to serve, with the port really bound; `context` for https only, `udp` for HTTP/3."""

    settings: ListenerSettings
    socket: socket.socket
    context: ssl.SSLContext | None
    udp: UdpListening | None = None


@dataclass(frozen=True, slots=True)
class Http3Start:
    """What HTTP/3 needs beside its sockets."""

    secret: bytes  # 32 bytes, the same for every worker of the supervisor's life
    certificates: tuple[tuple[bytes, bytes], ...]  # PEM, chain and key; the first when no name is known
    inbox: socket.socket  # of this member
    outboxes: tuple[socket.socket, ...]  # by member


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """Everything the supervisor hands to a worker."""

    settings: WorkerSettings
    segment: Segment
    member: int  # its place in the segment
    lane: int  # its number among the workers
    listening: tuple[Listening, ...]
    doorbell: int  # its eventfd, non-blocking
    ready: int  # write end of its readiness pipe
    core: int | None  # the core to stay on
    geo: Geo | None = None
    lists: Mapping[AccessSettings, NetworkMap] = field(default_factory=dict)  # what the access lists hold
    bans: SharedNetworks | None = None
    judges: Mapping[JudgeSettings, Any] = field(default_factory=dict)  # the WAF's, as `compose` knows them
    count_rule: Callable[[str], None] | None = None  # counts a match of a rule of theirs
    http3: Http3Start | None = None  # None: no listener has it


def tell_ready(pipe: int) -> None:
    """Say that this process serves, and close the readiness pipe."""
    os.write(pipe, b"+")
    os.close(pipe)


def tell_failure(pipe: int, reason: str) -> None:
    """Say why this process cannot boot, and close the readiness pipe."""
    os.write(pipe, b"-" + reason.encode(errors="replace")[:4000])
    os.close(pipe)
