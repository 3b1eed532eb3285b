"""CPU time per request: how every number in this directory is taken.

A server's cost is the user and system time of all its processes and threads between two readings,
divided by the requests it answered in between. The server runs on one core, the load generator and
the origin on another; wall-clock rates are not used, because they measure the machine's other tenants.
"""

import atexit
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

SERVER_CORE = 0
LOAD_CORE = 1
QUIC_CONNECTIONS = 8
QUIC_PATIENCE_S = 60


def cpu_ns(pids: Sequence[int]) -> int:
    """Nanoseconds on a CPU so far, summed over all threads of `pids` and their descendants."""
    total = 0
    for pid in pids:
        try:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        for process in family:
            for stat in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
                total += int(stat.read_text().split()[0])
    return total


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk asks for; with `streams` at a time per connection, of h2load.

    `handshake`: version of TLS and "full" or "resumed", to make handshakes and ask for nothing.
    `quic`: so many requests on each of QUIC_CONNECTIONS connections of HTTP/3, again and again.
    """

    url: str
    script: Path | None = None
    connections: int = 64
    streams: int = 0
    fields: tuple[str, ...] = ()  # lines, for h2load
    handshake: tuple[str, str] | None = None
    quic: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured run."""

    requests: int
    cpu_us_per_request: float
    errors: int


def wrk(load: Load, seconds: int) -> tuple[int, int]:
    """(requests answered, errors) of one run on the load core. Errors: socket errors and any 4xx or 5xx."""
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s"]
    if load.script is not None:
        command += ["-s", str(load.script)]
    out = subprocess.run([*command, load.url], check=True, capture_output=True, text=True).stdout
    found = re.search(r"(\d+) requests in", out)
    if found is None:
        raise RuntimeError(f"wrk printed no request count:\n{out}")
    errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    socket = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    errors += sum(int(n) for n in socket.groups()) if socket else 0
    return int(found[1]), errors


def h2load(load: Load, seconds: int) -> tuple[int, int]:
    """`wrk`, by h2load."""
    command = ["taskset", "-c", str(LOAD_CORE), "h2load", "-t1", f"-c{load.connections}", f"-m{load.streams}"]
    command += [part for line in load.fields for part in ("-H", line)]
    done = subprocess.run(
        [*command, "-D", str(seconds), load.url], check=True, capture_output=True, text=True
    )
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
    if found is None:
        raise RuntimeError(f"h2load printed no request count:\n{done.stdout}")
    succeeded, *errors = (int(number) for number in found.groups())
    return succeeded, sum(errors)


def gtlsclient(load: Load, seconds: int) -> tuple[int, int]:
    """`wrk`, by ngtcp2's client: a process per connection, with as many streams as the server allows."""
    port = load.url.split(":")[2].partition("/")[0]
    command = ["taskset", "-c", str(LOAD_CORE), "gtlsclient", "-q", "--exit-on-all-streams-close"]
    command += ["-n", str(load.quic), "127.0.0.1", port, load.url]
    done = failed = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        clients = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(QUIC_CONNECTIONS)]
        for client in clients:
            if client.wait(QUIC_PATIENCE_S):
                failed += load.quic
            else:
                done += load.quic
    return done, failed


def handshakes(load: Load, seconds: int) -> tuple[int, int]:
    """`wrk`, by handshakes: how many were made, and how many failed."""
    assert load.handshake is not None
    port = load.url.split(":")[2].partition("/")[0]
    command = ["taskset", "-c", str(LOAD_CORE), str(native("handshakes")), port, str(seconds)]
    done = subprocess.run([*command, *load.handshake], check=True, capture_output=True, text=True)
    made, failed = re.findall(r"\d+", done.stdout)
    return int(made), int(failed)


@cache
def native(name: str) -> Path:
    """A program of `native/`, compiled now; in a directory that goes when we do."""
    directory = Path(tempfile.mkdtemp(prefix="edgecluster-bench-"))
    atexit.register(shutil.rmtree, directory)
    source = Path(__file__).with_name("native") / f"{name}.c"
    flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra"]
    libraries = ["-lssl", "-lcrypto", "-lpthread"]
    subprocess.run(["cc", *flags, str(source), "-o", str(directory / name), *libraries], check=True)
    return directory / name


def sample(pids: Sequence[int], load: Load, seconds: int) -> Sample:
    """Run the load once and charge the servers' CPU time to its requests."""
    run = handshakes if load.handshake else gtlsclient if load.quic else h2load if load.streams else wrk
    before = cpu_ns(pids)
    requests, errors = run(load, seconds)
    spent = cpu_ns(pids) - before
    return Sample(requests, spent / 1000 / max(requests, 1), errors)
