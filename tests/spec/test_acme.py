"""Certificates that come by themselves: a whole edge and a real ACME authority (RFC 8555)."""

import asyncio
import json
import os
import signal
import ssl
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from cluster.acme.store import Store
from cluster.certificates import local_certificate
from cluster.cli import main
from cluster.config import Flags, load
from cluster.settings import ClusterSettings
from tests.support.acme_edge import acme_settings, certificates
from tests.support.client import ask
from tests.support.cluster import Cluster, wait_until
from tests.support.pebble import Pebble, pebble
from tests.support.ports import free_port
from tests.support.scripted_origin import ScriptedOrigin, answer
from tests.support.tls_client import TlsClient

NAMES = ("a.test", "b.test")


@pytest.fixture
def http_port() -> int:
    return free_port()


@pytest.fixture
def authority(tmp_path: Path, http_port: int) -> Iterator[Pebble]:
    with pebble(tmp_path, http_port) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, authority: Pebble, http_port: int) -> Iterator[ClusterSettings]:
    with ScriptedOrigin(lambda request: answer(request.target.encode(), "200 OK", [])) as origin:
        yield acme_settings(
            tmp_path,
            authority,
            to=origin.url,
            domains=NAMES,
            listen=(f"http://127.0.0.1:{http_port}", "https://127.0.0.1:0"),
        )


def issuer(client: TlsClient, name: str) -> str:
    return client.get(name).issuer.rfc4514_string()


def test_sites_with_public_names_get_certificates_while_the_edge_runs(
    settings: ClusterSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    with Cluster(settings) as edge:
        supervisor = edge.status["pid"]
        wait_until(lambda: all("Pebble" in issuer(TlsClient(edge), name) for name in NAMES))
        assert edge.status["pid"] == supervisor
        files = [path for path in (settings.state_dir / "acme").rglob("*") if path.is_file()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert main(["status", "--state-dir", os.fspath(settings.state_dir)]) == 0
        assert "certificate a.test: acme, until " in capsys.readouterr().out
        unknown = asyncio.run(
            ask(urlsplit(edge.url).port or 0, "/.well-known/acme-challenge/x", name="a.test")
        )
        assert unknown.body == b"/.well-known/acme-challenge/x"


def test_every_certificate_is_listed_and_measured(
    settings: ClusterSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = local_certificate(tmp_path / "given", ["b.test"])
    flags = {
        **_flags(settings), "listen": tuple(one.url for one in settings.worker.listeners),
        "tls_certificate": os.fspath(given[0]), "tls_key": os.fspath(given[1]), "admin": "http://127.0.0.1:0",
    }  # fmt: skip
    with Cluster(load(None, Flags(**flags))) as edge:
        rows = wait_until(lambda: certificates(edge)["a.test"]["expires_s"] and certificates(edge))
        assert [(name, row["kind"]) for name, row in rows.items()] == [
            (os.fspath(given[0]), "given"),
            ("a.test", "acme"),
            ("local authority", "local"),
        ]
        with urlopen(f"{edge.admin_url}/metrics") as said:
            lines = said.read().decode().splitlines()
        name = "edgecluster_certificate_expiry_seconds"
        ends = {line for line in lines if line.startswith(name)}
        assert ends == {f'{name}{{name="{one}"}} {row["expires_s"]:.0f}' for one, row in rows.items()}
        assert main(["cert", "ls", "--state-dir", os.fspath(settings.state_dir)]) == 0
        assert capsys.readouterr().out.count(", until ") == 3


def test_a_renewal_under_load_loses_no_request_and_keeps_tickets(settings: ClusterSettings) -> None:
    with Cluster(settings) as edge:
        wait_until(lambda: "Pebble" in issuer(TlsClient(edge), "a.test"))
        clients = [TlsClient(edge, version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
        old = clients[0].get().serial_number
        clients[1].get()
        failures: list[Exception] = []
        done = threading.Event()

        def load_it() -> None:
            while not done.is_set():
                try:
                    TlsClient(edge).get()
                except Exception as error:
                    failures.append(error)

        threads = [threading.Thread(target=load_it) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            generation = edge.status["generation"]
            assert main(["cert", "renew", "a.test", "--state-dir", os.fspath(settings.state_dir)]) == 0
            assert edge.status["generation"] == generation + 1
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert not failures
        for client in clients:
            client.get()
            assert client.resumed
        assert TlsClient(edge).get().serial_number != old


def test_an_authority_that_is_down_leaves_the_old_certificate_and_status_says_why(
    settings: ClusterSettings, authority: Pebble, capsys: pytest.CaptureFixture[str]
) -> None:
    with Cluster(settings) as edge:
        wait_until(lambda: "Pebble" in issuer(TlsClient(edge), "a.test"))
        old = TlsClient(edge).get().serial_number
        authority.stop()
        state_dir = os.fspath(settings.state_dir)
        assert main(["cert", "renew", "a.test", "--state-dir", state_dir]) == 1
        assert "cannot reach the authority" in capsys.readouterr().err
        assert TlsClient(edge).get().serial_number == old
        assert main(["status", "--json", "--state-dir", state_dir]) == 0
        rows = json.loads(capsys.readouterr().out)["certificates"]
        assert "Connection refused" in rows[0]["error"]
        assert rows[0]["next_s"] > 0
        authority.start()
        assert main(["cert", "renew", "a.test", "--state-dir", state_dir]) == 0
        assert not certificates(edge)["a.test"]["error"]
        assert TlsClient(edge).get().serial_number != old


def test_an_authority_that_refuses_leaves_the_local_certificate_and_says_why(
    settings: ClusterSettings, http_port: int
) -> None:
    listen = ("https://127.0.0.1:0",)
    moved = load(None, Flags(**{**_flags(settings), "listen": listen, "acme_challenge": "http-01"}))
    with Cluster(moved) as edge:  # nobody answers where the authority looks
        row = wait_until(lambda: certificates(edge)["a.test"]["error"] and certificates(edge)["a.test"])
        assert "the authority refused" in row["error"]
        assert str(http_port) in row["error"]
        assert row["expires_s"] is None
        assert Store(moved.state_dir, "a.test").progress().failures == 1


def _flags(settings: ClusterSettings) -> dict[str, Any]:
    assert settings.acme is not None
    origin = settings.worker.sites[0].routes[0].origin
    authority = settings.acme.authorities[0]
    return {
        "to": getattr(origin, "url"),  # noqa: B009
        "domains": NAMES,
        "workers": "2",
        "cache_memory": "64MiB",
        "log": "",
        "state_dir": os.fspath(settings.state_dir),
        "acme_directory": authority.directory,
        "acme_ca_file": os.fspath(authority.ca_file),
    }


def test_an_order_goes_on_after_the_control_process_was_killed(settings: ClusterSettings) -> None:
    store = Store(settings.state_dir, "a.test")
    with Cluster(settings) as edge:
        order = wait_until(store.order)
        os.kill(edge.status["control_pid"], signal.SIGKILL)
        wait_until(lambda: "Pebble" in issuer(TlsClient(edge), "a.test"))
        assert "going on with the order for a.test" in edge.output
        assert order.key in store.pair_file.read_text()


def test_after_three_failures_the_second_authority_is_asked(
    settings: ClusterSettings, authority: Pebble, tmp_path: Path, http_port: int
) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(f"""
        listen: ["http://127.0.0.1:{http_port}", "https://127.0.0.1:0"]
        workers: 2
        cache: {{memory: 64MiB}}
        log: {{path: ""}}
        state_dir: {settings.state_dir}
        sites: [{{origin: "http://127.0.0.1:9", hosts: [a.test]}}]
        acme:
          agree: true
          directory: https://127.0.0.1:{free_port()}/dir
          fallback: {{directory: "{authority.directory}", ca_file: {authority.ca_file}}}
    """)
    with Cluster(load(file)) as edge:
        wait_until(lambda: certificates(edge)["a.test"]["error"])
        renew = ["cert", "renew", "--state-dir", os.fspath(settings.state_dir)]
        assert [main(renew), main(renew), main(renew)] == [1, 1, 0]
        assert "Pebble" in certificates(edge)["a.test"]["issuer"]
