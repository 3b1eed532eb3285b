"""Plain requests for public names go to https by themselves, once there is a certificate to be trusted."""

import asyncio
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from cluster.certificates import local_certificate
from cluster.cli.admin import ask_admin
from cluster.config import Flags, load
from cluster.settings import CertificateSettings, ClusterSettings
from cluster.trusted import trusted_hosts
from tests.support.acme_edge import acme_settings
from tests.support.client import Answer, ask
from tests.support.cluster import Cluster, wait_until
from tests.support.pebble import pebble
from tests.support.ports import free_port
from tests.support.scripted_origin import ScriptedOrigin, answer
from tests.support.tls_client import certificate_for

CHALLENGE = "/.well-known/acme-challenge/another"
NAMES = ["a.test", "b.test", "*.c.test", "localhost", "app.local"]


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def plain(edge: Cluster, path: str, name: str, method: str = "GET") -> Answer:
    return asyncio.run(ask(port_of(edge.urls[0]), path, name=name, method=method))


@pytest.mark.parametrize("switched_off", [False, True])
def test_http_is_served_until_the_certificate_is_there_and_then_leads_to_https(
    tmp_path: Path, switched_off: bool
) -> None:
    http_port = free_port()
    with (
        ScriptedOrigin(lambda request: answer(request.target.encode(), "200 OK", [])) as origin,
        pebble(tmp_path, http_port) as authority,
    ):
        wanted = acme_settings(
            tmp_path,
            authority,
            to=origin.url,
            domains=("a.test", "app.local"),
            listen=(f"http://127.0.0.1:{http_port}", "https://127.0.0.1:0"),
            no_https_redirect=switched_off,
        )
        authority.stop()
        with Cluster(wanted) as edge:
            https = port_of(edge.urls[1])
            wait_until(lambda: "no certificate for a.test" in edge.output)
            assert plain(edge, "/page?a=1", "a.test").body == b"/page?a=1"
            authority.start()
            ask_admin(edge.settings.state_dir, "POST", "/certificates/renew?name=a.test", timeout_s=60)
            assert "Pebble" in certificate_for(https, "a.test").issuer.rfc4514_string()
            assert plain(edge, "/page", "app.local").body == b"/page"
            assert plain(edge, CHALLENGE, "a.test").body == CHALLENGE.encode()
            if switched_off:
                assert plain(edge, "/page", "a.test").body == b"/page"
                return
            for method in ("GET", "POST"):
                led = wait_until(lambda method=method: moved(edge, f"a.test:{http_port}", method))
                assert led == f"https://a.test:{https}/page?a=1"
            assert moved(edge, "a.test", "GET") == "https://a.test/page?a=1"


def moved(edge: Cluster, name: str, method: str) -> str:
    """Where a plain request is led; "" when it is answered."""
    said = plain(edge, "/page?a=1", name, method)
    assert said.status in (200, 308)
    return said.fields.get("location", "") if said.status == 308 else ""


def with_certificates(folder: Path, *pairs: CertificateSettings) -> ClusterSettings:
    flags = Flags(to="http://127.0.0.1:9", domains=tuple(NAMES), state_dir=os.fspath(folder / "state"))
    tls = ", ".join(f"{{certificate: {pair.certificate}, key: {pair.key}}}" for pair in pairs)
    text = f"listen: [http://127.0.0.1:80, https://127.0.0.1:443]\ntls: [{tls}]\n"
    (folder / "edge.yaml").write_text(text)
    return load(folder / "edge.yaml", flags)


def issued(folder: Path, *names: str, stem: str = "pair") -> CertificateSettings:
    leaf = trustme.CA().issue_cert(*names)
    files = folder / f"{stem}.pem", folder / f"{stem}.key"
    leaf.cert_chain_pems[0].write_to_path(os.fspath(files[0]))
    leaf.private_key_pem.write_to_path(os.fspath(files[1]))
    return CertificateSettings(*files)


def test_only_public_names_with_a_given_certificate_count(tmp_path: Path) -> None:
    pairs = issued(tmp_path, "a.test", "localhost", "app.local"), issued(tmp_path, "*.c.test", stem="c")
    assert trusted_hosts(with_certificates(tmp_path, *pairs)) == (b"a.test", b"*.c.test")


def test_the_local_authoritys_certificate_counts_for_nothing(tmp_path: Path) -> None:
    settings = with_certificates(tmp_path)
    local_certificate(settings.state_dir, settings.local_names)
    assert trusted_hosts(settings) == ()
