"""An authority that limits rates or refuses: the old certificate serves on, and `status` says why."""

import os
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from cluster.cli import main
from cluster.settings import ClusterSettings
from tests.support.acme_edge import acme_settings, certificates
from tests.support.acme_front import NEW_ORDER, Front, acme_front
from tests.support.cluster import Cluster, wait_until
from tests.support.pebble import pebble
from tests.support.ports import free_port
from tests.support.scripted_origin import ScriptedOrigin, answer
from tests.support.tls_client import certificate_for

TWO_HOURS_S = 7200


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def front(tmp_path: Path, port: int) -> Iterator[Front]:
    with pebble(tmp_path, free_port(), port) as authority, acme_front(authority, tmp_path) as front:
        yield front


@pytest.fixture
def settings(tmp_path: Path, front: Front, port: int) -> Iterator[ClusterSettings]:
    with ScriptedOrigin(lambda request: answer(b"page", "200 OK", [])) as origin:
        yield acme_settings(
            tmp_path,
            front,
            to=origin.url,
            domains=("a.test", "blocked.test", "c.test"),
            listen=(f"https://127.0.0.1:{port}",),
        )


def is_issued(port: int, name: str) -> bool:
    return "Pebble" in certificate_for(port, name).issuer.rfc4514_string()


@pytest.mark.parametrize("as_date", [False, True])
@pytest.mark.parametrize(("status", "code"), [(429, "rateLimited"), (503, "serverInternal")])
def test_a_limit_is_waited_out_while_the_old_certificate_serves(
    settings: ClusterSettings,
    front: Front,
    port: int,
    capsys: pytest.CaptureFixture[str],
    status: int,
    code: str,
    as_date: bool,
) -> None:
    state_dir = os.fspath(settings.state_dir)
    with Cluster(settings) as edge:
        wait_until(lambda: is_issued(port, "c.test") and certificates(edge)["blocked.test"]["error"])
        old = certificate_for(port, "a.test").serial_number
        wait = formatdate(time.time() + TWO_HOURS_S, usegmt=True) if as_date else str(TWO_HOURS_S)
        front.refuse(NEW_ORDER, status, code, {"Retry-After": wait})
        asked_s = time.time()
        assert main(["cert", "renew", "a.test", "--state-dir", state_dir]) == 1
        assert f"the authority refused: {code}: scripted" in capsys.readouterr().err
        assert certificate_for(port, "a.test").serial_number == old
        row = certificates(edge)["a.test"]
        assert row["next_s"] >= asked_s + TWO_HOURS_S - 1  # a date has whole seconds
        assert row["expires_s"] is not None
        assert main(["status", "--state-dir", state_dir]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "a.test: acme, until" in line]
        assert f"; the authority refused: {code}: scripted; next try " in line
        front.relent()
        assert main(["cert", "renew", "a.test", "--state-dir", state_dir]) == 0
        assert certificate_for(port, "a.test").serial_number != old
        assert not certificates(edge)["a.test"]["error"]


def test_a_limit_met_by_one_name_is_waited_out_by_all(settings: ClusterSettings, front: Front) -> None:
    front.refuse(NEW_ORDER, 429, "rateLimited", {"Retry-After": str(TWO_HOURS_S)})
    with Cluster(settings) as edge:
        wait_until(lambda: certificates(edge)["a.test"]["error"])
        told = certificates(edge)
        assert {told[name]["error"] for name in settings.acme.names} == {told["a.test"]["error"]}
        assert {told[name]["next_s"] for name in settings.acme.names} == {told["a.test"]["next_s"]}
        assert front.asked.count(NEW_ORDER) == 1


def test_a_name_that_is_refused_stands_in_nobodys_way(
    settings: ClusterSettings, port: int, front: Front
) -> None:
    with Cluster(settings) as edge:
        wait_until(lambda: is_issued(port, "a.test") and is_issued(port, "c.test"))
        row = certificates(edge)["blocked.test"]
        assert "the authority refused: rejectedIdentifier: " in row["error"]
        assert row["expires_s"] is None
        assert "local authority" in certificate_for(port, "blocked.test").issuer.rfc4514_string()
