"""From what a configuration says of origins to their settings: one server, or a group with a name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cluster.config.paths import absolute
from cluster.config.sections.origins import Breaker, Ejection, Origin, Probe, Server, option
from worker.settings import (
    BreakerSettings,
    DirectorySettings,
    EjectionSettings,
    GroupSettings,
    OriginSettings,
    ProbeSettings,
    RetrySettings,
)
from worker.settings import Origin as AnyOrigin


class NamedOrigins:
    """The origins that have names, for those that only say which. Paths are relative to `base`."""

    def __init__(self, origins: Mapping[str, Origin], base: Path) -> None:
        self._origins = origins
        self._base = base

    def settings(self, origin: Origin, name: str) -> AnyOrigin:
        """The settings of `origin`; a group that has no name of its own is called `name`."""
        if origin.use is not None:
            return self.settings(self._origins[origin.use], origin.use)
        if isinstance(origin.url, DirectorySettings):
            index = origin.url.index if origin.index is None else tuple(origin.index)
            return DirectorySettings(str(absolute(origin.url.path, self._base)), index)
        if not origin.is_group:
            return replace(server_settings(origin, origin, self._base), retries=origin.retries)
        servers: Sequence[Server | Origin] = origin.servers or [origin]
        settings = tuple(server_settings(server, origin, self._base) for server in servers)
        return group_settings(origin, name, settings)


def server_settings(server: Server | Origin, group: Origin, base: Path) -> OriginSettings:
    """One server, with what its group says where it says nothing itself."""

    def path(key: str) -> str | None:
        value: str | None = option(server, group, key)
        return str(absolute(value, base)) if value else None

    address = server.url
    assert isinstance(address, OriginSettings), "broken_rules() has refused this"
    return replace(
        address,
        host_header=option(server, group, "host_header"),
        server_name=option(server, group, "server_name"),
        verify=option(server, group, "verify"),
        ca_file=path("ca_file"),
        client_certificate=path("client_certificate"),
        client_key=path("client_key"),
        connect_timeout_s=option(server, group, "connect_timeout"),
        first_byte_timeout_s=option(server, group, "first_byte_timeout"),
        idle_timeout_s=option(server, group, "idle_timeout"),
        total_timeout_s=option(server, group, "total_timeout"),
        tunnel_idle_timeout_s=option(server, group, "tunnel_idle_timeout"),
        keepalive_s=option(server, group, "keepalive"),
        keepalive_connections=option(server, group, "keepalive_connections"),
        connections=option(server, group, "connections"),
        queue=option(server, group, "queue"),
        queue_timeout_s=option(server, group, "queue_timeout"),
        header_bytes=option(server, group, "header"),
        response_bytes=option(server, group, "max_response"),
        protocol=option(server, group, "protocol"),
        streams=option(server, group, "streams"),
        retries=0,
        weight=server.weight if isinstance(server, Server) else 1,
        backup=server.backup if isinstance(server, Server) else False,
    )


def group_settings(origin: Origin, name: str, servers: tuple[OriginSettings, ...]) -> GroupSettings:
    retry = origin.retry
    return GroupSettings(
        name=name,
        servers=servers,
        balance=origin.balance,
        slow_start_s=origin.slow_start,
        probe=probe_settings(origin.probe) if origin.probe else None,
        ejection=ejection_settings(origin.eject),
        breaker=breaker_settings(origin.breaker) if origin.breaker else BreakerSettings(),
        retry=RetrySettings(
            attempts=retry.attempts if "attempts" in retry.model_fields_set else origin.retries,
            statuses=ranges(retry.status),
            budget=retry.budget,
            least=retry.least,
        ),
    )


def probe_settings(probe: Probe) -> ProbeSettings:
    return ProbeSettings(
        path=probe.path,
        host=probe.host,
        interval_s=probe.interval,
        timeout_s=probe.timeout,
        statuses=ranges(probe.status),
        passes=probe.passes,
        failures=probe.failures,
    )


def ejection_settings(eject: Ejection) -> EjectionSettings:
    return EjectionSettings(
        failures=eject.failures,
        statuses=ranges(eject.status),
        time_s=eject.time,
        max_time_s=max(eject.time, eject.max_time),
        max_share=eject.max_share,
    )


def breaker_settings(breaker: Breaker) -> BreakerSettings:
    return BreakerSettings(
        share=breaker.share, window_s=breaker.window, requests=breaker.requests, open_s=breaker.open
    )


def ranges(statuses: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(first, last) of "404" and "5xx", in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted((int(one.replace("x", "0")), int(one.replace("x", "9"))) for one in statuses):
        if found and first <= found[-1][1] + 1:
            before_first, before_last = found.pop()
            first, last = before_first, max(before_last, last)
        found.append((first, last))
    return tuple(found)
