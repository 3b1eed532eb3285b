"""Our certificate for an origin through a whole edge: shown to it, and what happens when its file is bad."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from cluster.cli import main
from tests.support.configured_edge import configured_edge
from tests.support.scripted_origin import ScriptedOrigin, answer

CA = trustme.CA()


@pytest.fixture
def origin() -> Iterator[ScriptedOrigin]:
    """Serves nobody without a certificate of our authority."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert("127.0.0.1").configure_cert(tls)
    CA.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    with ScriptedOrigin([answer(b"for the edge alone")], tls=tls) as running:
        yield running


def test_a_reload_with_a_bad_certificate_for_an_origin_says_so_and_the_old_generation_serves_on(
    tmp_path: Path, origin: ScriptedOrigin, capsys: pytest.CaptureFixture[str]
) -> None:
    authority, ours = tmp_path / "ca.pem", tmp_path / "ours.pem"
    CA.cert_pem.write_to_path(str(authority))
    good = CA.issue_cert("edge.example").private_key_and_cert_chain_pem.bytes()
    ours.write_bytes(good)
    text = f"sites: [{{origin: {{url: '{origin.url}', ca_file: {authority}, client_certificate: {ours}}}}}]\n"
    with configured_edge(tmp_path, text) as edge:
        for write, words in (
            (ours.unlink, f"cannot read client_certificate {ours}: No such file or directory"),
            (
                lambda: ours.write_text("garbage"),
                f"cannot load client_certificate {ours} with client_key {ours}",
            ),
        ):
            write()
            assert main(["check", "--json", "--config", str(tmp_path / "edge.yaml")]) == 1
            report = json.loads(capsys.readouterr().out)
            assert f"{origin.url}: {words}" in json.dumps(report)
            before = edge.cluster.pids
            refused = edge.cluster.reload()
            assert not refused["ok"]
            assert f"{origin.url}: {words}" in refused["error"]
            assert edge.cluster.pids == before
            for number in range(4):
                assert edge.ask(f"/{number}").body == b"for the edge alone"
        ours.write_bytes(good)
        assert edge.cluster.reload()["ok"]
        assert edge.ask("/again").body == b"for the edge alone"
