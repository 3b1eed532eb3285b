"""`edgecluster waf`: requests tried without sending them, rules listed, folders of rules checked."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import main
from tests.support import patterns

RULES = """
SecRule ARGS "@contains forbidden" "id:1001,phase:2,pass,msg:'A word',tag:'words',setvar:tx.anomaly_score=+5"
SecRule REQUEST_HEADERS:X-Never "@rx ." "id:1002,phase:1,log,deny,msg:'Never'"
SecDebugLog /dev/null
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "a.conf").write_text(RULES)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main(["waf", *arguments, "--json"]) == code
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_a_url_is_tried_by_the_detectors_when_nothing_else_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = run(capsys, "test", "http://example.org/?id=1%27%20or%201=1--")
    assert (said["refuses"], said["score"], said["mode"]) == (True, 5, "log")
    [found] = said["found"]
    assert (found["rule"], found["variable"]) == ("sqli", "ARGS:id")


def test_a_configuration_decides_by_the_route_of_the_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rules: Path
) -> None:
    config = tmp_path / "edge.yaml"
    config.write_text(
        f"waf: {{mode: block, rules: {rules}}}\nstate_dir: state\n"
        "sites: [{hosts: a.example, origin: http://127.0.0.1:9, routes: [{prefix: /off, waf: off}]}]\n"
    )
    (tmp_path / "state").mkdir()
    patterns.lend(tmp_path / "state")
    config_option = ("--config", str(config))
    said = run(capsys, "test", "http://a.example/x?q=forbidden", *config_option)
    assert (said["refuses"], said["route"], said["mode"]) == (True, "a.example/", "block")
    assert run(capsys, "test", "http://a.example/off?q=forbidden", *config_option)["mode"] == "off"
    other = run(capsys, "test", "http://b.example/", *config_option, code=1)
    assert "no site of" in other["error"]
    body = ("-d", '{"q": "forbidden"}', "-H", "Content-Type: application/json")
    assert run(capsys, "test", "http://a.example/x", *body, *config_option)["score"] == 5


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_file_holds_a_request_as_it_goes_over_the_wire(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, newline: bytes
) -> None:
    file = tmp_path / "request"
    lines = [b"POST /x HTTP/1.1", b"Host: a", b"Content-Type: text/plain", b"", b"<script>alert(1)</script>"]
    file.write_bytes(newline.join(lines))
    [found] = run(capsys, "test", str(file))["found"]
    assert (found["rule"], found["variable"]) == ("xss", "REQUEST_BODY")


def test_what_is_no_request_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "request").write_bytes(b"hello")
    assert "not a request" in run(capsys, "test", str(tmp_path / "request"), code=2)["error"]
    assert "cannot read" in run(capsys, "test", str(tmp_path / "none"), code=2)["error"]


def test_rules_are_listed_beside_the_detectors(capsys: pytest.CaptureFixture[str], rules: Path) -> None:
    said = run(capsys, "rules", "--rules", str(rules))
    ids = [one["id"] for one in said["rules"]]
    assert ids[-2:] == ["1001", "1002"]
    assert {"sqli", "xss", "probe", "malformed", "excess"} <= set(ids)


def test_a_folder_that_is_understood_can_be_used(capsys: pytest.CaptureFixture[str], rules: Path) -> None:
    said = run(capsys, "import", str(rules))
    assert (said["usable"], said["files"], said["rules"], said["settings"]) == (True, 1, 2, 1)
    assert said["phases"] == {"1": 1, "2": 1}


def test_every_fault_of_a_folder_is_told_with_its_place(
    capsys: pytest.CaptureFixture[str], rules: Path
) -> None:
    bad = rules / "b.conf"
    bad.write_text('SecNonsense\nSecRule ARGS "@nope x" "id:1"\nSecRule ARGS "@rx (" "id:2"\n')
    said = run(capsys, "import", str(rules), code=1)
    places = [fault.partition(": ")[0] for fault in said["faults"]]
    assert places == [f"{bad}:{line}" for line in (1, 2, 3)]
    assert (said["usable"], said["rules"]) == (False, 2)
