"""Client certificates: who is asked, who is let in, what origin and log are told, and no way around it.

One edge with several sites behind one certificate of its own, which tell apart nothing but what clients show.
"""

import asyncio
import base64
import hashlib
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.client import Answer
from tests.support.cluster import PATIENCE_S, wait_until
from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.h2_client import H2Client
from tests.support.scripted_origin import Recorded, ScriptedOrigin, answer

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

# secure.test and also.test ask for A, other.test for B, maybe.test serves others too, open.test asks not.
CONFIG = """
listen: [https://127.0.0.1:0, http://127.0.0.1:0]
admin: http://127.0.0.1:0
log: {path: access.log}
tls: {certificate: edge.pem, key: edge.key}
sites:
  - {hosts: [secure.test], origin: ORIGIN, https_only: false, client_certificate: {ca_file: a.pem}}
  - {hosts: [also.test], origin: ORIGIN, https_only: false, client_certificate: {ca_file: a.pem}}
  - {hosts: [other.test], origin: ORIGIN, https_only: false, client_certificate: {ca_file: b.pem}}
  - {hosts: [moved.test], origin: ORIGIN, https_only: true, client_certificate: {ca_file: a.pem}}
  - hosts: [maybe.test, "*.maybe.test"]
    origin: ORIGIN
    https_only: false
    client_certificate: {ca_file: a.pem, required: false}
    routes: [{prefix: /admin, client_certificate: required}]
  - {hosts: [open.test, open.maybe.test], origin: ORIGIN}
"""
HOSTS = (
    "secure.test", "also.test", "other.test", "moved.test", "maybe.test", "x.maybe.test", "open.maybe.test",
    "open.test",
)  # fmt: skip


@dataclass
class Shown:
    """A client's certificate, as files."""

    path: str
    der: bytes = field(repr=False)

    @property
    def fields(self) -> dict[str, str]:
        """What an origin is told of it."""
        subject = x509.load_der_x509_certificate(self.der).subject.rfc4514_string()
        return {
            "client-cert": f":{base64.b64encode(self.der).decode()}:",
            "x-client-certificate-subject": subject,
            "x-client-certificate-fingerprint": hashlib.sha256(self.der).hexdigest(),
        }


class Bench:
    """The edge, its origin and its clients."""

    def __init__(self, folder: Path, edge: ConfiguredEdge, origin: ScriptedOrigin) -> None:
        self.folder, self.edge, self.origin = folder, edge, origin
        https, http = (urlsplit(url).port for url in edge.cluster.urls)
        assert https is not None
        assert http is not None
        self.https, self.http = https, http
        self.paths = 0

    def path(self, prefix: str = "/") -> str:
        """One that was not asked for before."""
        self.paths += 1
        return f"{prefix}{self.paths}"

    def told(self, path: str) -> Recorded | None:
        """What reached the origin for that path."""
        return next((one for one in self.origin.requests if one.target == path), None)

    def told_of_client(self, path: str) -> dict[str, str]:
        """What it was told of the client's certificate."""
        request = self.told(path)
        assert request is not None
        return {name: value for name, value in request.headers.items() if "client" in name and "cert" in name}

    def logged(self, path: str) -> dict[str, object]:
        """The line of the access log."""

        def find() -> dict[str, object] | None:
            lines = map(json.loads, (self.folder / "access.log").read_text().splitlines())
            return next((line for line in lines if line.get("path") == path), None)

        line: dict[str, object] = wait_until(find)
        return line

    def metric(self, name: str) -> float:
        text = urlopen(f"{self.edge.cluster.admin_url}/metrics").read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


class Client:
    """TLS with one context, a connection for each request; sessions go on by `session`."""

    def __init__(
        self, bench: Bench, shown: Shown | None = None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> None:
        self.bench = bench
        self.context = ssl.create_default_context(cafile=os.fspath(bench.folder / "root.pem"))
        self.context.minimum_version = self.context.maximum_version = version
        if shown is not None:
            self.context.load_cert_chain(shown.path)
        self.session: ssl.SSLSession | None = None
        self.resumed = False

    def ask(self, name: str, path: str, *fields: str, host: str = "") -> tuple[int, bytes]:
        """Ask for `name` in the handshake, for `host` or the same in Host. Status; all that came."""
        with (
            socket.create_connection(("127.0.0.1", self.bench.https), PATIENCE_S) as plain,
            self.context.wrap_socket(plain, server_hostname=name, session=self.session) as sock,
        ):
            lines = "".join(f"{line}\r\n" for line in fields)
            head = f"GET {path} HTTP/1.1\r\nHost: {host or name}\r\nConnection: close\r\n{lines}\r\n"
            sock.sendall(head.encode())
            said = b""
            while piece := sock.recv(65536):
                said += piece
            self.session, self.resumed = sock.session, bool(sock.session_reused)
            return int(said[9:12]), said


@pytest.fixture(scope="module")
def authorities() -> dict[str, trustme.CA]:
    return {name: trustme.CA(organization_name=f"authority {name}") for name in "ab"}


@pytest.fixture(scope="module")
def show(
    authorities: dict[str, trustme.CA], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Shown]:
    folder = tmp_path_factory.mktemp("clients")

    def show(authority: str) -> Shown:
        ca = authorities[authority] if authority in authorities else trustme.CA()
        pair = ca.issue_cert(f"me@{authority}.test", organization_name="Zoë, Inc")
        path = folder / f"{authority}.pem"
        path.write_bytes(pair.private_key_and_cert_chain_pem.bytes())
        leaf = x509.load_pem_x509_certificate(pair.cert_chain_pems[0].bytes())
        return Shown(os.fspath(path), leaf.public_bytes(Encoding.DER))

    return show


def respond(request: Recorded) -> bytes:
    if request.target.startswith("/stored"):
        return answer(b"stored", headers="Cache-Control: max-age=60")
    if request.target.startswith("/public"):
        return answer(b"public", headers="Cache-Control: public, max-age=60")
    if request.target.startswith("/varied"):
        said = request.headers.get("x-client-certificate-fingerprint", "nobody")
        return answer(
            said.encode(),
            headers=["Cache-Control: public, max-age=60", "Vary: X-Client-Certificate-Fingerprint"],
        )
    return answer(b"page", headers="Cache-Control: no-store")


@pytest.fixture(scope="module")
def bench(authorities: dict[str, trustme.CA], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("edge")
    root = trustme.CA()
    root.cert_pem.write_to_path(os.fspath(folder / "root.pem"))
    pair = root.issue_cert(*HOSTS)
    (folder / "edge.pem").write_bytes(pair.cert_chain_pems[0].bytes() + root.cert_pem.bytes())
    pair.private_key_pem.write_to_path(os.fspath(folder / "edge.key"))
    for name, authority in authorities.items():
        authority.cert_pem.write_to_path(os.fspath(folder / f"{name}.pem"))
    with (
        ScriptedOrigin(respond) as origin,
        configured_edge(folder, CONFIG.replace("ORIGIN", origin.url)) as edge,
    ):
        yield Bench(folder, edge, origin)


Show = Callable[[str], Shown]
SPOOFED = (
    "Client-Cert: :c3Bvb2Y=:",
    "Client-Cert-Chain: :c3Bvb2Y=:",
    "X-Client-Certificate-Subject: CN=root",
    "x-client-certificate-fingerprint: 00",
)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_who_shows_a_certificate_is_let_in_and_the_origin_and_the_log_are_told(
    bench: Bench, show: Show, version: ssl.TLSVersion
) -> None:
    mine, path = show("a"), bench.path()
    assert Client(bench, mine, version).ask("secure.test", path, *SPOOFED)[0] == 200
    told = bench.told_of_client(path)
    assert told["client-cert"] == mine.fields["client-cert"]
    assert told["x-client-certificate-fingerprint"] == mine.fields["x-client-certificate-fingerprint"]
    # What no field may carry is escaped (RFC 4514 2.4).
    assert "O=Zo\\C3\\AB\\, Inc" in told["x-client-certificate-subject"]
    assert "client-cert-chain" not in told
    line = bench.logged(path)
    assert line["client_fingerprint"] == told["x-client-certificate-fingerprint"]
    assert line["client_subject"] == told["x-client-certificate-subject"]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_who_shows_none_gets_403_with_its_reason(bench: Bench, version: ssl.TLSVersion) -> None:
    path = bench.path()
    status, said = Client(bench, None, version).ask("secure.test", path, *SPOOFED)
    assert status == 403
    assert b"This site asks for a client certificate, and none was shown." in said
    assert bench.told(path) is None
    assert bench.logged(path)["block"] == "client-certificate"


@pytest.mark.parametrize("authority", ["b", "nobody"])
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_certificate_nobody_vouches_for_ends_the_handshake_and_is_counted(
    bench: Bench, show: Show, authority: str, version: ssl.TLSVersion
) -> None:
    before = bench.metric("edgecluster_tls_handshake_failures_total")
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown[ _]ca"):
        Client(bench, show(authority), version).ask("secure.test", bench.path())
    wait_until(lambda: bench.metric("edgecluster_tls_handshake_failures_total") == before + 1)


def test_an_expired_certificate_ends_the_handshake(
    bench: Bench, authorities: dict[str, trustme.CA], tmp_path: Path
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    pair = authorities["a"].issue_cert("late@a.test", not_after=yesterday)
    (tmp_path / "late.pem").write_bytes(pair.private_key_and_cert_chain_pem.bytes())
    late = Shown(os.fspath(tmp_path / "late.pem"), b"")
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate[ _]expired"):
        Client(bench, late).ask("secure.test", bench.path())


def test_where_it_is_optional_who_shows_none_is_served_and_never_believed(bench: Bench, show: Show) -> None:
    path = bench.path()
    assert Client(bench).ask("maybe.test", path, *SPOOFED)[0] == 200
    assert bench.told_of_client(path) == {}
    path = bench.path()
    assert Client(bench, show("a")).ask("maybe.test", path)[0] == 200
    assert bench.told_of_client(path)["client-cert"].startswith(":MII")


def test_a_route_may_require_what_its_site_does_not(bench: Bench, show: Show) -> None:
    assert Client(bench).ask("maybe.test", bench.path("/admin/"))[0] == 403
    assert Client(bench, show("a")).ask("x.maybe.test", bench.path("/admin/"))[0] == 200


def test_a_site_that_does_not_ask_tells_nothing_and_strips_what_clients_claim(
    bench: Bench, show: Show
) -> None:
    for name in ("open.test", "open.maybe.test"):
        path = bench.path()
        assert Client(bench, show("a")).ask(name, path, *SPOOFED)[0] == 200
        assert bench.told_of_client(path) == {}


@pytest.mark.parametrize(
    ("asked", "host", "shows", "status"),
    [
        ("open.test", "secure.test", "a", 421),
        ("open.test", "maybe.test", "a", 421),
        ("open.test", "secure.test:443", "a", 421),
        ("open.test", "SECURE.test.", "a", 421),
        ("other.test", "secure.test", "b", 421),
        ("secure.test", "other.test", "a", 421),
        ("secure.test", "also.test", "a", 200),  # the same authorities were asked
        ("maybe.test", "secure.test", "", 403),
        ("secure.test", "open.test", "a", 200),
        ("open.maybe.test", "x.maybe.test", "a", 421),
    ],
)
@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_the_name_in_host_is_no_way_around_the_name_in_the_handshake(
    bench: Bench, show: Show, protocol: str, asked: str, host: str, shows: str, status: int
) -> None:
    client, path = Client(bench, show(shows) if shows else None), bench.path()
    if protocol == "h1":
        assert client.ask(asked, path, host=host)[0] == status
    else:
        (got,) = over_h2(client, asked, (host, path))
        assert got.status == status
    assert (bench.told(path) is not None) is (status == 200)
    if host == "open.test":
        assert bench.told_of_client(path) == {}  # it did not ask
    if status == 421:
        assert bench.logged(path)["fault"] == "misdirected-request"


def over_h2(client: Client, name: str, *requests: tuple[str, str]) -> list[Answer]:
    """Several requests, (authority, path), on one connection."""
    client.context.set_alpn_protocols(["h2"])
    got: list[Answer] = []

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", client.bench.https, ssl=client.context, server_hostname=name
        )
        async with H2Client(reader, writer, scheme="https") as h2:
            for authority, path in requests:
                h2.authority = authority
                came = await h2.ask(path)
                got.append(Answer(came.status, came.fields, bytes(came.body), came.ended))

    asyncio.run(ask())
    return got


def test_streams_of_one_connection_are_told_apart(bench: Bench, show: Show) -> None:
    paths = [bench.path() for _ in range(4)]
    hosts = ("secure.test", "open.test", "other.test", "also.test")
    got = over_h2(Client(bench, show("a")), "secure.test", *zip(hosts, paths, strict=True))
    assert [one.status for one in got] == [200, 200, 421, 200]
    assert [bool(bench.told_of_client(path)) for path in (paths[0], paths[1], paths[3])] == [
        True,
        False,
        True,
    ]


def test_plain_http_is_no_way_around_it(bench: Bench) -> None:
    def ask(host: str, path: str) -> bytes:
        with socket.create_connection(("127.0.0.1", bench.http), PATIENCE_S) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return sock.makefile("rb").read()

    assert ask("secure.test", bench.path()).startswith(b"HTTP/1.1 403 ")
    assert ask("maybe.test", bench.path("/admin/")).startswith(b"HTTP/1.1 403 ")
    assert ask("maybe.test", bench.path()).startswith(b"HTTP/1.1 200 ")
    assert ask("moved.test", bench.path()).startswith(b"HTTP/1.1 301 ")


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_session_goes_on_with_its_certificate_in_every_worker(
    bench: Bench, show: Show, version: ssl.TLSVersion
) -> None:
    mine = show("a")
    client = Client(bench, mine, version)
    client.ask("secure.test", bench.path())
    resumed = 0
    for _ in range(20):
        path = bench.path()
        assert client.ask("secure.test", path)[0] == 200
        assert bench.told_of_client(path)["client-cert"] == mine.fields["client-cert"]
        resumed += client.resumed
    assert resumed == 20


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize(("first", "shows"), [("open.test", "a"), ("other.test", "b"), ("maybe.test", "")])
def test_a_session_of_another_site_opens_nothing(
    bench: Bench, show: Show, first: str, shows: str, version: ssl.TLSVersion
) -> None:
    client = Client(bench, show(shows) if shows else None, version)
    assert client.ask(first, bench.path())[0] == 200
    again = Client(bench, None, version)  # it has nothing to show but the session
    again.context, again.session = client.context, client.session
    path = bench.path()
    if first == "other.test":
        with pytest.raises(ssl.SSLError, match=r"(?i)unknown[ _]ca"):
            again.ask("secure.test", path)
    else:
        status, _ = again.ask("secure.test", path)
        assert status == (200 if shows else 403)
        assert again.resumed is (first == "maybe.test")
    assert (bench.told(path) is not None) is (shows == "a")


def test_what_is_made_for_one_is_not_stored_for_all_unless_the_origin_says_so(
    bench: Bench, show: Show
) -> None:
    client = Client(bench, show("a"))
    for prefix, asked in (("/stored/", 2), ("/public/", 1)):
        path = bench.path(prefix)
        for _ in range(2):
            assert client.ask("secure.test", path)[0] == 200
        assert sum(one.target == path for one in bench.origin.requests) == asked
    assert Client(bench).ask("secure.test", path)[0] == 403  # it lies in the cache


def test_a_response_may_vary_by_the_certificate_and_claims_choose_nothing(bench: Bench, show: Show) -> None:
    path, mine = bench.path("/varied/"), show("a")
    fingerprint = mine.fields["x-client-certificate-fingerprint"]
    claimed = f"X-Client-Certificate-Fingerprint: {fingerprint}"
    for _ in range(2):
        assert Client(bench, mine).ask("maybe.test", path)[1].endswith(fingerprint.encode())
        assert Client(bench).ask("maybe.test", path, claimed)[1].endswith(b"nobody")


def test_a_new_file_of_authorities_ends_old_sessions_at_the_reload(
    authorities: dict[str, trustme.CA], tmp_path: Path, show: Show
) -> None:
    root = trustme.CA()
    root.cert_pem.write_to_path(os.fspath(tmp_path / "root.pem"))
    pair = root.issue_cert(*HOSTS)
    (tmp_path / "edge.pem").write_bytes(pair.cert_chain_pems[0].bytes())
    pair.private_key_pem.write_to_path(os.fspath(tmp_path / "edge.key"))
    for name, authority in authorities.items():
        authority.cert_pem.write_to_path(os.fspath(tmp_path / f"{name}.pem"))
    with ScriptedOrigin(respond) as origin:
        text = CONFIG.replace("ORIGIN", origin.url)
        with configured_edge(tmp_path, text) as edge:
            bench = Bench(tmp_path, edge, origin)
            client = Client(bench, show("a"))
            assert client.ask("secure.test", "/")[0] == 200
            authorities["b"].cert_pem.write_to_path(os.fspath(tmp_path / "a.pem"))
            edge.reload(text)
            wait_until(lambda: len(edge.cluster.workers) == 2)  # those of before have gone
            with pytest.raises(ssl.SSLError, match=r"(?i)unknown[ _]ca"):
                client.ask("secure.test", "/")
            assert Client(bench, show("b")).ask("secure.test", "/")[0] == 200
