"""`edgecluster explain`: what would become of a request, by the stages that a worker has."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cluster.cli import main
from cluster.cli.admin import ask_admin
from tests.support.client import ask
from tests.support.cluster import Cluster, settings
from tests.support.scripted_origin import ScriptedOrigin, answer

CONFIG = """
state_dir: {state}
limits: { header_count: 100 }
waf: block
sites:
  - hosts: [a.example]
    origin: http://127.0.0.1:9
    access: { deny: [203.0.113.0/24] }
    rate_limits: [{ name: everyone, rate: 50/s, burst: 200 }]
    cache: { key: { drop: [utm_*] } }
    routes:
      - prefix: /api/
        origin: { url: http://127.0.0.1:9000, first_byte_timeout: 5s, connect_timeout: 1s }
        cache: false
        methods: [GET]
      - prefix: /old/
        redirects: [{ path: /old/x, to: /new/x }]
      - prefix: /in/
        rewrite: { strip_prefix: /in }
        headers: { response: { set: { X-Edge: here } } }
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an edge has compiled the WAF's patterns."""
    folder = tmp_path_factory.mktemp("state")
    (folder / "waf").mkdir()
    return folder


@pytest.fixture
def config(tmp_path: Path, state: Path) -> Path:
    file = tmp_path / "edge.yaml"
    file.write_text(CONFIG.replace("{state}", str(state)))
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main(["explain", *arguments, "--json"]) == code
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def last(said: dict[str, Any]) -> tuple[str, bool, int | None]:
    step = said["steps"][-1]
    return step["stage"], step["passes"], step.get("status")


def test_a_request_that_passes_is_told_of_to_the_end(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    given = ("-c", str(config), "-A", "Cache-Control: max-age=60, stale-while-revalidate=5", "-A", "Vary: X")
    said = run(capsys, "http://A.example/x/../y?b=1&utm_id=2", *given)
    assert (said["site"], said["route"]) == ("a.example", "a.example/")
    assert [step["stage"] for step in said["steps"] if not step["passes"]] == []
    [limit] = [step["limit"] for step in said["steps"] if step["stage"] == "rate limit"]
    assert (limit["name"], limit["rate"], limit["burst"]) == ("everyone", 50, 200)
    assert said["cache"]["key"] == "http://a.example/y?b=1"
    assert (said["cache"]["outcome"], said["cache"]["forward"]) == ("miss", "uri-miss")
    plan = said["cache"]["answer"]
    assert (plan["stored"], plan["fresh_s"], plan["stale_while_revalidate_s"]) == (True, 60, 5)
    assert plan["vary"] == ["x"]
    assert said["cache"]["stored_now"] is None
    assert said["origin"]["target"] == "/y?b=1&utm_id=2"
    assert said["origin"]["servers"][0]["url"] == "http://127.0.0.1:9"
    assert ["X-Cache", "MISS"] in said["answer"]


@pytest.mark.parametrize(
    ("arguments", "stage", "status"),
    [
        (["http://a.example/", "--from", "203.0.113.7"], "access list", 403),
        (["http://a.example/?id=1%27%20or%201=1--"], "waf", 403),
        (["http://a.example/", "-d", "id=1%27%20or%201=1--"], "waf", 403),
        (["http://a.example/api/", "-X", "PUT"], "methods", 405),
        (["http://a.example/old/x"], "redirects", 301),
        (["http://a.example/%00"], "parsing", 400),
        (["http://b.example/"], "site", 421),
    ],
)
def test_the_stage_that_answers_is_the_last(
    capsys: pytest.CaptureFixture[str], config: Path, arguments: list[str], stage: str, status: int
) -> None:
    said = run(capsys, *arguments, "-c", str(config))
    assert last(said) == (stage, False, status)
    assert (said["origin"], said["answer"]) == (None, None)


def test_what_a_client_is_to_do_next_is_told(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    said = run(capsys, "http://a.example/old/x", "-c", str(config))
    assert said["steps"][-1]["fields"] == {"Location": "/new/x"}
    assert main(["explain", "http://a.example/old/x", "-c", str(config)]) == 0
    assert "answers 301; Location: /new/x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "no-lifetime"),
        (["-A", "Cache-Control: no-store"], "no-store"),
        (["-A", "Cache-Control: max-age=5", "-A", "Set-Cookie: a=b"], "set-cookie"),
        (["-A", "Cache-Control: max-age=5", "-X", "HEAD"], "method"),
    ],
)
def test_why_an_answer_would_not_be_stored(
    capsys: pytest.CaptureFixture[str], config: Path, arguments: list[str], word: str
) -> None:
    said = run(capsys, "http://a.example/", "-c", str(config), *arguments)
    assert (said["cache"]["answer"]["stored"], said["cache"]["answer"]["refusal"]) == (False, word)


def test_a_route_without_a_cache_and_its_origin(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    said = run(capsys, "http://a.example/api/x", "-c", str(config))
    assert (said["cache"]["key"], said["cache"]["outcome"]) == ("", "bypass")
    [server] = said["origin"]["servers"]
    assert (server["connect_timeout_s"], server["first_byte_timeout_s"]) == (1, 5)


def test_what_the_route_rewrites(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    said = run(capsys, "http://a.example/in/x?y", "-c", str(config))
    assert said["origin"]["target"] == "/x?y"
    assert ["X-Edge", "here"] in said["answer"]


def test_people_get_the_same(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    arguments = ["http://a.example/?id=1%27", "-c", str(config), "-A", "Cache-Control: max-age=90"]
    assert main(["explain", *arguments]) == 0
    out = capsys.readouterr().out
    for words in (
        "GET http://a.example/?id=1%27 from 127.0.0.1",
        "passes (everyone: 50/s, burst 200 by address, action block)",
        "is stored, fresh for 1m 30s",
        "http://127.0.0.1:9: connect 5 s, first byte 60 s, idle 60 s",
        "not known: no edge that runs could be asked",
    ):
        assert words in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://a.example/", "--from", "nobody"], "--from nobody"),
        (["http://a.example/", "-A", "Cache-Control"], "Name: value"),
        (["http://a.example/", "-A", "A B: c"], "whitespace before the colon"),
    ],
)
def test_what_cannot_be_meant_is_said(
    capsys: pytest.CaptureFixture[str], config: Path, arguments: list[str], message: str
) -> None:
    assert message in run(capsys, *arguments, "-c", str(config), code=2)["error"]


def test_without_a_configuration_somebody_must_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = run(capsys, "http://a.example/", "--state-dir", str(tmp_path), code=2)
    assert "Give --config or --to; no edge is running" in said["error"]


def test_what_a_running_edge_has_stored_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = ["Cache-Control: max-age=600", "Cache-Tag: a, b"]
    with ScriptedOrigin(lambda request: answer(b"page", "200 OK", lines)) as origin:
        with Cluster(settings(tmp_path / "state", origin=origin.url)) as edge:
            given = ("--to", origin.url, "--waf", "off", "--state-dir", str(tmp_path / "state"))
            assert run(capsys, "http://edge.test/a", *given)["cache"]["stored_now"]["responses"] == []
            asyncio.run(ask(urlsplit(edge.url).port or 0, "/a"))
            asked = len(origin.requests)
            [stored] = run(capsys, "http://edge.test/a", *given)["cache"]["stored_now"]["responses"]
            assert (stored["status"], stored["verdict"], stored["tags"]) == (200, "fresh", 2)
            assert 0 < stored["ttl_s"] <= 600
            ask_admin(tmp_path / "state", "POST", "/ban", {"networks": ["192.0.2.0/24"]})
            asked_from = [
                run(capsys, "http://edge.test/a", *given, "--from", f"{one}.0.2.1") for one in (192, 193)
            ]
            assert [said["banned_now"] for said in asked_from] == ["192.0.2.0/24", None]
            assert len(origin.requests) == asked
            alone = run(capsys, "http://edge.test/a", "--state-dir", str(tmp_path / "state"), code=2)
            assert "started by flags alone" in alone["error"]


def test_who_a_trusted_proxy_speaks_for_is_the_client(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    config.write_text(f"trusted_proxies: [127.0.0.0/8]\n{config.read_text()}")
    said = run(capsys, "http://a.example/", "-c", str(config), "-H", "X-Forwarded-For: 203.0.113.7")
    assert (said["steps"][0]["stage"], said["steps"][0]["reason"]) == ("client address", "203.0.113.7")
    assert last(said) == ("access list", False, 403)
