"""TLS-ALPN-01 (RFC 8737): a whole edge without any plain listener, and a real ACME authority."""

import os
import signal
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from cluster.acme.store import Store
from cluster.cli.admin import ask_admin
from cluster.config import Flags, load
from tests.support.acme_edge import certificates
from tests.support.cluster import Cluster, wait_until
from tests.support.pebble import Pebble, pebble
from tests.support.ports import free_port
from tests.support.scripted_origin import ScriptedOrigin, answer
from tests.support.tls_client import certificate_for

NAMES = ("a.test", "b.test")
OFFER = ["acme-tls/1"]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def authority(tmp_path: Path, port: int) -> Iterator[Pebble]:
    """One that finds nobody at the port where it asks for HTTP-01."""
    with pebble(tmp_path, free_port(), port) as running:
        yield running


@pytest.fixture
def flags(tmp_path: Path, authority: Pebble, port: int) -> Iterator[dict[str, Any]]:
    with ScriptedOrigin(lambda request: answer(b"page", "200 OK", [])) as origin:
        yield {
            "to": origin.url,
            "domains": NAMES,
            "listen": (f"https://127.0.0.1:{port}",),
            "workers": "4",
            "cache_memory": "64MiB",
            "log": "",
            "state_dir": os.fspath(tmp_path / "state"),
            "acme_directory": authority.directory,
            "acme_ca_file": os.fspath(authority.ca_file),
        }


def is_issued(port: int, name: str) -> bool:
    return "Pebble" in certificate_for(port, name).issuer.rfc4514_string()


@pytest.mark.parametrize("challenge", ["tls-alpn-01", "auto"])
def test_sites_get_certificates_by_the_https_listener_alone(
    flags: dict[str, Any], port: int, challenge: str
) -> None:
    with Cluster(load(None, Flags(**flags, acme_challenge=challenge))) as edge:
        supervisor = edge.status["pid"]
        wait_until(lambda: all(is_issued(port, name) for name in NAMES))
        assert edge.status["pid"] == supervisor
        files = [path for path in (edge.settings.state_dir / "acme").rglob("*") if path.is_file()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_where_http_fails_the_handshake_proves_it(flags: dict[str, Any], port: int) -> None:
    listen = (f"http://127.0.0.1:{free_port()}", *flags.pop("listen"))
    with Cluster(load(None, Flags(**flags, listen=listen))) as edge:  # not the port the authority looks at

        def error() -> str:
            return str(certificates(edge)["a.test"]["error"])

        wait_until(error)
        assert "the authority refused: http-01: " in error()
        ask_admin(edge.settings.state_dir, "POST", "/certificates/renew?name=a.test")
        assert not error()
        assert is_issued(port, "a.test")


def test_an_order_goes_on_after_the_control_process_was_killed(flags: dict[str, Any], port: int) -> None:
    settings = load(None, Flags(**flags))
    store = Store(settings.state_dir, "a.test")
    with Cluster(settings) as edge:
        order = wait_until(store.order)
        os.kill(edge.status["control_pid"], signal.SIGKILL)
        wait_until(lambda: is_issued(port, "a.test"))
        assert "going on with the order for a.test" in edge.output
        assert order.key in store.pair_file.read_text()


def test_who_offers_the_challenges_protocol_gets_no_request_served(flags: dict[str, Any], port: int) -> None:
    with Cluster(load(None, Flags(**flags))):
        wait_until(lambda: all(is_issued(port, name) for name in NAMES))
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(OFFER)
        for name in (*NAMES, "unknown.test", None):  # the challenges are over, and their tokens gone
            with (
                socket.create_connection(("127.0.0.1", port), 60) as plain,
                pytest.raises((ssl.SSLError, ConnectionError)),
            ):
                context.wrap_socket(plain, server_hostname=name)
        context.set_alpn_protocols(["http/1.1", *OFFER])  # not the offer of an authority
        with (
            socket.create_connection(("127.0.0.1", port), 60) as plain,
            context.wrap_socket(plain, server_hostname="a.test") as sock,
        ):
            assert sock.selected_alpn_protocol() == "http/1.1"
            leaf = x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"")
            assert "Pebble" in leaf.issuer.rfc4514_string()
