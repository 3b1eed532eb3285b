"""ACME without an authority: which names, which settings, what is kept on disk, what stands in the way."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import pytest
import trustme

from cluster.acme.names import is_public
from cluster.acme.store import Order, Progress, Store, issued_pairs
from cluster.certificates import local_certificate
from cluster.cli import main
from cluster.config import Flags, load
from cluster.config.check import certificate
from cluster.control.certificates import Certificates
from cluster.errors import UsageError
from cluster.settings import AcmeSettings, CertificateSettings
from tests.support.cluster import Cluster, settings, wait_until
from tests.support.tls_client import certificate_for

if TYPE_CHECKING:
    from shmcache.core import Cache

URL = "https://authority.test/directory"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.org", True),
        ("a.test", True),
        ("*.example.org", False),
        ("*", False),
        ("localhost", False),
        ("app.localhost", False),
        ("printer.local", False),
        ("db.internal", False),
        ("intranet", False),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        ("[2001:db8::1]", False),
    ],
)
def test_only_names_that_somebody_can_own_are_public(host: str, expected: bool) -> None:
    assert is_public(host) is expected


def acme_of(folder: Path, **flags: Any) -> AcmeSettings | None:
    listen = flags.pop("listen", ("http://127.0.0.1:80", "https://127.0.0.1:443"))
    return load(
        None, Flags(to="http://127.0.0.1:9", listen=listen, state_dir=os.fspath(folder), **flags)
    ).acme


def test_domains_with_an_authority_on_the_command_line_want_certificates(tmp_path: Path) -> None:
    asked = acme_of(tmp_path, domains=("a.test", "x.local"), acme_directory=URL, email="me@a.test")
    assert asked is not None
    assert (asked.names, asked.email, asked.authorities[0].directory) == (("a.test",), "me@a.test", URL)


def test_nobody_is_asked_unless_it_was_wanted(tmp_path: Path) -> None:
    assert acme_of(tmp_path, domains=("a.test",)) is None
    assert acme_of(tmp_path, domains=("x.local",), acme_directory=URL) is None
    assert acme_of(tmp_path, domains=("a.test",), acme_directory=URL, listen=("http://127.0.0.1:80",)) is None


def test_a_name_with_a_given_certificate_needs_none(tmp_path: Path) -> None:
    certificate, key = local_certificate(tmp_path, ["a.test"])
    given = {"tls_certificate": os.fspath(certificate), "tls_key": os.fspath(key)}
    asked = acme_of(tmp_path, domains=("a.test", "b.test"), acme_directory=URL, **given)
    assert asked is not None
    assert asked.names == ("b.test",)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{agree: false}", "certificates come only to who agrees to the authority's terms"),
        ("{email: me@a.test}", "missing key 'agree' in 'acme'"),
        (f"{{agree: true, staging: true, directory: '{URL}'}}", "leave out one of the two"),
        ("{agree: true, directory: 'http://a.test/dir'}", "expects the https:// URL of an ACME directory"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(tmp_path: Path, section: str, message: str) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(f"sites: [{{origin: 'http://127.0.0.1:9', hosts: [a.test]}}]\nacme: {section}\n")
    with pytest.raises(UsageError, match=message):
        load(file)


def test_the_second_authority_and_staging_come_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(
        "listen: https://127.0.0.1:443\nsites: [{origin: 'http://127.0.0.1:9', hosts: [a.test]}]\n"
        f"acme: {{agree: true, staging: true, fallback: '{URL}'}}\n"
    )
    asked = load(file).acme
    assert asked is not None
    assert "staging" in asked.authorities[0].directory
    assert asked.authorities[1].directory == URL


def test_what_is_kept_is_private_and_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path, "a.test")
    assert (store.pair(), store.order(), store.progress()) == (None, None, Progress())
    order, progress = Order(URL, f"{URL}/1", "key"), Progress(failures=2, error="no", next_s=5.0)
    store.save_order(order)
    store.save_progress(progress)
    again = Store(tmp_path, "a.test")
    assert (again.order(), again.progress()) == (order, progress)
    assert {stat.S_IMODE(path.stat().st_mode) for path in again.folder.iterdir()} == {0o600}


def test_a_new_certificate_ends_its_order_and_is_served_beside_the_local_one(tmp_path: Path) -> None:
    certificate, key = local_certificate(tmp_path, ["a.test"])
    store = Store(tmp_path, "a.test")
    store.save_order(Order(URL, f"{URL}/1", "key"))
    store.save_pair(key.read_text(), certificate.read_text())
    assert store.order() is None
    pair = store.pair()
    assert pair is not None
    assert pair.names == ("a.test",)
    asked = load(
        None,
        Flags(
            to="http://127.0.0.1:9",
            domains=("a.test", "b.test"),
            listen=("https://127.0.0.1:443",),
            state_dir=os.fspath(tmp_path),
            acme_directory=URL,
        ),
    )
    assert [one.certificate for one in issued_pairs(asked)] == [store.pair_file]


def test_check_tells_of_a_chain_without_its_issuer(tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("a.test")
    files = tmp_path / "a.pem", tmp_path / "a.key"
    leaf.cert_chain_pems[0].write_to_path(os.fspath(files[0]))
    leaf.private_key_pem.write_to_path(os.fspath(files[1]))
    finding, names = certificate(CertificateSettings(*files), datetime.now(UTC))
    assert (finding.level, names) == ("warning", {"a.test"})
    assert "comes without the certificate of" in finding.message


def expired(folder: Path) -> CertificateSettings:
    leaf = trustme.CA().issue_cert("a.test", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    files = folder / "a.pem", folder / "a.key"
    leaf.cert_chain_pems[0].write_to_path(os.fspath(files[0]))
    leaf.private_key_pem.write_to_path(os.fspath(files[1]))
    return CertificateSettings(*files)


def test_check_warns_of_a_certificate_that_start_would_serve_although_it_has_expired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = expired(tmp_path)
    files = ["--tls-cert", os.fspath(pair.certificate), "--tls-key", os.fspath(pair.key)]
    serving = ["--to", "http://127.0.0.1:9", "--listen", "https://127.0.0.1:0", *files]
    assert main(["check", *serving, "--state-dir", os.fspath(tmp_path / "state")]) == 0
    assert "has expired on 2020-01-01: clients refuse it; renew it" in capsys.readouterr().out
    asked = settings(tmp_path / "state", schemes=("http", "https"), certificates=(pair,))
    with Cluster(asked) as edge:
        port = urlsplit(edge.urls[1]).port
        assert port is not None
        assert certificate_for(port, "a.test").not_valid_after_utc.year == 2020
        wait_until(lambda: "it has expired, and clients refuse it" in edge.output)


def test_a_given_certificate_that_has_expired_is_told_of(tmp_path: Path) -> None:
    asked = settings(tmp_path, schemes=("https",), certificates=(expired(tmp_path),))

    async def swap() -> None:
        """Nobody is asked to serve anything."""

    (row,) = Certificates(asked, cast("Cache", None), swap).report()
    assert "has expired" in row["error"]
