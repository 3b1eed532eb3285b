"""Who may ask: lists in files, bans by the command line, countries and systems, clients behind a proxy."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cli import edgecluster
from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.mmdb import country, write_mmdb

PATIENCE_S = 20.0
NEARBY = "X-Forwarded-For: 192.0.2.7"
CONFIG = """
trusted_proxies: 127.0.0.1
geo: {country: country.mmdb, asn: asn.mmdb}
sites:
  - origin: ./public
    access: {deny_files: [denied.txt], deny_countries: [fr], deny_asns: [AS64500]}
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfiguredEdge]:
    directory = tmp_path_factory.mktemp("edge")
    (directory / "public").mkdir()
    (directory / "public" / "page").write_text("hello\n")
    (directory / "denied.txt").write_text("203.0.113.0/24 # strangers\n")
    write_mmdb(directory / "country.mmdb", {"198.51.100.0/25": country("FR"), "192.0.2.0/24": country("DE")})
    write_mmdb(directory / "asn.mmdb", {"198.51.100.128/25": {"autonomous_system_number": 64500}})
    with configured_edge(directory, CONFIG) as running:
        yield running


def status(edge: ConfiguredEdge, client: str) -> int:
    return edge.ask("/page", f"X-Forwarded-For: {client}").status


def error(edge: ConfiguredEdge) -> str:
    """What `status` says of the files."""
    told: str = edgecluster("status", state_dir=edge.directory / "state")["address_files"]["error"]
    return told


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("client", "served"),
    [
        ("192.0.2.7", 200), ("203.0.113.9", 403), ("198.51.100.1", 403), ("198.51.100.200", 403),
        ("198.18.0.1", 200), ("2001:db8::1", 200),
    ],
)  # fmt: skip
def test_files_countries_and_systems_decide_about_the_client_behind_the_proxy(
    edge: ConfiguredEdge, client: str, served: int
) -> None:
    assert status(edge, client) == served


def test_a_ban_is_in_force_in_all_workers_when_the_command_returns(edge: ConfiguredEdge) -> None:
    state = edge.directory / "state"
    for client, given in (("192.0.2.50", "192.0.2.50"), ("192.0.2.65", "192.0.2.64/26")):
        assert status(edge, client) == 200
        said = edgecluster("ban", given, "--for", "1h", "--reason", "test", state_dir=state)
        assert said["bans"][0]["reason"] == "test"
        assert {status(edge, client) for _ in range(20)} == {403}
        assert status(edge, "192.0.2.7") == 200
    listed = [one["network"] for one in edgecluster("bans", state_dir=state)["bans"]]
    assert listed == ["192.0.2.50/32", "192.0.2.64/26"]
    edge.reload(CONFIG)
    assert status(edge, "192.0.2.50") == 403
    lifted = edgecluster("unban", "192.0.2.50", "192.0.2.64/26", "192.0.2.1", state_dir=state)["lifted"]
    assert lifted == {"192.0.2.50": True, "192.0.2.64/26": True, "192.0.2.1": False}
    assert {status(edge, "192.0.2.50") for _ in range(20)} == {200}


def test_a_ban_ends_by_itself(edge: ConfiguredEdge) -> None:
    edgecluster("ban", "192.0.2.90", "--for", "1s", state_dir=edge.directory / "state")
    wait_until(lambda: status(edge, "192.0.2.90") == 200, "the ban never ended")


def test_a_changed_list_is_in_force_by_itself_and_a_broken_one_changes_nothing(edge: ConfiguredEdge) -> None:
    denied = edge.directory / "denied.txt"
    assert status(edge, "192.0.2.99") == 200
    _replace(denied, "203.0.113.0/24\n192.0.2.99\n")
    wait_until(lambda: status(edge, "192.0.2.99") == 403, "the new list is not in force")
    generation = edge.cluster.status["generation"]
    _replace(denied, "203.0.113.0/24\nnonsense\n")
    wait_until(lambda: "denied.txt:2" in error(edge), "nobody says that the list is broken")
    assert (edge.cluster.status["generation"], status(edge, "192.0.2.99")) == (generation, 403)
    write_mmdb(edge.directory / "country.mmdb", {"198.51.100.0/25": country("DE")})
    _replace(denied, "203.0.113.0/24\n")
    wait_until(lambda: status(edge, "192.0.2.99") == 200, "the mended list is not in force")
    assert (status(edge, "198.51.100.1"), error(edge)) == (200, "")


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    os.rename(new, path)
