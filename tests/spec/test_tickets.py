"""Session tickets: a client resumes with whichever worker it meets, and whatever has happened since."""

import os
import signal
import ssl
from pathlib import Path

import pytest
import trustme

from cluster.cli import main
from cluster.cli.admin import ask_admin
from cluster.settings import CertificateSettings
from tests.support.cluster import Cluster, settings, wait_until
from tests.support.scripted_origin import ScriptedOrigin, answer
from tests.support.tls_client import TlsClient

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
TRIES = 40  # over four workers


def share(client: TlsClient) -> float:
    """How many of the next connections resume the session of the one before."""
    resumed = 0
    for _ in range(TRIES):
        client.get()
        resumed += client.resumed
    return resumed / TRIES


def issue(authority: trustme.CA, folder: Path) -> CertificateSettings:
    leaf = authority.issue_cert("a.test")
    files = folder / "a.pem", folder / "a.key"
    leaf.private_key_pem.write_to_path(os.fspath(files[1]))
    leaf.cert_chain_pems[0].write_to_path(os.fspath(files[0]))
    return CertificateSettings(*files)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_sessions_are_resumed_across_workers_respawns_reloads_and_new_certificates(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = trustme.CA()
    pair = issue(authority, tmp_path)
    with ScriptedOrigin(lambda request: answer(b"page", "200 OK", [])) as origin:
        asked = settings(
            tmp_path / "state",
            origin=origin.url,
            workers=4,
            schemes=("http", "https"),
            certificates=(pair,),
        )
        with Cluster(asked) as edge:
            client = TlsClient(edge, version)
            old = client.get().serial_number
            assert share(client) > 0.95
            os.kill(edge.pids[0], signal.SIGKILL)
            wait_until(
                lambda: sum(worker["restarts"] for worker in edge.workers) == 1 and len(edge.pids) == 4
            )
            assert share(client) > 0.95
            edge.reload()
            assert share(client) > 0.95
            issue(authority, tmp_path)
            wait_until(lambda: TlsClient(edge, version).get().serial_number != old)
            assert share(client) > 0.95


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_sessions_are_resumed_across_new_keys_until_theirs_is_too_old(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    pair = issue(trustme.CA(), tmp_path)
    with ScriptedOrigin(lambda request: answer(b"page", "200 OK", [])) as origin:
        asked = settings(
            tmp_path / "state",
            origin=origin.url,
            workers=4,
            schemes=("http", "https"),
            certificates=(pair,),
        )
        rotate = ["cert", "rotate", "--state-dir", os.fspath(asked.state_dir)]
        with Cluster(asked) as edge:
            client, late = TlsClient(edge, version), TlsClient(edge, version)
            client.get()
            late.get()
            first = late.session
            assert main(rotate) == 0
            assert share(client) > 0.95
            os.kill(edge.pids[0], signal.SIGKILL)
            wait_until(
                lambda: sum(worker["restarts"] for worker in edge.workers) == 1 and len(edge.pids) == 4
            )
            assert share(client) > 0.95
            assert main(rotate) == 0
            edge.reload()
            assert share(client) > 0.95
            late.get()
            assert late.resumed
            assert main(rotate) == 0
            assert share(client) > 0.95
            late.session = first
            late.get()
            assert not late.resumed
            late.get()
            assert late.resumed


def test_the_key_is_replaced_when_it_is_as_old_as_it_may_get(tmp_path: Path) -> None:
    pair = issue(trustme.CA(), tmp_path)
    with ScriptedOrigin(lambda request: answer(b"page", "200 OK", [])) as origin:
        asked = settings(
            tmp_path / "state",
            origin=origin.url,
            schemes=("http", "https"),
            certificates=(pair,),
            ticket_rotation_s=0.3,
        )
        with Cluster(asked) as edge:
            client = TlsClient(edge)
            client.get()
            first = client.session

            def is_too_old() -> bool:
                client.session = first
                client.get()
                return not client.resumed

            wait_until(is_too_old)


def test_a_given_file_that_breaks_leaves_the_old_certificate_and_status_says_why(tmp_path: Path) -> None:
    authority = trustme.CA()
    pair = issue(authority, tmp_path)
    with ScriptedOrigin(lambda request: answer(b"page", "200 OK", [])) as origin:
        asked = settings(
            tmp_path / "state", origin=origin.url, schemes=("http", "https"), certificates=(pair,)
        )
        with Cluster(asked) as edge:
            old = TlsClient(edge).get().serial_number
            pair.certificate.write_text("hello")

            def error() -> str:
                found: str = ask_admin(asked.state_dir, "GET", "/certificates")["certificates"][0]["error"]
                return found

            wait_until(lambda: "the old certificate serves on: no certificate in" in error())
            os.kill(edge.pids[0], signal.SIGKILL)
            wait_until(
                lambda: sum(worker["restarts"] for worker in edge.workers) == 1 and len(edge.pids) == 2
            )
            assert TlsClient(edge).get().serial_number == old
            issue(authority, tmp_path)
            wait_until(lambda: TlsClient(edge).get().serial_number != old)
            assert not error()
