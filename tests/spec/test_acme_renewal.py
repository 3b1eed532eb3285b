"""An authority that says when it would have a certificate renewed (ARI, RFC 9773), or should and cannot."""

import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from cluster.acme.authority import Authority, AuthorityError, RenewalWindow, certificate_id
from cluster.acme.store import Store
from cluster.settings import ClusterSettings
from tests.support.acme_edge import acme_settings
from tests.support.acme_front import RENEWAL, Front, acme_front
from tests.support.cluster import Cluster, wait_until
from tests.support.pebble import pebble
from tests.support.ports import free_port
from tests.support.tls_client import certificate_for

START, END = "2026-11-26T12:00:00Z", "2026-11-28T12:00:00+00:00"
START_S = 1795694400.0
DAY_S = 86_400.0
PAST = ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def front(tmp_path: Path, port: int) -> Iterator[Front]:
    with pebble(tmp_path, free_port(), port) as authority, acme_front(authority, tmp_path) as front:
        yield front


@pytest.fixture
def settings(tmp_path: Path, front: Front, port: int) -> ClusterSettings:
    return acme_settings(
        tmp_path, front, to="http://127.0.0.1:9", domains=("a.test",), listen=(f"https://127.0.0.1:{port}",)
    )


@pytest.fixture(scope="module")
def leaf() -> x509.Certificate:
    return x509.load_pem_x509_certificate(trustme.CA().issue_cert("a.test").cert_chain_pems[0].bytes())


def asked(settings: ClusterSettings, leaf: x509.Certificate) -> RenewalWindow | None:
    acme = settings.acme
    assert acme is not None
    authority = Authority(acme.authorities[0], acme, settings.state_dir)
    authority.open()
    return authority.renewal_window(leaf)


def test_the_window_and_the_wait_are_as_the_authority_says(
    front: Front, settings: ClusterSettings, leaf: x509.Certificate
) -> None:
    assert asked(settings, leaf) is None
    front.suggest(START, END, {})
    assert asked(settings, leaf) == RenewalWindow(START_S, START_S + 2 * DAY_S, 0)
    assert front.asked[-1] == f"{RENEWAL}/{certificate_id(leaf)}"
    front.suggest(START, END, {"Retry-After": "21600"})
    assert asked(settings, leaf) == RenewalWindow(START_S, START_S + 2 * DAY_S, 21_600)
    front.suggest(START, END, {"Retry-After": formatdate(time.time() + DAY_S, usegmt=True)})
    window = asked(settings, leaf)
    assert window is not None
    assert DAY_S - 60 < window.retry_after_s <= DAY_S


@pytest.mark.parametrize(
    ("start", "end", "status"), [(END, START, 200), ("soon", END, 200), (START, END, 404), (START, END, 500)]
)
def test_an_answer_that_cannot_be_meant_is_an_error(
    front: Front, settings: ClusterSettings, leaf: x509.Certificate, start: str, end: str, status: int
) -> None:
    front.suggest(start, end, {}, status)
    with pytest.raises(AuthorityError):
        asked(settings, leaf)


def ask_now(settings: ClusterSettings) -> None:
    """As if it were time to ask again."""
    store = Store(settings.state_dir, "a.test")
    store.save_progress(replace(store.progress(), ask_s=1.0))


def is_issued(port: int) -> bool:
    return "Pebble" in certificate_for(port, "a.test").issuer.rfc4514_string()


def test_a_certificate_is_renewed_when_its_window_has_come(
    front: Front, settings: ClusterSettings, port: int
) -> None:
    front.suggest("2050-01-01T00:00:00Z", "2050-01-02T00:00:00Z", {"Retry-After": "3600"})
    with Cluster(settings):
        wait_until(lambda: is_issued(port))
    progress = Store(settings.state_dir, "a.test").progress()
    assert 3000 < progress.ask_s - time.time() <= 3600
    old = certificate_of(settings)
    ask_now(settings)
    front.suggest(*PAST, {})
    with Cluster(settings) as edge:
        wait_until(lambda: certificate_for(port, "a.test").serial_number != old)
        assert is_issued(port)
        # It says the same of the new one, which would never end.
        wait_until(lambda: Store(settings.state_dir, "a.test").progress().ask_s > time.time())
        assert edge.output.count("a.test has a new certificate") == 1
        assert not Store(settings.state_dir, "a.test").progress().renew_s


def certificate_of(settings: ClusterSettings) -> int:
    pair = Store(settings.state_dir, "a.test").pair()
    assert pair is not None
    return pair.leaf.serial_number


def test_an_authority_that_cannot_say_leaves_the_certificate_as_it_is(
    front: Front, settings: ClusterSettings, port: int
) -> None:
    front.suggest(*PAST, {}, 500)
    with Cluster(settings) as edge:
        wait_until(lambda: is_issued(port))
        wait_until(lambda: "when to renew the certificate for a.test is not known" in edge.output)
        old = certificate_for(port, "a.test").serial_number
    ask_now(settings)
    with Cluster(settings) as edge:
        wait_until(lambda: "when to renew the certificate for a.test is not known" in edge.output)
        wait_until(lambda: Store(settings.state_dir, "a.test").progress().ask_s > time.time())
        assert certificate_for(port, "a.test").serial_number == old
        assert not Store(settings.state_dir, "a.test").progress().failures
