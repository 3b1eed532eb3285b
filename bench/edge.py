"""What does a request cost at the whole server, beside nginx, HAProxy and Caddy in the same run?

For every row each server gets the same load in turn, several rounds, interleaved; the figure is the
median of CPU microseconds per request. Before a row is measured the answer is fetched through every
server and compared with the origin's bytes, and a hit row must really be a hit.
"""

import contextlib
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bench import peers
from bench.measure import Load, sample
from bench.peers import Peer

OBJECTS = 10_000
BROWSER_FIELDS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "https://www.example.org/some/page?with=query",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark; consent=1",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-User": "?1",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One question: which paths, which fields, over what."""

    name: str
    path: str = "/o/0.bin"
    zipf: bool = False
    browser: bool = False
    tls: bool = False
    expect_hit: bool = True
    h2: bool = False
    byte_range: tuple[int, int] | None = None  # first and last byte
    unchanged: bool = False  # the client has it already: If-None-Match with the right tag, answered by 304
    without: tuple[str, ...] = ()  # servers that cannot
    handshake: tuple[str, str] | None = None  # no request, but handshakes: `measure.Load`
    quic: int = 0  # over HTTP/3, so many requests per connection


ROWS = (
    Row("h1 hit, one hot object, bare fields"),
    Row("h1 hit, one hot object, 11 browser fields", browser=True),
    Row("h1 hit, Zipf over 10^4 objects, 11 browser fields", zipf=True, browser=True),
    Row("h1 hit over TLS, one hot object, bare fields", tls=True),
    Row("h1 hit over TLS, Zipf over 10^4 objects, 11 browser fields", tls=True, zipf=True, browser=True),
    Row("h2 hit over TLS, 16 connections x 32 streams, bare fields", tls=True, h2=True),
    Row("h2 hit over TLS, 16 connections x 32 streams, 11 browser fields", tls=True, h2=True, browser=True),
    Row("h2 64 KiB hit over TLS, 16 connections x 32 streams", tls=True, h2=True, path="/64k.bin"),
    Row("h3 hit, 8 connections, bare fields", tls=True, quic=1000),
    Row("h3 1 MiB hit, 8 connections", tls=True, quic=20, path="/1m.bin"),
    Row("full TLS 1.3 handshake, P-256", tls=True, handshake=("1.3", "full")),
    Row("resumed TLS 1.3 handshake, P-256", tls=True, handshake=("1.3", "resumed")),
    Row("full TLS 1.2 handshake, P-256", tls=True, handshake=("1.2", "full")),
    Row("resumed TLS 1.2 handshake, P-256", tls=True, handshake=("1.2", "resumed")),
    Row("64 KiB hit, bare fields", path="/64k.bin"),
    Row(
        "1 KiB range of a 64 KiB hit, bare fields", "/64k.bin", byte_range=(8192, 9215), without=("haproxy",)
    ),
    # wrk waits for the body that HAProxy's Content-Length in a 304 seems to announce.
    Row("304 of a hit, one hot object, bare fields", unchanged=True, without=("haproxy",)),
    Row("pass through to a keep-alive origin, no cache", path="/pass/o/0.bin", expect_hit=False),
)


@dataclass(slots=True)
class Result:
    """Median CPU us per request of each server on one row."""

    row: str
    cpu_us: dict[str, float] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)


def fields_of(row: Row, etag: str) -> dict[str, str]:
    """What the client sends; `etag` is the object's."""
    fields = dict(BROWSER_FIELDS) if row.browser else {}
    if row.byte_range is not None:
        fields["Range"] = f"bytes={row.byte_range[0]}-{row.byte_range[1]}"
    if row.unchanged:
        fields["If-None-Match"] = etag
    return fields


def wrk_script(path: Path, row: Row, fields: dict[str, str]) -> Path:
    """A Lua script for wrk: the fields, and for a Zipf row a fixed sequence of paths (alpha 0.9, seed 1)."""
    lines = [f"wrk.headers[{name!r}] = {value!r}" for name, value in fields.items()]
    if row.zipf:
        weights = [rank**-0.9 for rank in range(1, OBJECTS + 1)]
        order = Random(1).choices(range(OBJECTS), weights, k=40_000)
        listing = path.with_suffix(".txt")
        listing.write_text("\n".join(f"/o/{number}.bin" for number in order) + "\n")
        lines += [
            "requests, at = {}, 0",
            "function init(args)",
            f"  for path in io.lines({str(listing)!r}) do",
            "    requests[#requests + 1] = wrk.format('GET', path)",
            "  end",
            "end",
            "function request() at = at % #requests + 1; return requests[at] end",
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


def certificate(work: Path) -> tuple[Path, Path]:
    """A throw-away P-256 certificate that all servers share."""
    chain, key = work / "cert.pem", work / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=localhost", "-days", "2", "-keyout", str(key), "-out", str(chain)],
        check=True, capture_output=True,
    )  # fmt: skip
    return chain, key


def prove(peer: Peer, row: Row, expected: bytes, fields: dict[str, str], work: Path) -> None:
    """The server answers as it should, with the origin's bytes; a hit row is a hit by the second request."""
    url = (peer.https if row.tls else peer.http) + row.path
    status = 304 if row.unchanged else 206 if row.byte_range is not None else 200
    if row.byte_range is not None:
        expected = expected[row.byte_range[0] : row.byte_range[1] + 1]
    for _ in range(2):
        answer = peers.fetch_by_quic(url, work) if row.quic else peers.fetch(url, fields)
        if answer.status != status or answer.body != (b"" if row.unchanged else expected):
            raise RuntimeError(f"{peer.name}: {row.name}: wrong answer {answer.status} {answer.fields}")
    if peer.name == "caddy":  # has no cache
        return
    is_hit = "age" in answer.fields or answer.fields.get("x-cache", "").upper().startswith("HIT")
    if (
        is_hit != row.expect_hit and not row.unchanged
    ):  # a 304 need not tell, and nobody asks the origin for one
        raise RuntimeError(f"{peer.name}: {row.path}: hit expected {row.expect_hit}, got {answer.fields}")


def can(peer: Peer, row: Row) -> bool:
    """Caddy is here for HTTP/3, which the other peers do not speak as Debian has them."""
    return peer.quic if row.quic else peer.name != "caddy"


def load_of(row: Row, peer: Peer, work: Path, fields: dict[str, str]) -> Load:
    """What to ask a server for."""
    url = (peer.https if row.tls else peer.http) + row.path
    if row.handshake or row.quic:
        return Load(url, handshake=row.handshake, quic=row.quic)
    if row.h2:
        lines = tuple(f"{name.lower()}: {value}" for name, value in fields.items())
        return Load(url, connections=16, streams=32, fields=lines)
    return Load(url, wrk_script(work / "load.lua", row, fields) if row.zipf or fields else None)


def measure_row(
    row: Row, servers: list[Peer], origin_url: str, work: Path, rounds: int, seconds: int
) -> Result:
    """All servers in turn, `rounds` times."""
    origin_answer = peers.fetch(origin_url + row.path)
    fields = fields_of(row, origin_answer.fields["etag"])
    servers = [peer for peer in servers if peer.name not in row.without and can(peer, row)]
    samples: dict[str, list[float]] = {peer.name: [] for peer in servers}
    result = Result(row.name, errors={peer.name: 0 for peer in servers})
    loads = {peer.name: load_of(row, peer, work, fields) for peer in servers}
    for peer in servers:
        prove(peer, row, origin_answer.body, fields, work)
        sample(peer.pids, loads[peer.name], 5 if row.zipf else 1)  # warm: fills the cache
    for _ in range(rounds):
        for peer in servers:
            taken = sample(peer.pids, loads[peer.name], seconds)
            samples[peer.name].append(taken.cpu_us_per_request)
            result.errors[peer.name] += taken.errors
            time.sleep(0.1)  # the last connections' closing is nobody's cost
    result.cpu_us = {name: statistics.median(values) for name, values in samples.items()}
    return result


def table(results: list[Result], names: list[str]) -> str:
    """The results as Markdown, with edgecluster's ratio to each peer."""
    others = [name for name in names if name != "edgecluster"]
    head = ["CPU us per request", *names, *(f"edgecluster / {name}" for name in others)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for result in results:
        ours = result.cpu_us.get("edgecluster")
        measured = result.cpu_us
        cells = [result.row, *(f"{measured[name]:.1f}" if name in measured else "-" for name in names)]
        cells += [f"{ours / measured[name]:.2f}" if ours and name in measured else "-" for name in others]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(rounds: int, seconds: int, only: str, out: Path | None) -> list[Result]:
    """Start everything, measure every row whose name contains `only`, print the table."""
    if missing := peers.missing_programs():
        raise SystemExit(
            f"bench: {', '.join(missing)} not found; "
            "apt-get install nginx haproxy caddy wrk nghttp2-client ngtcp2-client openssl"
        )
    results: list[Result] = []
    with (
        tempfile.TemporaryDirectory(prefix="edgecluster-bench-") as directory,
        contextlib.ExitStack() as stack,
    ):
        work = Path(directory)
        work.chmod(0o755)  # nginx drops root and still has to read the tree
        peers.make_tree(work / "tree", OBJECTS)
        chain, key = certificate(work)
        origin_port = stack.enter_context(peers.origin(work))
        servers = [
            stack.enter_context(peers.edgecluster(work, origin_port, chain, key)),
            stack.enter_context(peers.nginx(work, origin_port, chain, key, full=False)),
            stack.enter_context(peers.nginx(work, origin_port, chain, key, full=True)),
            stack.enter_context(peers.haproxy(work, origin_port, chain, key)),
            stack.enter_context(peers.caddy(work, chain, key)),
        ]
        rows = [row for row in ROWS if only in row.name]
        names = [peer.name for peer in servers if any(can(peer, row) for row in rows)]
        for row in rows:
            result = measure_row(row, servers, f"http://127.0.0.1:{origin_port}", work, rounds, seconds)
            print(table([result], names).splitlines()[-1], flush=True)
            if any(result.errors.values()):
                print(f"  errors: {result.errors}", flush=True)
            results.append(result)
        record = peers.versions()
    print("\n" + ", ".join(f"{name} {value}" for name, value in record.items()), f"({time.strftime('%F')})\n")
    print(table(results, names))
    if out is not None:
        peers.dump(out, {"machine": record, "rows": [{"row": r.row, "cpu_us": r.cpu_us} for r in results]})
    return results
