"""What a configuration may say of origins: one server, groups, names for them, and every way to get it wrong."""

# Messages stand here as users see them, in one piece:
# ruff: noqa: E501, ISC004

from pathlib import Path
from typing import Any

import pytest

from cluster.config import load
from cluster.config.build_origins import ranges
from cluster.errors import UsageError
from worker.settings import (
    BreakerSettings,
    EjectionSettings,
    GroupSettings,
    Origin,
    OriginSettings,
    ProbeSettings,
    RetrySettings,
)


def server(port: int, **options: Any) -> OriginSettings:
    return OriginSettings("http", "127.0.0.1", port, **{"retries": 0, **options})


def origins_of(tmp_path: Path, text: str) -> list[Origin]:
    """The origins of all routes."""
    file = tmp_path / "edge.yaml"
    file.write_text(text)
    return [route.origin for site in load(file, environment={}).worker.sites for route in site.routes]


def origin_of(tmp_path: Path, text: str) -> Origin:
    """What becomes of a site's `origin`."""
    (origin,) = origins_of(tmp_path, f"sites: [{{name: shop, origin: {text}}}]\n")
    return origin


def errors_of(tmp_path: Path, text: str) -> list[str]:
    """The messages, without the file's name."""
    with pytest.raises(UsageError) as caught:
        origins_of(tmp_path, text)
    lines = [line.strip() for line in str(caught.value).replace(f"{tmp_path}/edge.yaml:", "").splitlines()]
    return lines if len(lines) == 1 else lines[1:]


class TestMeaning:
    def test_a_url_is_one_server_with_attempts_of_its_own(self, tmp_path: Path) -> None:
        assert origin_of(tmp_path, "http://127.0.0.1:1") == OriginSettings("http", "127.0.0.1", 1)
        assert origin_of(tmp_path, "{url: http://127.0.0.1:1, retries: 3}") == server(1, retries=3)

    @pytest.mark.parametrize(
        "text",
        [
            "[http://127.0.0.1:1, http://127.0.0.1:2]",
            "{servers: [http://127.0.0.1:1, {url: http://127.0.0.1:2}]}",
            "{servers: [http://127.0.0.1:1, http://127.0.0.1:2], retries: 1, balance: round-robin}",
        ],
    )
    def test_a_list_is_a_group_named_as_its_site(self, tmp_path: Path, text: str) -> None:
        assert origin_of(tmp_path, text) == GroupSettings("shop", (server(1), server(2)))

    def test_one_server_with_a_breaker_is_a_group(self, tmp_path: Path) -> None:
        assert origin_of(tmp_path, "{url: http://127.0.0.1:1, breaker: 0.5, retries: 2}") == GroupSettings(
            "shop", (server(1),), breaker=BreakerSettings(share=0.5), retry=RetrySettings(attempts=2)
        )

    def test_everything_that_can_be_said_of_a_group(self, tmp_path: Path) -> None:
        (origin,) = origins_of(
            tmp_path,
            """
            origins:
              backend:
                servers:
                  - http://127.0.0.1:1
                  - {url: http://127.0.0.1:2, weight: 3, connect_timeout: 1s}
                  - {url: http://127.0.0.1:3, backup: true, connections: 10, host_header: other.example}
                host_header: backend.example
                connect_timeout: 2s
                connections: 5
                protocol: h2
                streams: 50
                ca_file: ca.pem
                balance: hash
                slow_start: 30s
                probe: {path: /up, host: probe.example, interval: 1s, timeout: 500ms, status: [200, 3xx], passes: 1, failures: 2}
                eject: {failures: 2, status: 5xx, time: 1s, max_time: 1m, max_share: 0.3}
                breaker: {share: 0.9, window: 5s, requests: 10, open: 2s}
                retry: {attempts: 2, status: [503, 502], budget: 0.1, least: 3}
            sites: [{origin: backend}]
            """,
        )
        options: dict[str, Any] = {
            "host_header": "backend.example", "connect_timeout_s": 2, "connections": 5, "protocol": "h2", "streams": 50,
            "ca_file": str(tmp_path / "ca.pem"),
        }  # fmt: skip
        assert origin == GroupSettings(
            "backend",
            (
                server(1, **options),
                server(2, **{**options, "weight": 3, "connect_timeout_s": 1}),
                server(3, **{**options, "backup": True, "connections": 10, "host_header": "other.example"}),
            ),
            balance="hash",
            slow_start_s=30,
            probe=ProbeSettings("/up", "probe.example", 1, 0.5, ((200, 200), (300, 399)), 1, 2),
            ejection=EjectionSettings(2, ((500, 599),), 1, 60, 0.3),
            breaker=BreakerSettings(0.9, 5, 10, 2),
            retry=RetrySettings(2, ((502, 503),), 0.1, 3),
        )

    def test_short_words(self, tmp_path: Path) -> None:
        origin = origin_of(tmp_path, "{servers: http://127.0.0.1:1, probe: /up, eject: false}")
        assert origin == GroupSettings(
            "shop", (server(1),), probe=ProbeSettings("/up"), ejection=EjectionSettings(failures=0)
        )

    def test_who_uses_a_name_gets_the_same_group(self, tmp_path: Path) -> None:
        one, other, own, plain = origins_of(
            tmp_path,
            """
            origins:
              backend: [http://127.0.0.1:1, http://127.0.0.1:2]
              single: http://127.0.0.1:3
            sites:
              - {hosts: a.example, origin: backend}
              - hosts: b.example
                origin: {use: backend}
                routes:
                  - {prefix: /own/, origin: [http://127.0.0.1:1]}
                  - {prefix: /plain/, origin: single}
            """,
        )
        assert one == plain == GroupSettings("backend", (server(1), server(2)))
        assert other == GroupSettings("b.example/own/", (server(1),))
        assert own == OriginSettings("http", "127.0.0.1", 3)

    @pytest.mark.parametrize(
        ("statuses", "expected"),
        [
            ([], ()),
            (["404"], ((404, 404),)),
            (["5xx", "404"], ((404, 404), (500, 599))),
            (["502", "503", "500"], ((500, 500), (502, 503))),
            (["3xx", "2xx"], ((200, 399),)),
            (["5xx", "503"], ((500, 599),)),
        ],
        ids=str,
    )
    def test_statuses_become_ranges(self, statuses: list[str], expected: tuple[tuple[int, int], ...]) -> None:
        assert ranges(statuses) == expected

    def test_what_is_not_said_is_what_the_settings_say(self, tmp_path: Path) -> None:
        origin = origin_of(
            tmp_path, "{servers: http://127.0.0.1:1, probe: {}, eject: {}, retry: {}, breaker: {share: 1}}"
        )
        assert origin == GroupSettings(
            "shop", (server(1),), probe=ProbeSettings(), breaker=BreakerSettings(share=1)
        )


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{}", "1:30: an origin needs a 'url' such as http://127.0.0.1:8000, or several under 'servers'"),
            ("[]", "1:30: an origin needs a 'url' such as http://127.0.0.1:8000, or several under 'servers'"),
            ("{url: http://a, servers: [http://b]}", "1:36: both 'url' and 'servers' are given: put it among the servers"),
            ("{url: http://a, balance: hash}", "1:55: 'balance' is about several servers: give them under 'servers'"),
            ("{url: http://a, slow_start: 3s}", "1:58: 'slow_start' is about several servers: give them under 'servers'"),
            ("[http://a, ftp://b]", "1:41: bad value 'ftp://b' for 'sites[0].origin[1]': must begin with http:// or https:// "
             "(expects the server's URL such as http://127.0.0.1:8000)"),
            ("[http://a, http://b, 'http://a:80']", "1:51: 'http://a:80' is listed already: give it a weight"),
            ("[{url: http://a, backup: true}]", "1:30: all servers are backups: somebody must be asked first"),
            ("{servers: [{url: http://a, weight: 0}, {url: http://b, backup: true}]}",
             "1:40: no server but backups has a weight above 0: nobody would be asked"),
            ("[{url: http://a, wieght: 2}]", "1:47: unknown key 'wieght' in 'sites[0].origin[0]'; did you mean 'weight'? "
             "(expects a whole number of at least 0)"),
            ("[{weight: 2}]", "1:31: missing key 'url' in 'sites[0].origin[0]' (expects the server's URL such as http://127.0.0.1:8000)"),
            ("{servers: [http://a], balance: fair}", "1:61: bad value 'fair' for 'sites[0].origin.balance' "
             "(expects round-robin, least-connections, two-choices or hash)"),
            ("{servers: [http://a], breaker: 2}", "1:61: bad value 2 for 'sites[0].origin.breaker': must be at most 1.0 (expects a share such as 0.5, at most 1)"),
            ("{servers: [http://a], breaker: {}}", "1:61: missing key 'share' in 'sites[0].origin.breaker' (expects a share such as 0.5, at most 1)"),
            ("{servers: [http://a], probe: up}", "1:59: bad value 'up' for 'sites[0].origin.probe' (expects a path such as /healthz)"),
            ("{servers: [http://a], retries: 1, retry: {attempts: 2}}", "1:61: 'retries' is short for 'retry.attempts', which is given too"),
            ("{servers: [https://a, {url: https://b, client_key: k}]}", "1:81: a key without its client_certificate"),
            ("{servers: [https://a, http://b], client_certificate: c}", "1:83: a certificate is shown over https:// only"),
            ("{url: http://a, protocol: auto}",
             "1:56: 'auto' asks the origin in the TLS handshake, and http:// has none: say h2 or http/1.1"),
            ("{servers: [https://a, http://b], protocol: auto}",
             "1:73: 'auto' asks the origin in the TLS handshake, and http:// has none: say h2 or http/1.1"),
            ("{url: http://a, protocol: h3}", "1:56: bad value 'h3' for 'sites[0].origin.protocol' (expects http/1.1, h2 or auto)"),
            ("[./public, http://a]", "1:31: bad value './public' for 'sites[0].origin[0]': must begin with http:// or https:// "
             "(expects the server's URL such as http://127.0.0.1:8000)"),
            ("{url: ./public, probe: /up}", "1:30: bad value (a mapping) for 'sites[0].origin': 'probe' is for a server, and the URL is that of a directory "
             "(expects a URL such as http://127.0.0.1:8000, a list of URLs, a name under 'origins' or a mapping with url, host_header, server_name, verify and more)"),
            ("backend", "1:30: 'backend' is no URL such as http://127.0.0.1:8000 and no name under 'origins'; there is none"),
        ],
    )  # fmt: skip
    def test_a_fault_in_an_origin(self, tmp_path: Path, text: str, message: str) -> None:
        assert errors_of(tmp_path, f"sites: [{{name: shop, origin: {text}}}]") == [message]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("origins: {backend: http://a}\nsites: [{origin: bakend}]",
             "2:18: 'bakend' is no URL such as http://127.0.0.1:8000 and no name under 'origins'; did you mean 'backend'?"),
            ("origins: {a: http://a, b: http://b}\nsites: [{origin: other}]",
             "2:18: 'other' is no URL such as http://127.0.0.1:8000 and no name under 'origins'; those are a, b"),
            ("origins: {a: http://a}\nsites: [{origin: {use: a, balance: hash}}]",
             "2:36: 'balance' cannot stand beside 'use': 'a' has it under 'origins'"),
            ("origins: {a: http://a, b: a}\nsites: [{origin: a}]", "1:27: 'b' is only another name for 'a': use that one"),
            ("origins: {a b: http://a}\nsites: [{origin: http://a}]",
             "1:16: bad value 'a b' for 'origins.a b' (expects a word of letters, digits, . _ and -)"),
            ("origins: {a: {url: http://a, verfy: true}}\nsites: [{origin: a}]",
             "1:30: unknown key 'verfy' in 'origins.a'; did you mean 'verify'? (expects true or false)"),
            ("origins: {a: [http://a]}\nsites: [{name: a, origin: [http://b]}]",
             "2:27: the servers of origins.a are a group named 'a', too: give these a name of their own under 'origins'"),
        ],
    )  # fmt: skip
    def test_a_fault_of_a_name(self, tmp_path: Path, text: str, message: str) -> None:
        assert errors_of(tmp_path, text) == [message]
