"""An authority that wants accounts made beforehand (external account binding, RFC 8555 7.3.4)."""

import os
from pathlib import Path

import pytest

from cluster.acme.authority import Authority, AuthorityError
from cluster.config import load
from cluster.errors import UsageError
from cluster.settings import ClusterSettings
from tests.support.pebble import Pebble, pebble
from tests.support.ports import free_port

KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


def configured(folder: Path, authority: Pebble, eab: str, **environment: str) -> ClusterSettings:
    file = folder / "edge.yaml"
    file.write_text(f"""
        listen: ["https://127.0.0.1:443"]
        state_dir: state
        sites: [{{origin: "http://127.0.0.1:9", hosts: [a.test]}}]
        acme: {{agree: true, directory: "{authority.directory}", ca_file: {authority.ca_file}, {eab}}}
    """)
    return load(file, environment=environment)


def opened(settings: ClusterSettings) -> None:
    acme = settings.acme
    assert acme is not None
    Authority(acme.authorities[0], acme, settings.state_dir).open()


def test_the_account_is_opened_by_its_key(tmp_path: Path) -> None:
    keys = {"externalAccountBindingRequired": True, "externalAccountMACKeys": {"mine": KEY}}
    with pebble(tmp_path, free_port(), **keys) as authority:
        with pytest.raises(AuthorityError, match="wants an account that was made beforehand"):
            opened(configured(tmp_path, authority, ""))
        with pytest.raises(AuthorityError, match="refused: unauthorized"):
            opened(configured(tmp_path, authority, f"eab: {{kid: other, key: {KEY}}}"))
        with pytest.raises(AuthorityError, match="refused: unauthorized"):
            opened(configured(tmp_path, authority, "eab: {kid: mine, key: eHg}"))
        with pytest.raises(AuthorityError, match=r"the key of the account mine \('eab' of 'acme'\) is not"):
            opened(configured(tmp_path, authority, "eab: {kid: mine, key: a}"))
        with pytest.raises(AuthorityError, match=r"cannot read the key of the account mine, .*none: No such"):
            opened(configured(tmp_path, authority, "eab: {kid: mine, key_file: none}"))
        opened(configured(tmp_path, authority, "eab: {kid: mine, key: '${KEY}'}", KEY=KEY))
        (tmp_path / "key").write_text(KEY + os.linesep)
        opened(configured(tmp_path, authority, "eab: {kid: mine, key_file: key}"))
        (tmp_path / "key").unlink()
        opened(configured(tmp_path, authority, "eab: {kid: mine, key: eHg}"))  # it is not shown again


@pytest.mark.parametrize("eab", ["{kid: mine}", "{kid: mine, key: a, key_file: b}"])
def test_the_key_is_given_in_one_way(tmp_path: Path, eab: str) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(f"sites: [{{origin: 'http://127.0.0.1:9'}}]\nacme: {{agree: true, eab: {eab}}}\n")
    with pytest.raises(UsageError, match="give the account's MAC key either as 'key' or in a 'key_file'"):
        load(file)


def test_the_key_is_in_no_message(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(
        "listen: https://127.0.0.1:443\nsites: [{origin: 'http://127.0.0.1:9', hosts: [a.test]}]\n"
        f"acme: {{agree: true, eab: {{kid: mine, key: {KEY}}}}}\n"
    )
    assert KEY not in repr(load(file))
