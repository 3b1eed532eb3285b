"""Files of authorities that vouch for clients: what `check` and start say of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from cluster.client_certificates import read_authorities
from cluster.config.check import client_authorities
from cluster.contexts import Contexts
from cluster.errors import BootError
from cluster.settings import ClusterSettings
from tests.support.cluster import settings


def wanting(folder: Path, path: Path) -> ClusterSettings:
    made = settings(folder, schemes=("https",))
    (site,) = made.worker.sites
    return replace(made, worker=replace(made.worker, sites=(replace(site, client_authority=str(path)),)))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda path: path.unlink(missing_ok=True),
            (
                "cannot read the authorities of client certificates PATH: No such file or directory; "
                "'client_certificate.ca_file' is the path of a PEM file"
            ),
        ),
        (
            lambda path: path.write_text("hello"),
            (
                "no certificate in PATH: 'client_certificate.ca_file' must be a PEM file "
                "(-----BEGIN CERTIFICATE-----)"
            ),
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_same_words(
    tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "ca.pem"
    spoil(path)
    (finding,) = client_authorities(wanting(tmp_path, path))
    assert (finding.level, finding.message) == ("error", words.replace("PATH", str(path)))
    with pytest.raises(BootError) as caught:
        Contexts().of(wanting(tmp_path, path))
    assert str(caught.value) == finding.message


def test_text_around_the_certificates_counts_for_nothing(tmp_path: Path) -> None:
    path, authority = tmp_path / "ca.pem", trustme.CA().cert_pem.bytes()
    path.write_bytes("Zoë's authority\n".encode() + authority + b"\nthe end\n")
    assert read_authorities(str(path)).strip() == authority.strip()
    (finding,) = client_authorities(wanting(tmp_path, path))
    assert finding.level == "ok"
    assert Contexts().of(wanting(tmp_path, path)) is not None


def test_another_file_makes_another_context(tmp_path: Path) -> None:
    path, contexts = tmp_path / "ca.pem", Contexts()
    path.write_bytes(trustme.CA().cert_pem.bytes())
    first = contexts.of(wanting(tmp_path, path))
    assert contexts.of(wanting(tmp_path, path)) is first
    path.write_bytes(trustme.CA().cert_pem.bytes())
    assert contexts.of(wanting(tmp_path, path)) is not first
