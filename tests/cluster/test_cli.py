"""The command line: what it prints, its exit codes, and its manners in a pipe."""

# Messages stand here as users see them, in one piece:
# ruff: noqa: E501, ISC004

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cluster.certificates import local_certificate
from cluster.cli import edgecluster, main
from cluster.cli.demo import free_port, guide, typed
from cluster.cli.output import duration
from cluster.cli.running import report
from cluster.cli.serving import make_state_dir
from cluster.config import Flags
from cluster.errors import BootError
from cluster.lock import supervisor_socket
from cluster.settings import ClusterSettings
from cluster.version import VERSION
from tests.support import ports
from tests.support.answering_supervisor import STATUS, answering
from tests.support.mmdb import country, write_mmdb

VERBS = ("start", "run-demo", "check", "reload", "stop", "status", "explain", "purge", "version")

CLUSTER = {key: value for key, value in STATUS.items() if key != "ok"}


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python -m cluster` as a process, its output in pipes."""
    command = [sys.executable, "-m", "cluster", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def verb(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """One command line in this process: exit code, standard output, standard error."""
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


class TestManners:
    def test_it_runs_as_a_module(self) -> None:
        done = run("version")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"edgecluster {VERSION} (Python ")

    @pytest.mark.parametrize("name", VERBS)
    def test_every_verb_explains_itself_and_knows_json(self, name: str) -> None:
        result = CliRunner().invoke(edgecluster, [name, "--help"])
        assert result.exit_code == 0
        assert f"edgecluster {name}" in result.output
        assert "--json" in result.output

    def test_alone_it_shows_what_there_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = verb(capsys)
        assert (code, err) == (0, "")
        assert all(name in out for name in VERBS)
        assert "run-demo" in out.split("Options")[0]  # where to begin comes first

    def test_no_colour_in_a_pipe(self) -> None:
        environment = {**os.environ, "GITHUB_ACTIONS": "true", "TERM": "xterm-256color"}
        for arguments in (
            ["--help"],
            ["start", "--help"],
            ["start"],
            ["check", "--to", "http://127.0.0.1:9"],
        ):
            done = run(*arguments, env=environment)
            assert "\x1b" not in done.stdout + done.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["strat"], "No such command 'strat'. (Did you mean one of: 'start', 'status'?) "
             "(see 'edgecluster --help')"),
            (["start", "--nope"], "No such option '--nope'. Did you mean '--to'? (see 'edgecluster start --help')"),
            (["start"], "nothing to serve: give --to URL, or --config FILE"),
            (["start", "--to", "x"], "--to: bad value 'x': must begin with http:// or https:// "
             "(expects the origin's URL such as http://127.0.0.1:8000)"),
            (["purge"], "name what to purge, in one of the ways URLs, --prefix, --host, --tag, --all "
             "(see 'edgecluster purge --help')"),
            (["purge", "--all", "http://a/"], "name what to purge, in one of the ways URLs, --prefix, --host, "
             "--tag, --all (see 'edgecluster purge --help')"),
        ],
    )  # fmt: skip
    def test_a_mistake_is_one_line_and_code_2(
        self, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
    ) -> None:
        code, out, err = verb(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err == f"edgecluster: {message}\n"

    def test_a_mistake_as_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = verb(capsys, "start", "--json")
        assert (code, err) == (2, "")
        error = "nothing to serve: give --to URL, or --config FILE"
        assert json.loads(out) == {"ok": False, "error": error, "exit_code": 2}

    @pytest.mark.parametrize("name", ["stop", "reload", "status"])
    def test_nothing_runs(self, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
        code, out, err = verb(capsys, name, "--state-dir", str(tmp_path))
        assert (code, out) == (1, "")
        assert err == (
            f"edgecluster: no edge is running on {tmp_path}: start one with 'edgecluster start', "
            "or name its state directory with --state-dir\n"
        )

    def test_nothing_to_purge_from(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        code, out, _ = verb(capsys, "purge", "--all", "--json", "--state-dir", str(tmp_path))
        assert code == 1
        assert json.loads(out)["error"].startswith(f"no edge is running on {tmp_path}")

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.4, "0s"), (59, "59s"), (93784, "1d 2h"), (3600, "1h"), (61, "1m 1s")]
    )
    def test_durations_are_short(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text


class TestStateDirectory:
    def test_it_is_made_for_us_alone(self, tmp_path: Path) -> None:
        make_state_dir(tmp_path / "a/b")
        assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o700

    def test_one_that_is_open_to_others_is_closed(self, tmp_path: Path) -> None:
        (tmp_path / "open").mkdir(mode=0o755)
        make_state_dir(tmp_path / "open")
        assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700

    def test_one_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(
            BootError, match=r"cannot make the state directory .*: .*; choose one we may write"
        ):
            make_state_dir(tmp_path / "file/state")


class TestCheck:
    def check(
        self, capsys: pytest.CaptureFixture[str], *arguments: str
    ) -> tuple[int, dict[str, list[tuple[str, str]]]]:
        """Exit code, and (level, message) by subject."""
        code, out, _ = verb(capsys, "check", "--json", *arguments)
        found: dict[str, list[tuple[str, str]]] = {}
        answer = json.loads(out)
        assert answer["ok"] == (code == 0)
        for finding in answer["findings"]:
            found.setdefault(finding["subject"], []).append((finding["level"], finding["message"]))
        return code, found

    def test_what_is_well(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        file = tmp_path / "edge.yaml"
        file.write_text(
            f"listen: http://127.0.0.1:0\nstate_dir: {tmp_path}/state\nlog: {{path: access.log}}\n"
            "cache: {memory: 8MiB}\nworkers: 2\nsites: [{origin: http://127.0.0.1:9}]\n"
        )
        code, found = self.check(capsys, "--config", str(file))
        assert code == 0
        assert found["configuration"] == [("ok", f"{file}: 1 site, 1 route, 2 workers")]
        assert found["state directory"] == [("ok", f"{tmp_path}/state; will be made")]
        assert found["access log"] == [("ok", f"{tmp_path}/access.log")]
        assert found["origin"] == [("ok", "http://127.0.0.1:9 is 127.0.0.1")]
        assert not (tmp_path / "state").exists()

    def test_it_reads_well(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        arguments = [
            "--to",
            "http://127.0.0.1:9",
            "--listen",
            "http://127.0.0.1:0",
            "--state-dir",
            str(tmp_path),
        ]
        code, out, err = verb(capsys, "check", *arguments)
        lines = out.splitlines()
        assert (code, err, lines[-1]) == (0, "", "it would start")
        assert lines[1] == f"ok       state directory {tmp_path}"

    def test_what_is_not(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            code, found = self.check(
                capsys, "--to", "https://nowhere.invalid", "--listen", url, "--state-dir", f"{tmp_path}/file/s",
                "--cache-memory", "900TiB", "--log", f"{tmp_path}/no/access.log",
                "--tls-cert", f"{tmp_path}/file", "--tls-key", f"{tmp_path}/none",
            )  # fmt: skip
        assert code == 1
        assert found["address"][0][0] == "error"
        assert found["address"][0][1].startswith(f"cannot listen on {url}: the port is in use by ")
        ((level, message),) = found["cache memory"]
        assert (level, message.split(",")[0]) == ("error", "900TiB asked for")
        assert found["certificate"][0] == (
            "error", f"cannot read the private key {tmp_path}/none: No such file or directory; give the path of a PEM file"
        )  # fmt: skip
        assert found["certificate"][1] == ("warning", "given, but nothing listens on https://")
        assert [level for level, _ in found["access log"]] == ["error"]
        assert [level for level, _ in found["state directory"]] == ["error"]
        ((level, message),) = found["origin"]
        assert level == "warning"
        assert message.startswith("https://nowhere.invalid:443: the name does not resolve now: ")

    def test_a_file_of_countries(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        file, path = tmp_path / "edge.yaml", tmp_path / "country.mmdb"
        file.write_text(
            "listen: http://127.0.0.1:0\nstate_dir: state\ngeo: {country: country.mmdb}\n"
            "sites: [{origin: http://127.0.0.1:9, cache: {key: {country: true}}}]\n"
        )
        code, found = self.check(capsys, "--config", str(file))
        assert (code, found["geo"]) == (1, [("error", f"cannot read {path}: No such file or directory")])
        write_mmdb(path, {"192.0.2.0/24": country("DE")})
        code, found = self.check(capsys, "--config", str(file))
        [(level, message)] = found["geo"]
        assert (code, level) == (0, "ok")
        assert message.startswith(f"{path}: Test-Country of 20")

    def test_a_certificate_for_other_names(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        certificate, key = local_certificate(tmp_path, ["*.example.org"])
        file = tmp_path / "edge.yaml"
        file.write_text(
            f"listen: https://127.0.0.1:0\ntls: {{certificate: {certificate}, key: {key}}}\nstate_dir: state\n"
            "sites: [{origin: http://127.0.0.1:9, hosts: [a.example.org, b.a.example.org, other.example]}]\n"
        )
        code, found = self.check(capsys, "--config", str(file))
        assert code == 0
        (level, message), *warnings = found["certificate"]
        assert level == "ok"
        assert message.startswith(f"{certificate} for *.example.org, until ")
        assert warnings == [
            ("warning", "none is for the host b.a.example.org: clients will refuse it"),
            ("warning", "none is for the host other.example: clients will refuse it"),
        ]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
    def test_the_log_must_be_the_workers_to_write(self, capsys: pytest.CaptureFixture[str]) -> None:
        with tempfile.TemporaryDirectory() as name:  # pytest's own directories are closed to other users
            directory = Path(name)
            directory.chmod(0o755)
            file = directory / "edge.yaml"
            file.write_text(
                "listen: http://127.0.0.1:0\nstate_dir: state\nlog: {path: log/a}\nuser: nobody\n"
                "sites: [{origin: http://127.0.0.1:9}]\n"
            )
            (directory / "log").mkdir(mode=0o755)
            _, found = self.check(capsys, "--config", str(file))
            assert found["user"] == [("ok", "workers run as nobody")]
            error = f"{directory}/log/a cannot be written by nobody: check its directory"
            assert found["access log"] == [("error", error)]
            (directory / "log").chmod(0o777)
            _, found = self.check(capsys, "--config", str(file))
            assert found["access log"] == [("ok", f"{directory}/log/a")]
            assert os.geteuid() == 0

    def test_an_unknown_user(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        file = tmp_path / "edge.yaml"
        file.write_text(
            "listen: http://127.0.0.1:0\nstate_dir: s\nuser: no-one-at-all\nsites: [{origin: http://127.0.0.1}]\n"
        )
        code, found = self.check(capsys, "--config", str(file))
        assert (code, found["user"]) == (
            1,
            [("error", "there is no user 'no-one-at-all'; create it or name another")],
        )

    def test_a_wrong_configuration_ends_with_2(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        file = tmp_path / "edge.yaml"
        file.write_text("lissten: 1\nsites: []\nworkers: x\n")
        code, out, err = verb(capsys, "check", "--config", str(file))
        assert (code, out) == (2, "")
        first, *rest = err.splitlines()
        assert first == "edgecluster: 2 errors in the configuration:"
        assert rest[0].startswith(f"  {file}:1:1: unknown key 'lissten'; did you mean 'listen'? (expects ")
        assert rest[1].startswith(f"  {file}:3:10: bad value 'x' for 'workers'")

    def test_the_schema_is_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = verb(capsys, "check", "--schema")
        assert code == 0
        assert json.loads(out)["title"] == "edgecluster configuration"


class TestStarting:
    @pytest.mark.parametrize("drops", [False, True])
    def test_only_this_start_drops_the_cache(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, drops: bool
    ) -> None:
        asked: list[tuple[bool, bool]] = []

        def serve(
            settings: ClusterSettings, loading: Callable[[], ClusterSettings], _announce: object
        ) -> int:
            asked.append((settings.drop_cache, loading().drop_cache))
            return 0

        monkeypatch.setattr("cluster.cli.serving.serve", serve)
        code, _, err = verb(capsys, "start", "--to", "http://127.0.0.1:9", *["--drop-cache"] * drops)
        assert (code, err, asked) == (0, "", [(drops, False)]), "a reload is no start"


class TestRunning:
    def test_reload_tells_what_was_left_aside(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        answer = {"ok": True, "error": "", "generation": 3, "notes": ["the cache keeps its size"]}
        with answering(supervisor_socket(tmp_path), {"reload": lambda: answer}):
            code, out, _ = verb(capsys, "reload", "--state-dir", str(tmp_path))
        assert (code, out) == (0, "reloaded: generation 3 serves\nnote: the cache keeps its size\n")

    def test_a_failed_reload_tells_why(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        answer = {"ok": False, "error": "edge.yaml:1:1: unknown key 'x'", "generation": 3, "notes": []}
        with answering(supervisor_socket(tmp_path), {"reload": lambda: answer}):
            code, out, err = verb(capsys, "reload", "--state-dir", str(tmp_path))
        assert (code, out, err) == (1, "", "edgecluster: reload failed: edge.yaml:1:1: unknown key 'x'\n")

    def test_stop_waits_for_the_end(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        with subprocess.Popen(["sleep", "600"]) as edge:

            def stop() -> dict[str, Any]:
                edge.terminate()
                return {"ok": True, "pid": edge.pid}

            with answering(supervisor_socket(tmp_path), {"stop": stop}):
                code, out, _ = verb(capsys, "stop", "--state-dir", str(tmp_path))
        assert (code, out) == (
            0,
            f"stopping the edge (pid {edge.pid}): finishing what is under way\nstopped\n",
        )

    def test_stop_does_not_wait_for_ever(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        with subprocess.Popen(["sleep", "600"]) as edge:
            answers = {"stop": lambda: {"ok": True, "pid": edge.pid}}
            with answering(supervisor_socket(tmp_path), answers):
                code, _, err = verb(capsys, "stop", "--timeout", "0.1", "--state-dir", str(tmp_path))
            edge.kill()
        assert code == 1
        assert err == (
            f"edgecluster: the edge (pid {edge.pid}) is still finishing requests after 0.1 s; "
            f"wait longer with --timeout, or end it at once with 'kill {edge.pid}'\n"
        )

    def test_status_without_a_control_process(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        answers = {"status": lambda: dict(STATUS), "ping": lambda: {"ok": True}}
        with answering(supervisor_socket(tmp_path), answers):
            code, out, _ = verb(capsys, "status", "--json", "--state-dir", str(tmp_path))
        answer = json.loads(out)
        assert (code, answer["ok"], answer["cluster"]) == (0, True, CLUSTER)
        assert "its control process does not answer" in answer["note"]

    @pytest.mark.parametrize(
        ("start", "line"),
        [
            (("empty", "nothing was left to take over", 0, 0), "empty: nothing was left to take over"),
            (("warm", "left damaged", 5, 2), "warm, 5 objects kept, 2 damaged ones dropped: left damaged"),
        ],
    )
    def test_how_the_cache_began(self, start: tuple[str, str, int, int], line: str) -> None:
        names = ("cache_start", "cache_start_reason", "cache_objects_kept", "cache_objects_damaged")
        cluster = {**CLUSTER, **dict(zip(names, start, strict=True))}
        assert f"cache start {line}" in report(cluster, {"note": "none"}).splitlines()

    def test_a_report_for_people(self) -> None:
        totals = {
            "requests": 12345, "hit_ratio": 0.9712, "origin_requests": 355, "errors": 2, "blocked": 3,
            "connections_open": 7, "bytes_out": 5 * 1024**2,
        }  # fmt: skip
        cache = {"objects": 340, "bytes_stored": 3 * 1024**2}
        groups = [
            {"name": "app", "breaker": None, "servers": [
                {"url": "http://10.0.0.1", "backup": False, "state": "healthy", "reason": "", "for_s": None,
                 "back_in_s": None},
                {"url": "http://10.0.0.2", "backup": False, "state": "ejected", "for_s": 3.2, "back_in_s": 6.8,
                 "reason": "5 requests failed in a row"},
                {"url": "http://10.0.0.3", "backup": True, "state": "unhealthy", "reason": "status 503",
                 "for_s": 125.0, "back_in_s": None},
            ]},
            {"name": "api", "breaker": {"state": "half-open", "for_s": 61.0}, "servers": []},
            {"name": "img", "breaker": {"state": "closed", "for_s": None}, "servers": []},
        ]  # fmt: skip
        rules = {"sqli": 3, "942100": 1200, "xss": 3, "920350": 1, "probe": 9, "rare": 1}
        stats = {"totals": totals, "cache": cache, "groups": groups, "waf_rules": rules}
        assert report({**CLUSTER, "waf": "waf blocks"}, stats).splitlines() == [
            "edgecluster 1.2.3 is running for 1d 2h (pid 4711)",
            "listening   http://127.0.0.1:8080  https://127.0.0.1:8443",
            "http/3      udp 127.0.0.1:8443",
            "admin       on the Unix socket only",
            "config      none (flags only), generation 2",
            "waf         blocks; most often 942100 (1,200), probe (9), sqli (3), xss (3), 920350 (1)",
            "workers     1 of 2 up, 3 replaced, 1 of another generation",
            "cache start warm, 1,234 objects kept: the last supervisor left it whole",
            "requests    12,345 answered, hit ratio 97.1%",
            "origin      355 requests sent",
            "refused     3 blocked, 2 failed",
            "clients     7 connected, 5MiB sent",
            "cache       340 objects, 3MiB stored in 64MiB",
            "group       app: 1 of 3 servers available",
            "            http://10.0.0.1 healthy",
            "            http://10.0.0.2 ejected for 3s, for 6s more: 5 requests failed in a row",
            "            http://10.0.0.3 (backup) unhealthy for 2m 5s: status 503",
            "group       api: 0 of 0 servers available, breaker half-open for 1m 1s",
            "group       img: 0 of 0 servers available",
        ]


class TestDemo:
    def test_a_taken_port_is_replaced_by_a_free_one(self) -> None:
        notes: list[str] = []
        default = ports.free_port()
        with socket.create_server(("127.0.0.1", default)):
            port = free_port(default, notes)
        assert port != default
        assert notes == [f"port {default} is taken, so this uses {port}"]
        assert free_port(default, notes) == default
        assert len(notes) == 1

    def test_a_port_asked_for_is_not_replaced(self, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            code, _, err = verb(capsys, "run-demo", "--origin-port", str(port))
        assert code == 1
        assert err == (
            f"edgecluster: cannot listen on 127.0.0.1:{port} for the demo origin: the port is taken; "
            "choose another --origin-port\n"
        )

    def test_the_guide_says_what_a_shell_finds(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        place = tmp_path / "my venv" / "bin"
        place.mkdir(parents=True)
        monkeypatch.setattr(sys, "executable", str(place / "python"))
        monkeypatch.setenv("PATH", "/nowhere")
        assert typed() == f"'{place}/python' -m cluster"
        (place / "edgecluster").write_text("#!/bin/sh\n")
        (place / "edgecluster").chmod(0o755)
        assert typed() == f"'{place}/edgecluster'"
        monkeypatch.chdir(tmp_path)
        assert typed() == "'my venv/bin/edgecluster'"
        monkeypatch.setenv("PATH", str(place))
        assert typed() == "edgecluster"

    def test_the_guide_names_the_addresses_in_use(self) -> None:
        flags = Flags(to="http://127.0.0.1:8081", state_dir="/my state")
        text = guide(flags, {**CLUSTER, "admin": "http://127.0.0.1:9180", "state_dir": "/my state"})
        assert text.count("\n  curl ") + text.count("\n  time curl ") == 3
        assert "curl -si http://127.0.0.1:8080/page" in text
        assert "--cacert '/my state/tls/ca.pem' https://127.0.0.1:8443/language" in text
        assert f"  {typed()} status --state-dir '/my state'\n" in text
        assert "http://127.0.0.1:9180/metrics" in text
