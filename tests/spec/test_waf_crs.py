"""Debian's Core Rule Set over a whole edge, as `rules: /usr/share/modsecurity-crs` loads it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.scripted_origin import ScriptedOrigin, answer
from tests.support.versions import connect

CRS = Path("/usr/share/modsecurity-crs")
CONFIG = """
log: {{path: ''}}
waf: {{mode: block, rules: {rules}}}
sites:
  - origin: {url}
    routes:
      - prefix: /excluded
        waf: {{exclude: [913100, agent, {{rule: attack-sqli, variable: "ARGS:q"}}, sqli]}}
      - prefix: /
"""
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,*/*;q=0.8",
)
SQL = quote("1' union select password from users--")

pytestmark = pytest.mark.skipif(not CRS.exists(), reason="Debian's package modsecurity-crs is not installed")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfiguredEdge]:
    with (
        ScriptedOrigin(lambda request: answer(request.body)) as origin,
        configured_edge(tmp_path_factory.mktemp("crs"), CONFIG.format(url=origin.url, rules=CRS)) as edge,
    ):
        yield edge


@pytest.fixture
def edge(running: ConfiguredEdge, over: str) -> ConfiguredEdge:
    return running.by(over)


def test_it_refuses_attacks_and_lets_browsers_pass(edge: ConfiguredEdge) -> None:
    for _ in range(2):
        assert edge.ask("/page?q=tea+for+two", *BROWSER).status == 200
    assert edge.ask(f"/page?q={SQL}", *BROWSER).status == 403
    assert edge.ask("/page", "User-Agent: sqlmap/1.7").status == 403


def test_exclusions_hold_for_their_route(edge: ConfiguredEdge) -> None:
    assert edge.ask("/excluded", "User-Agent: sqlmap/1.7", BROWSER[1]).status == 200
    assert edge.ask(f"/excluded?q={SQL}", *BROWSER).status == 200
    assert edge.ask(f"/excluded?other={SQL}", *BROWSER).status == 403


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/x-www-form-urlencoded", b"name=O%27Brien&text=tea", 200),
        ("application/json", b'{"name": "Ada", "list": [1, 2, 3]}', 200),
        ("application/json", b'{"name": "<script>alert(document.cookie)</script>"}', 403),
        ("application/x-www-form-urlencoded", b"a=" + b"tea " * 5000 + b"&q=" + SQL.encode(), 403),
    ],
)
def test_bodies_without_a_length_are_judged_as_others(
    edge: ConfiguredEdge, content_type: str, body: bytes, status: int
) -> None:
    async def main() -> int:
        async with connect(edge.over, edge.ends) as client:
            fields = [line.partition(": ")[::2] for line in (*BROWSER, f"Content-Type: {content_type}")]
            stream = client.begin("/page", fields, method="POST", end=False)
            await client.upload(stream, [body])
            return (await client.answer(stream)).status

    assert asyncio.run(main()) == status
