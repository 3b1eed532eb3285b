"""The configuration file and the flags: what they mean, and every way they can be wrong."""

# Messages stand here as users see them, in one piece:
# ruff: noqa: E501, ISC004

import json
from ipaddress import ip_network
from pathlib import Path

import pytest

from cluster.config import Flags, default_state_dir, json_schema, load
from cluster.config.build import usable_cpus
from cluster.config.units import duration, host_pattern, listener, network, rate, show_size, size
from cluster.errors import UsageError
from cluster.settings import ClusterSettings
from worker.settings import (
    AccessSettings,
    CacheSettings,
    CompressionSettings,
    GeoSettings,
    KeySettings,
    Limits,
    ListenerSettings,
    LogSettings,
    OriginSettings,
    RateLimitSettings,
    RouteSettings,
    SiteSettings,
    WafSettings,
)

NO_FLAGS = Flags()
SITE = "sites: [{origin: http://127.0.0.1:8000}]\n"


def settings_of(tmp_path: Path, text: str, flags: Flags = NO_FLAGS, **environment: str) -> ClusterSettings:
    file = tmp_path / "edge.yaml"
    file.write_text(text)
    return load(file, flags, environment)


def errors_of(tmp_path: Path, text: str, flags: Flags = NO_FLAGS, **environment: str) -> list[str]:
    """The messages, without the directory of the file."""
    with pytest.raises(UsageError) as caught:
        settings_of(tmp_path, text, flags, **environment)
    first, *rest = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    if not rest:
        return [first]
    assert first == f"{len(rest)} errors in the configuration:"
    return [line.removeprefix("  ") for line in rest]


class TestUnits:
    @pytest.mark.parametrize(
        ("text", "size_bytes"),
        [
            ("512MiB", 512 * 1024**2), ("64KB", 64_000), ("64K", 65536), ("1.5GiB", 3 * 1024**3 // 2),
            ("10 mb", 10_000_000), ("7B", 7), (0, 0), ("0B", 0), ("1TiB", 1024**4),
        ],
    )  # fmt: skip
    def test_sizes(self, text: object, size_bytes: int) -> None:
        assert size(text) == size_bytes

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("30s", 30), ("5m", 300), ("250ms", 0.25), ("1h30m", 5400), ("2d", 172800), (0, 0), ("1m 30s", 90)],
    )
    def test_durations(self, text: object, seconds: float) -> None:
        assert duration(text) == pytest.approx(seconds)

    @pytest.mark.parametrize(
        ("text", "per_second"), [("10/s", 10), ("600/m", 10), ("36000/h", 10), ("5/10s", 0.5), ("0.5/s", 0.5)]
    )
    def test_rates(self, text: str, per_second: float) -> None:
        assert rate(text) == pytest.approx(per_second)

    @pytest.mark.parametrize("text", [12, "12", "MiB", "-1MiB", "1 XiB", "", True, None, [1], "1KiB2MiB"])
    def test_no_size(self, text: object) -> None:
        with pytest.raises(ValueError, match="unit"):
            size(text)

    @pytest.mark.parametrize("text", [12, "12", "5 parsecs", "", True, None, "5m!", "-5s"])
    def test_no_duration(self, text: object) -> None:
        with pytest.raises(ValueError, match="unit"):
            duration(text)

    @pytest.mark.parametrize("text", [5, "10", "10/x", "0/s", "5/0s", "/s", None])
    def test_no_rate(self, text: object) -> None:
        with pytest.raises(ValueError, match=r"unit|per time|nothing pass"):
            rate(text)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("http://127.0.0.1:8080", ("http", "127.0.0.1", 8080)),
            ("https://[::]:443", ("https", "::", 443)),
            ("http://127.0.0.1:0", ("http", "127.0.0.1", 0)),
            ("http://*", ("http", "0.0.0.0", 80)),
            ("https://localhost", ("https", "127.0.0.1", 443)),
            ("http://127.0.0.1:8080/", ("http", "127.0.0.1", 8080)),
        ],
    )
    def test_listeners(self, text: str, expected: tuple[str, str, int]) -> None:
        assert listener(text) == ListenerSettings(*expected)

    @pytest.mark.parametrize(
        "text",
        [
            "127.0.0.1:8080", "ftp://127.0.0.1", "http://example.org:80", "http://127.0.0.1:70000",
            "http://127.0.0.1/a", "http://u@127.0.0.1", "http://", "http://[::1", 8080, None,
        ],
    )  # fmt: skip
    def test_no_listener(self, text: object) -> None:
        with pytest.raises(ValueError, match=r"."):
            listener(text)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Example.ORG.", "example.org"), ("münchen.example", "xn--mnchen-3ya.example"), ("*", "*"),
            ("*.Example.org", "*.example.org"), ("192.0.2.1", "192.0.2.1"), ("[::1]", "::1"), ("a_b.example", "a_b.example"),
        ],
    )  # fmt: skip
    def test_hosts(self, text: str, expected: str) -> None:
        assert host_pattern(text) == expected

    @pytest.mark.parametrize(
        "text", ["", "a b", "http://a", "a:80", "a/b", "-a", "a..b", "a.*.b", "x" * 64, 5, None]
    )
    def test_no_host(self, text: object) -> None:
        with pytest.raises(ValueError, match="host name"):
            host_pattern(text)

    def test_a_network_with_host_bits_is_refused_with_the_one_that_was_meant(self) -> None:
        assert network("10.0.0.0/8") == ip_network("10.0.0.0/8")
        assert network("::1") == ip_network("::1/128")
        with pytest.raises(ValueError, match=r"did you mean '10.0.0.0/8'"):
            network("10.0.0.1/8")

    @pytest.mark.parametrize(
        ("size_bytes", "text"), [(268435456, "256MiB"), (0, "0B"), (1500, "1.5KiB"), (3 * 1024**3, "3GiB")]
    )
    def test_sizes_are_shown_in_binary_units(self, size_bytes: int, text: str) -> None:
        assert show_size(size_bytes) == text


class TestMeaning:
    def test_a_url_is_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", "/nowhere/state")
        settings = load(None, Flags(to="http://127.0.0.1:8000"))
        origin = OriginSettings("http", "127.0.0.1", 8000)
        route = RouteSettings("default/", b"/", origin, waf=WafSettings())
        assert settings.worker.sites == (SiteSettings("default", (), (route,)),)
        assert settings.worker.listeners == (ListenerSettings("http", "127.0.0.1", 8080),)
        assert settings.worker.limits == Limits()
        assert settings.worker.log == LogSettings()
        assert settings.cache_bytes == 256 * 1024**2
        assert settings.workers == usable_cpus()
        assert (settings.keep_cache, settings.keep_cache_on_stop, settings.drop_cache) == (True, False, False)
        assert (settings.admin, settings.certificates, settings.config_path) == (None, (), None)
        assert settings.state_dir == default_state_dir()

    def test_what_counts_for_a_key(self, tmp_path: Path) -> None:
        settings = settings_of(
            tmp_path,
            """
            sites:
              - origin: http://127.0.0.1:8000
                cache:
                  key: {sort_query: true, drop: [utm_*, fbclid], headers: X-Country, cookies: [lang], device: true}
                routes:
                  - {prefix: /keep/, cache: {key: {keep: id}}}
                  - {prefix: /none/, cache: {key: {query: none}}}
            """,
        )
        [site] = settings.worker.sites
        keys = {route.prefix: route.cache.key for route in site.routes}
        assert keys == {
            b"/keep/": KeySettings(keep=(b"id",)),
            b"/none/": KeySettings(query="none"),
            b"/": KeySettings(
                sort_query=True,
                drop=(b"utm_*", b"fbclid"),
                headers=(b"x-country",),
                cookies=(b"lang",),
                device=True,
            ),
        }

    def test_languages_and_countries(self, tmp_path: Path) -> None:
        settings = settings_of(
            tmp_path,
            """
            geo: {country: country.mmdb}
            sites:
              - origin: http://127.0.0.1:8000
                cache: {languages: [en, pt-BR], key: {country: true}}
            """,
        )
        [route] = settings.worker.sites[0].routes
        assert route.cache.languages == ("en", "pt-BR")
        assert route.cache.key == KeySettings(country=True)
        assert settings.worker.geo == GeoSettings(country=str(tmp_path / "country.mmdb"))

    def test_who_may_send_purge_requests(self, tmp_path: Path) -> None:
        settings = settings_of(
            tmp_path,
            """
            purge: {allow: [127.0.0.1, 10.0.0.0/8]}
            sites:
              - {hosts: a.example, origin: http://127.0.0.1:8000}
              - {hosts: b.example, origin: http://127.0.0.1:8000, purge: {allow: "::1"}}
              - {hosts: c.example, origin: http://127.0.0.1:8000, purge: {}}
            """,
        )
        assert [
            [str(one) for route in site.routes for one in route.purgers] for site in settings.worker.sites
        ] == [
            ["127.0.0.1/32", "10.0.0.0/8"],
            ["::1/128"],
            [],
        ]

    def test_a_full_file(self, tmp_path: Path) -> None:
        settings = settings_of(
            tmp_path,
            """
            listen: ["http://*:80", "https://[::]:443"]
            workers: 3
            cache: {memory: 1GiB}
            tls: {certificate: tls/cert.pem, key: /etc/key.pem}
            admin: http://127.0.0.1:9180
            log: {path: access.log, format: combined}
            trusted_proxies: [192.0.2.1, 2001:db8::/32]
            limits: {header: 8KiB, header_timeout: 5s, connections: 100}
            name: edge-1
            drain_timeout: 5s
            heartbeat_timeout: 3s
            pin_cores: false
            tickets: {rotate: 1h}
            user: www-data
            state_dir: state
            sites:
              - name: shop
                hosts: [shop.example, "*.shop.example", "[::1]"]
                origin:
                  url: https://backend.example
                  host_header: internal.example
                  verify: false
                  ca_file: ca.pem
                  connect_timeout: 1s
                  keepalive: 0
                  retries: 0
                compression: {codings: [gzip], min_size: 1KiB, quality: 9}
                access: {allow: [10.0.0.0/8]}
                rate_limits: [{name: all, rate: 10/s, burst: 20}]
                routes:
                  - prefix: /api/
                    name: api
                    origin: http://127.0.0.1:9000
                    cache: false
                    compression: false
                    access: {deny: [192.0.2.0/24]}
                    rate_limits: [{name: api, rate: 150/m, action: log}]
            """,
        )
        api, rest = settings.worker.sites[0].routes
        assert settings.worker.sites[0].hosts == (b"shop.example", b"*.shop.example", b"[::1]")
        assert api == RouteSettings(
            "api", b"/api/", OriginSettings("http", "127.0.0.1", 9000),
            cache=CacheSettings(enabled=False),
            compression=CompressionSettings(codings=()),
            access=AccessSettings((), (ip_network("192.0.2.0/24"),), default_allow=True),
            rate_limits=(RateLimitSettings("api", 2.5, 3, "log"),),
            waf=WafSettings(),
        )  # fmt: skip
        assert rest == RouteSettings(
            "shop/", b"/",
            OriginSettings(
                "https", "backend.example", 443, host_header="internal.example", verify=False,
                ca_file=str(tmp_path / "ca.pem"), connect_timeout_s=1, keepalive_s=0, retries=0,
            ),
            compression=CompressionSettings(("gzip",), 1024, 9),
            access=AccessSettings((ip_network("10.0.0.0/8"),), (), default_allow=False),
            rate_limits=(RateLimitSettings("all", 10, 20),),
            waf=WafSettings(),
        )  # fmt: skip
        assert settings.workers == 3
        assert settings.cache_bytes == 1024**3
        assert settings.certificates[0].certificate == tmp_path / "tls/cert.pem"
        assert settings.certificates[0].key == Path("/etc/key.pem")
        assert settings.admin == ListenerSettings("http", "127.0.0.1", 9180)
        assert settings.worker.log == LogSettings(str(tmp_path / "access.log"), "combined")
        assert settings.worker.trusted_proxies == (ip_network("192.0.2.1"), ip_network("2001:db8::/32"))
        assert settings.worker.limits == Limits(header_bytes=8192, header_timeout_s=5, connections=100)
        assert (settings.worker.name, settings.worker.drain_timeout_s) == ("edge-1", 5)
        assert settings.ticket_rotation_s == 3600
        assert (settings.heartbeat_timeout_s, settings.pin_cores, settings.user) == (3, False, "www-data")
        assert settings.state_dir == tmp_path / "state"
        assert settings.config_path == tmp_path / "edge.yaml"
        assert settings.local_names == ("localhost", "127.0.0.1", "::1", "shop.example", "*.shop.example")

    def test_what_bounds_the_connections_to_an_origin(self, tmp_path: Path) -> None:
        settings = settings_of(
            tmp_path,
            """
            resolvers: [127.0.0.1, "[::1]:5353"]
            sites:
              - origin:
                  url: https://backend.example
                  client_certificate: edge.pem
                  client_key: /etc/edge.key
                  total_timeout: 1m
                  connections: 8
                  queue: 16
                  queue_timeout: 250ms
                  max_response: 1MiB
                  tunnel_idle_timeout: 10m
            """,
        )
        assert settings.worker.resolvers == ("127.0.0.1:53", "[::1]:5353")
        assert settings.worker.sites[0].routes[0].origin == OriginSettings(
            "https", "backend.example", 443, client_certificate=str(tmp_path / "edge.pem"),
            client_key="/etc/edge.key", total_timeout_s=60, connections=8, queue=16, queue_timeout_s=0.25,
            response_bytes=1024**2, tunnel_idle_timeout_s=600,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("origin", "error"),
        [
            ("http://a.example, client_certificate: a.pem", "a certificate is shown over https:// only"),
            ("https://a.example, client_key: a.key", "a key without its client_certificate"),
        ],
    )
    def test_a_client_certificate_that_could_not_be_shown(
        self, tmp_path: Path, origin: str, error: str
    ) -> None:
        (found,) = errors_of(tmp_path, f"sites: [{{origin: {{url: {origin}}}}}]\n")
        assert found.endswith(error)

    @pytest.mark.parametrize(
        ("resolver", "reason"),
        [
            ("dns.example", "'dns.example' is not a numeric address"),
            ("127.0.0.1:0", "'0' is not a port"),
            ("127.0.0.1:dns", "'dns' is not a port"),
            ("'[::1]:'", "'' is not a port"),
        ],
    )
    def test_resolvers_are_numeric_addresses(self, tmp_path: Path, resolver: str, reason: str) -> None:
        (found,) = errors_of(tmp_path, f"resolvers: {resolver}\n{SITE}")
        assert f"for 'resolvers': {reason} (expects the numeric address of a DNS server" in found

    def test_the_protocols_a_connection_may_be_switched_to(self, tmp_path: Path) -> None:
        settings = settings_of(
            tmp_path,
            """
            sites:
              - {hosts: a.example, origin: http://127.0.0.1:8000}
              - {hosts: b.example, origin: http://127.0.0.1:8000, upgrade: []}
              - hosts: c.example
                origin: http://127.0.0.1:8000
                upgrade: [WebSocket, stomp]
                routes: [{prefix: /irc/, upgrade: irc}]
            """,
        )
        assert [[route.upgrade for route in site.routes] for site in settings.worker.sites] == [
            [(b"websocket",)], [()], [(b"irc",), (b"websocket", b"stomp")],
        ]  # fmt: skip

    @pytest.mark.parametrize("name", ["h2c", "H2C", "http", "tls", "web socket", "http/2"])
    def test_protocols_that_are_never_let_through(self, tmp_path: Path, name: str) -> None:
        text = f"sites: [{{origin: 'http://127.0.0.1:8000', upgrade: '{name}'}}]"
        (error,) = errors_of(tmp_path, text)
        assert f"bad value '{name}' for 'sites[0].upgrade'" in error
        assert "a protocol's name such as websocket" in error

    def test_the_rules_of_a_cache(self, tmp_path: Path) -> None:
        settings = settings_of(
            tmp_path,
            """
            sites:
              - origin: http://127.0.0.1:8000
                cache:
                  ignore_client: true
                  heuristic: 0.1
                  by_status: {5xx: 1s, 404: 10s, "410": 2m}
                  ttl: 5m
                  max_ttl: 1d
                  browser_ttl: 0
                  stale_while_revalidate: 30s
                  stale_if_error: 1h
                  drop_cookies: true
            """,
        )
        assert settings.worker.sites[0].routes[0].cache == CacheSettings(
            ignore_client=True, heuristic=0.1, by_status=((404, 404, 10), (410, 410, 120), (500, 599, 1)),
            ttl_s=300, max_ttl_s=86400, browser_ttl_s=0, stale_while_revalidate_s=30, stale_if_error_s=3600,
            drop_cookies=True,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("rule", "error"),
        [
            (
                "by_status: {100: 1s}",
                "bad value '100' for 'sites[0].cache.by_status.100': is no status from 200 to 599 and no class of them (expects a status such as 404, or a class of them such as 5xx)",
            ),
            (
                "by_status: {404: x}",
                "bad value 'x' for 'sites[0].cache.by_status.404': not a number with a unit (expects a duration of whole seconds such as 30s or 5m, or 0)",
            ),
            (
                "by_status: 5",
                "bad value 5 for 'sites[0].cache.by_status' (expects a mapping of statuses to durations such as {404: 10s, 5xx: 1s})",
            ),
            (
                "heuristic: 2",
                "bad value 2 for 'sites[0].cache.heuristic': must be at most 1.0 (expects a share from 0 to 1 such as 0.1)",
            ),
            (
                "ttl: 0",
                "bad value 0 for 'sites[0].cache.ttl': must be more than 0 (expects a duration of whole seconds such as 30s or 5m)",
            ),
            (
                "max_ttl: 250ms",
                "bad value '250ms' for 'sites[0].cache.max_ttl': must be whole seconds (expects a duration of whole seconds such as 1d)",
            ),
        ],
    )
    def test_no_rules_of_a_cache(self, tmp_path: Path, rule: str, error: str) -> None:
        (found,) = errors_of(tmp_path, f"sites: [{{origin: http://127.0.0.1:8000, cache: {{{rule}}}}}]\n")
        assert found.partition(": ")[2] == error

    def test_defaults_are_those_of_the_layers_below(self, tmp_path: Path) -> None:
        settings = settings_of(tmp_path, SITE + "limits: {}\nlog: {}\n")
        route = settings.worker.sites[0].routes[0]
        assert settings.worker.limits == Limits()
        assert settings.worker.log == LogSettings()
        assert (route.cache, route.compression) == (CacheSettings(), CompressionSettings())
        assert (route.access, route.rate_limits) == (None, ())

    def test_a_site_with_a_route_for_everything_gets_no_second_one(self, tmp_path: Path) -> None:
        text = "sites: [{origin: http://127.0.0.1, routes: [{prefix: /, cache: false}]}]"
        (route,) = settings_of(tmp_path, text).worker.sites[0].routes
        assert route.origin == OriginSettings("http", "127.0.0.1", 80)
        assert not route.cache.enabled

    def test_what_becomes_of_the_cache_between_two_runs(self, tmp_path: Path) -> None:
        settings = settings_of(tmp_path, SITE + "cache: {keep_on_stop: true}\n")
        assert (settings.keep_cache, settings.keep_cache_on_stop) == (True, True)
        settings = settings_of(tmp_path, SITE + "cache: {keep: false}\n")
        assert (settings.keep_cache, settings.keep_cache_on_stop) == (False, False)

    def test_flags_win_over_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("/")
        flags = Flags(
            to="https://origin.example", domains=("a.example", "b.example"), listen=("http://127.0.0.1:1234",),
            workers="2", cache_memory="64MiB", tls_certificate="c.pem", tls_key="k.pem",
            admin="http://127.0.0.1:9999", log="-", state_dir="s",
        )  # fmt: skip
        text = (
            SITE
            + "cache: {memory: 1GiB}\nworkers: 1\nlisten: http://127.0.0.1:1\nlog: {path: x, format: combined}\n"
        )
        settings = settings_of(tmp_path, text, flags)
        (site,) = settings.worker.sites
        assert site.hosts == (b"a.example", b"b.example")
        assert site.routes[0].origin == OriginSettings("https", "origin.example", 443)
        assert settings.worker.listeners == (ListenerSettings("http", "127.0.0.1", 1234),)
        assert settings.worker.log == LogSettings("-", "combined")
        assert (settings.workers, settings.cache_bytes) == (2, 64 * 1024**2)
        assert settings.certificates[0].key == Path("/k.pem")
        assert settings.state_dir == Path("/s")

    def test_auto_means_the_cpus_of_the_affinity_mask(self, tmp_path: Path) -> None:
        assert settings_of(tmp_path, SITE, Flags(workers="auto")).workers == usable_cpus()

    def test_environment_and_merge_keys(self, tmp_path: Path) -> None:
        text = """
        workers: ${WORKERS:-4}
        name: "${NAME}"
        sites:
          - &common
            name: a
            hosts: a.example
            origin: http://${HOST:-127.0.0.1}:${PORT}
          - {<<: *common, name: b, hosts: b.example}
        """
        settings = settings_of(tmp_path, text, NAME="7", PORT="81", HOST="")
        assert settings.workers == 4
        assert settings.worker.name == "7"
        assert [site.name for site in settings.worker.sites] == ["a", "b"]
        assert {site.routes[0].origin.url for site in settings.worker.sites} == {"http://127.0.0.1:81"}

    def test_a_dollar_doubled_is_a_dollar(self, tmp_path: Path) -> None:
        settings = settings_of(tmp_path, "sites: [{origin: http://127.0.0.1, routes: [{prefix: '/$${A}'}]}]")
        assert settings.worker.sites[0].routes[0].prefix == b"/${A}"

    def test_the_state_directory_follows_the_xdg_specification(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        monkeypatch.setenv("HOME", "/home/u")
        monkeypatch.setenv("XDG_STATE_HOME", "/state")
        assert default_state_dir() == Path("/state/edgecluster")
        monkeypatch.setenv("XDG_STATE_HOME", "relative")
        assert default_state_dir() == Path("/home/u/.local/state/edgecluster")
        monkeypatch.setattr("os.geteuid", lambda: 0)
        assert default_state_dir() == Path("/var/lib/edgecluster")


class TestErrors:
    def test_an_unknown_key_is_named_with_its_place_and_the_nearest_valid_one(self, tmp_path: Path) -> None:
        text = "sites:\n  - name: a\n    orgin: http://127.0.0.1\n    origin: http://127.0.0.1\n"
        (message,) = errors_of(tmp_path, text)
        assert message.startswith(
            "edge.yaml:3:5: unknown key 'orgin' in 'sites[0]'; did you mean 'origin'? "
            "(expects a URL such as http://127.0.0.1:8000, a list of URLs, a name under 'origins' or a mapping with url, "
        )

    def test_an_unknown_key_unlike_any_other_gets_the_list(self, tmp_path: Path) -> None:
        assert errors_of(tmp_path, SITE + "cache: {zzzz: 1}\n") == [
            "edge.yaml:2:9: unknown key 'zzzz' in 'cache'; the keys here are memory, keep, keep_on_stop"
        ]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("workers: many", "2:10: bad value 'many' for 'workers' (expects auto or a whole number from 1 to 30)"),
            ("workers: 31", "2:10: bad value 31 for 'workers' (expects auto or a whole number from 1 to 30)"),
            ("pin_cores: yes", "2:12: bad value 'yes' for 'pin_cores' (expects true or false)"),
            ("cache: {memory: 5XB}", "2:17: bad value '5XB' for 'cache.memory': unknown unit 'XB' "
             "(expects a size such as 512MiB or 2GiB)"),
            ("cache: {memory: 1MiB}", "2:17: bad value '1MiB' for 'cache.memory': must be at least 4MiB "
             "(expects a size such as 512MiB or 2GiB)"),
            ("drain_timeout: 5", "2:16: bad value 5 for 'drain_timeout': has no unit, write it like 30s "
             "(expects a duration such as 30s, 5m or 250ms)"),
            ("limits: 3", "2:9: bad value 3 for 'limits' "
             "(expects a mapping with request_line, header, header_count, body and more)"),
            ("log: {format: xml}", "2:15: bad value 'xml' for 'log.format' (expects json or combined)"),
            ("tls: {key: k.pem}", "2:6: missing key 'certificate' in 'tls' (expects the path of a PEM file)"),
            ("tls: [{certificate: c, key: 5}]", "2:29: bad value 5 for 'tls[0].key' (expects the path of a PEM file)"),
            ("listen: []", "2:9: bad value (a list) for 'listen': must not be empty (expects a list of items, each "
             "a URL with a numeric address such as http://127.0.0.1:8080 or https://[::]:443)"),
            ("trusted_proxies: [10.0.0.1/8]", "2:19: bad value '10.0.0.1/8' for 'trusted_proxies[0]': "
             "has bits set to the right of its mask; did you mean '10.0.0.0/8'? "
             "(expects an address or CIDR block such as 192.0.2.0/24 or 2001:db8::/32)"),
            ("admin: http://0.0.0.0:9180",
             "2:8: 'http://0.0.0.0:9180' is not an http:// URL with the address 127.0.0.1 or [::1]"),
            ("listen: [http://127.0.0.1:80, https://127.0.0.1:80]",
             "2:31: 'https://127.0.0.1:80' is on the same address and port as 'http://127.0.0.1:80'"),
            ("cache: {keep: false, keep_on_stop: true}",
             "2:36: keeps a cache that the next start would drop: 'keep' is false"),
            ("cache: !secret x", "2:8: the tag '!secret' means nothing here"),
            ("workers: ${NOPE}", "2:10: the environment variable 'NOPE' is not set; "
             "set it, or give a default: ${NOPE:-default}"),
            ("workers: ${A B}", "2:10: cannot read '${A B}' (expects ${NAME} or ${NAME:-default})"),
            ("workers: 1\nworkers: 2", "3:1: duplicate key 'workers': it was given at line 2 already"),
            ("tls: &a [*a]", "2:6: an alias may not contain itself"),
            ("<<: 5", "2:5: '<<' expects a mapping"),
            ("? [a, b]\n: 1", "2:3: a key must be a word"),
        ],
    )  # fmt: skip
    def test_a_fault_is_told_with_its_place(self, tmp_path: Path, text: str, message: str) -> None:
        assert errors_of(tmp_path, SITE + text + "\n") == [f"edge.yaml:{message}"]

    @pytest.mark.parametrize(
        ("site", "message"),
        [
            ("{}", "1:9: sites[0] has no origin: give it one, or routes with one each"),
            ("{routes: [{prefix: /a}]}", "1:19: the route '/a' has no origin: give it one, or one to its site"),
            ("{origin: http://a, routes: [{prefix: /a}, {prefix: /a}]}",
             "1:60: the prefix '/a' has a route in this site already"),
            ("{origin: http://a, routes: [{prefix: a}]}",
             "1:46: bad value 'a' for 'sites[0].routes[0].prefix' (expects a path such as /images/)"),
            ("{origin: {host_header: a}}", "1:18: an origin needs a 'url' such as http://127.0.0.1:8000, or several "
             "under 'servers'"),
            ("{origin: http://a:0}", "1:18: bad value 'http://a:0' for 'sites[0].origin': an origin needs a port "
             "(expects the origin's URL such as http://127.0.0.1:8000)"),
            ("{origin: a.example}", "1:18: 'a.example' is no URL such as http://127.0.0.1:8000 and no name under "
             "'origins'; there is none"),
            ("{origin: a.example:80}", "1:18: bad value 'a.example:80' for 'sites[0].origin': must begin with http:// or "
             "https:// (expects the origin's URL such as http://127.0.0.1:8000)"),
            ("{origin: http://a}, {origin: http://a}", "1:29: any host is served by sites[0] already"),
            ("{origin: http://a, hosts: a}, {origin: http://a, hosts: [b, a]}",
             "1:69: the host 'a' is served by sites[0] already"),
            ("{origin: http://a, name: x}, {origin: http://a, hosts: b, name: x}",
             "1:73: the name 'x' is taken by sites[0]"),
            ("{origin: http://a, access: {allow: [::1], deny: [127.0.0.1]}}",
             "1:36: both 'allow' and 'deny' are given: say what everyone else may with 'default: allow' or 'default: deny'"),
            ("{origin: http://a, rate_limits: [{name: x, rate: 1/s}, {name: x, rate: 2/s}]}",
             "1:64: another rate limit is named 'x' and differs: name this one anew"),
            ("{origin: http://a, compression: {quality: 10}}",
             "1:51: bad value 10 for 'sites[0].compression.quality': must be at most 9 (expects a whole number from 1 to 9)"),
            ("{origin: http://a, cache: {key: {country: true}}}",
             "1:51: nobody knows the countries of addresses: name a .mmdb file as 'geo: {country: FILE}'"),
            ("{origin: http://a, cache: {languages: [en_GB]}}",
             "1:48: bad value 'en_GB' for 'sites[0].cache.languages[0]' (expects a language tag such as en or pt-BR)"),
            ("{origin: http://a, cache: {key: {query: some}}}",
             "1:49: bad value 'some' for 'sites[0].cache.key.query' (expects all or none)"),
            ("{origin: http://a, cache: {key: {drop: [a&b]}}}",
             "1:49: bad value 'a&b' for 'sites[0].cache.key.drop[0]' (expects a parameter's name such as utm_*)"),
            ("{origin: http://a, purge: {allow: nobody}}", "1:43: bad value 'nobody' for 'sites[0].purge.allow': "
             "not an IP address or CIDR block (expects an address or CIDR block such as 192.0.2.0/24 or 2001:db8::/32)"),
            ("{origin: http://a, cache: maybe}", "1:35: bad value 'maybe' for 'sites[0].cache' "
             "(expects true, false or a mapping with enabled, max_object, lease, collapse and more)"),
        ],
    )  # fmt: skip
    def test_a_fault_in_a_site(self, tmp_path: Path, site: str, message: str) -> None:
        assert errors_of(tmp_path, f"sites: [{site}]\n") == [f"edge.yaml:{message}"]

    def test_every_fault_is_told_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        text = "workers: 0\nlissten: []\nsites:\n  - orgin: 1\n    hosts: [a b]\nworkers: 3\n"
        places = [message.split(": ")[0] for message in errors_of(tmp_path, text)]
        assert places == [
            "edge.yaml:1:10",
            "edge.yaml:2:1",
            "edge.yaml:4:5",
            "edge.yaml:5:13",
            "edge.yaml:6:1",
        ]

    def test_a_fault_in_a_shared_part_is_told_once(self, tmp_path: Path) -> None:
        shared = "&c {max_object: '${NOPE}'}"
        text = f"sites:\n  - {{origin: http://a, hosts: a, cache: {shared}}}\n  - {{origin: http://b, cache: *c}}\n"
        (message,) = errors_of(tmp_path, text)
        assert message.startswith("edge.yaml:2:57: the environment variable 'NOPE' is not set")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a: [1\nb: 2", "edge.yaml:2:2: not valid YAML: expected ',' or ']', but got ':' while parsing a flow sequence"),
            ("a: b: c", "edge.yaml:1:5: not valid YAML: mapping values are not allowed here"),
            ("a: *b", "edge.yaml:1:4: not valid YAML: found undefined alias 'b'"),
            ("- a", "edge.yaml:1:1: expects a mapping such as 'sites: [...]'"),
        ],
    )  # fmt: skip
    def test_a_syntax_error_has_its_place(self, tmp_path: Path, text: str, message: str) -> None:
        assert errors_of(tmp_path, text) == [message]

    def test_control_characters_are_refused(self, tmp_path: Path) -> None:
        (message,) = errors_of(tmp_path, "a: \x00")
        assert message.startswith("edge.yaml: not valid YAML: ")

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (Flags(workers="0"), "--workers: bad value 0 (expects auto or a whole number from 1 to 30)"),
            (Flags(cache_memory="12"), "--cache-memory: bad value '12': not a number with a unit "
             "(expects a size such as 512MiB or 2GiB)"),
            (Flags(listen=("http://x:80",)), "--listen: bad value 'http://x:80': 'x' is not a numeric address; "
             "for all of them, use 0.0.0.0 or [::] "
             "(expects a URL with a numeric address such as http://127.0.0.1:8080 or https://[::]:443)"),
            (Flags(to="x"), "--to: bad value 'x': must begin with http:// or https:// "
             "(expects the origin's URL such as http://127.0.0.1:8000)"),
            (Flags(to="http://a", domains=("b c",)), "--domain: bad value 'b c': not a host name "
             "(expects a host name such as example.org or *.example.org, or * for any)"),
            (Flags(admin="http://0.0.0.0:1"),
             "--admin: 'http://0.0.0.0:1' is not an http:// URL with the address 127.0.0.1 or [::1]"),
            (Flags(tls_key="k"), "--tls-cert and --tls-key go together: a certificate is of no use without its key"),
            (Flags(domains=("a",)), "--domain goes with --to URL; in a config file, write the names under 'hosts'"),
        ],
    )  # fmt: skip
    def test_a_flag_is_called_by_its_name(self, tmp_path: Path, flags: Flags, message: str) -> None:
        assert errors_of(tmp_path, SITE, flags) == [message]

    def test_an_empty_file_serves_nothing(self, tmp_path: Path) -> None:
        assert errors_of(tmp_path, "# nothing yet\n") == [
            "edge.yaml:1:1: nothing to serve: give a site with an origin under 'sites', or --to URL"
        ]

    def test_neither_file_nor_flags(self) -> None:
        with pytest.raises(UsageError, match=r"give --to URL, or --config FILE"):
            load(None)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(
            UsageError, match=r"no config file at .*nope.yaml: check the path given to --config"
        ):
            load(tmp_path / "nope.yaml")

    def test_a_file_that_is_no_text(self, tmp_path: Path) -> None:
        file = tmp_path / "edge.yaml"
        file.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(UsageError, match=r"cannot read the config file .*: not UTF-8 text"):
            load(file)
        with pytest.raises(UsageError, match=r"cannot read the config file .*: Is a directory"):
            load(tmp_path)

    def test_errors_of_use_end_with_code_2(self) -> None:
        assert UsageError.exit_code == 2


class TestSchema:
    def test_it_is_json_and_knows_short_hands(self) -> None:
        schema = json.loads(json.dumps(json_schema()))
        assert schema["additionalProperties"] is False
        assert {"type": "boolean"} in schema["$defs"]["Cache"]["anyOf"]
        word = {"type": "string", "examples": ["http://127.0.0.1:8000", "file:///var/www/site", "backend"]}
        servers = {"type": "array", "items": {"$ref": "#/$defs/Server"}}
        assert schema["$defs"]["Origin"]["anyOf"][:2] == [word, servers]
        one, many = schema["properties"]["listen"]["anyOf"]
        assert (one["anyOf"][0]["type"], many["type"]) == ("string", "array")

    def test_texts_have_no_defaults_in_numbers(self) -> None:
        memory = json_schema()["$defs"]["Memory"]["properties"]["memory"]
        assert memory["type"] == "string"
        assert "default" not in memory


@pytest.mark.parametrize(
    ("text", "tls", "plain"),
    [
        ("", True, False),
        ("http2: true\n", True, False),
        ("http2: false\n", False, False),
        ("http2: {plain: true}\n", True, True),
        ("http2: {tls: false, plain: true}\n", False, True),
    ],
)
def test_http2_is_on_over_tls_and_off_on_plain_listeners(
    tmp_path: Path, text: str, tls: bool, plain: bool
) -> None:
    worker = settings_of(tmp_path, SITE + text).worker
    assert (worker.http2, worker.http2_plain) == (tls, plain)


GUARDS = """
listen: [http://127.0.0.1:80, {url: "https://[::]:443", proxy_protocol: true}]
trusted_proxies: [10.0.0.0/8]
access: {deny: [203.0.113.0/24]}
limits: {connections_per_address: 50, connection_rate: 20/s, requests_per_address: 9, body_rate: 1KiB, send_rate: 0}
sites: [{origin: http://a, methods: GET, routes: [{prefix: /a}, {prefix: /b, methods: [POST, PUT]}]}]
"""


def test_guards_reach_the_workers(tmp_path: Path) -> None:
    worker = settings_of(tmp_path, GUARDS).worker
    assert [listener.proxy_protocol for listener in worker.listeners] == [False, True]
    assert [listener.may_have_http3 for listener in worker.listeners] == [False, False]
    assert worker.access == AccessSettings(deny=(ip_network("203.0.113.0/24"),))
    limits = worker.limits
    assert (limits.connections_per_address, limits.requests_per_address) == (50, 9)
    assert (limits.connection_rate, limits.connection_burst) == (20.0, 20)
    assert (limits.body_rate, limits.send_rate) == (1024, 0)
    methods = {route.prefix: route.methods for route in worker.sites[0].routes}
    assert methods == {b"/": (b"GET",), b"/a": (b"GET",), b"/b": (b"POST", b"PUT")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listen: [{url: http://127.0.0.1:80, proxy_protocol: true}]",
         "2:10: nobody may use the PROXY protocol: name the proxies' networks as 'trusted_proxies'"),
        ("listen: [{url: http://127.0.0.1:80, proxy: true}]", "2:10: bad value"),
        ("listen: [{url: http://127.0.0.1:80, proxy_protocol: v2}]", "2:10: bad value"),
        ("listen: [{proxy_protocol: true}]", "2:10: bad value"),
        ("admin: {url: http://127.0.0.1:80}", "2:8: bad value"),
        ("access: {allow: [::1], deny: [127.0.0.1]}", "2:9: both 'allow' and 'deny' are given"),
        ("access: {deny_countries: [DE]}", "2:9: nobody knows the countries of addresses"),
        ("access: {deny_asns: [1]}", "2:9: nobody knows the systems of addresses"),
    ],
)  # fmt: skip
def test_guards_that_cannot_be_are_told(tmp_path: Path, text: str, message: str) -> None:
    (said,) = errors_of(tmp_path, f"sites: [{{origin: http://a}}]\n{text}\n")
    assert said.startswith(f"edge.yaml:{message}")


def test_the_limits_of_http2_reach_the_workers(tmp_path: Path) -> None:
    text = SITE + "limits: {streams: 7, resets: 8, empty_frames: 9}\n"
    limits = settings_of(tmp_path, text).worker.limits
    assert (limits.streams, limits.resets, limits.empty_frames) == (7, 8, 9)


@pytest.mark.parametrize(("text", "on"), [("", True), ("http3: true\n", True), ("http3: false\n", False)])
def test_http3_is_on_unless_switched_off(tmp_path: Path, text: str, on: bool) -> None:
    assert settings_of(tmp_path, SITE + text).worker.http3 is on
