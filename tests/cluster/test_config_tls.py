"""The `tls` of a configuration: its short hands, its rules, what becomes of it."""

import textwrap
from pathlib import Path

import pytest

from cluster.config import Flags, json_schema, load
from cluster.errors import UsageError
from cluster.settings import ClusterSettings, TlsSettings
from worker.settings import ClientCertificateSettings

SITE = "sites: [{origin: http://127.0.0.1}]\n"


def settings_of(folder: Path, text: str, flags: Flags = Flags()) -> ClusterSettings:  # noqa: B008
    file = folder / "edge.yaml"
    file.write_text(SITE + textwrap.dedent(text))
    return load(file, flags, {})


FORMS = [
    "tls: {certificate: a.pem, key: a.key}",
    "tls: [{certificate: a.pem, key: a.key}]",
    "tls: {certificates: {certificate: a.pem, key: a.key}}",
    "tls: {certificates: [{certificate: a.pem, key: a.key}]}",
]


@pytest.mark.parametrize("text", FORMS)
def test_a_certificate_may_be_written_short_or_long(tmp_path: Path, text: str) -> None:
    settings = settings_of(tmp_path, text)
    (pair,) = settings.certificates
    assert (pair.certificate, pair.key) == (tmp_path / "a.pem", tmp_path / "a.key")
    assert settings.tls == TlsSettings()


@pytest.mark.parametrize(
    ("text", "tls"),
    [
        ("tls: {profile: modern}", TlsSettings("modern")),
        ("tls: {certificate: a, key: b, profile: old}", TlsSettings("old")),
        ("tls: {profile: old, minimum_version: 1.1}", TlsSettings("old", "1.1")),
        ('tls: {minimum_version: "1.3"}', TlsSettings(minimum_version="1.3")),
        ("tls: {unknown_name: refuse}", TlsSettings(refuse_unknown_name=True)),
        ("tls: {no_name: refuse, unknown_name: serve}", TlsSettings(refuse_no_name=True)),
    ],
)
def test_what_is_said_of_tls(tmp_path: Path, text: str, tls: TlsSettings) -> None:
    assert settings_of(tmp_path, text).tls == tls


def test_editors_know_the_forms() -> None:
    mapping, many = json_schema()["$defs"]["Tls"]["anyOf"]
    assert {"certificate", "key", "certificates", "profile", "minimum_version"} <= set(mapping["properties"])
    assert many == {"type": "array", "items": {"$ref": "#/$defs/Certificate"}}


def test_the_default_certificate_comes_first(tmp_path: Path) -> None:
    text = (
        "tls: [{certificate: a, key: a}, {certificate: b, key: b, default: true}, {certificate: c, key: c}]"
    )
    names = [pair.certificate.name for pair in settings_of(tmp_path, text).certificates]
    assert names == ["b", "a", "c"]


def test_a_certificate_on_the_command_line_leaves_the_other_settings(tmp_path: Path) -> None:
    flags = Flags(tls_certificate="/c.pem", tls_key="/c.key")
    for text in (
        "tls: {certificate: a, key: b, profile: modern}",
        "tls: {profile: modern, certificates: []}",
    ):
        settings = settings_of(tmp_path, text, flags)
        assert [pair.certificate for pair in settings.certificates] == [Path("/c.pem")]
        assert settings.tls.profile == "modern"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tls: {profile: new}", "2:16: bad value 'new' for 'tls.profile' (expects modern, default or old)"),
        ("tls: {minimum_version: 1.4}",
         "2:24: bad value 1.4 for 'tls.minimum_version' (expects 1.0, 1.1, 1.2 or 1.3)"),
        ("tls: {minimum_version: 1.0}",
         "2:24: TLS 1.0 is broken (RFC 8996): it needs 'profile: old' beside it, too"),
        ("tls: {profile: modern, minimum_version: 1.2}",
         "2:41: 'profile: modern' has TLS 1.3 only: leave out one of the two"),
        ("tls: {unknown_name: ignore}",
         "2:21: bad value 'ignore' for 'tls.unknown_name' (expects serve or refuse)"),
        ("tls: {profil: old}",
         "2:7: unknown key 'profil' in 'tls'; did you mean 'profile'? (expects modern, default or old)"),
        ("tls: {certificate: a, key: b, profile: 3}",
         "2:40: bad value 3 for 'tls.profile' (expects modern, default or old)"),
        ("tls: {profile: old, key: b}",
         "2:6: missing key 'certificate' in 'tls' (expects the path of a PEM file)"),
        ("tls: [{certificate: a, key: b, default: true}, {certificate: c, key: d, default: true}]",
         "2:82: another certificate is the default already"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_of(tmp_path, text)
    assert str(caught.value) == f"{tmp_path}/edge.yaml:{message}"


class TestClientCertificates:
    def test_every_route_of_the_site_asks_as_it_or_its_site_says(self, tmp_path: Path) -> None:
        (tmp_path / "edge.yaml").write_text(
            textwrap.dedent(
                """
                listen: https://127.0.0.1:0
                sites:
                  - hosts: a.test
                    origin: http://127.0.0.1
                    client_certificate: {ca_file: ca.pem, required: false}
                    routes:
                      - {prefix: /admin, client_certificate: required}
                      - {prefix: /health, client_certificate: optional}
                  - {hosts: b.test, origin: http://127.0.0.1, client_certificate: {ca_file: /b.pem}}
                  - {hosts: c.test, origin: http://127.0.0.1}
                """
            )
        )
        first, second, third = load(tmp_path / "edge.yaml").worker.sites
        authority = str(tmp_path / "ca.pem")
        assert first.client_authority == authority
        assert {route.prefix: route.client_certificate for route in first.routes} == {
            b"/admin": ClientCertificateSettings(authority, required=True),
            b"/health": ClientCertificateSettings(authority, required=False),
            b"/": ClientCertificateSettings(authority, required=False),
        }
        assert [route.client_certificate for route in second.routes] == [ClientCertificateSettings("/b.pem")]
        assert (third.client_authority, third.routes[0].client_certificate) == ("", None)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("sites: [{origin: http://127.0.0.1, client_certificate: {ca_file: a}}]",
             "1:56: clients show certificates to https:// listeners only"),
            ("sites: [{origin: http://127.0.0.1, routes: [{prefix: /, client_certificate: optional}]}]",
             "1:77: whose? Give its site 'client_certificate: {ca_file: FILE}'"),
            ("sites: [{origin: http://127.0.0.1, client_certificate: {}}]",
             "1:56: missing key 'ca_file' in 'sites[0].client_certificate' (expects the path of a PEM file)"),
        ],
    )  # fmt: skip
    def test_a_fault_is_told_with_its_place(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "edge.yaml").write_text(text)
        with pytest.raises(UsageError) as caught:
            load(tmp_path / "edge.yaml")
        assert str(caught.value) == f"{tmp_path}/edge.yaml:{message}"
