"""What must hold between the parts of what a configuration says of origins.

Pure functions to (location, message) pairs, as in `rules`.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from cluster.config.build import route_name, site_name
from cluster.config.document import Location
from cluster.config.sections.origins import Origin, Server, ServerOptions, option
from cluster.config.sections.top import Config
from worker.settings import DirectorySettings

Broken = Iterator[tuple[Location, str]]

_OF_SEVERAL = ("balance", "slow_start")


def broken_origin_rules(config: Config) -> Broken:
    """Every rule about origins that the configuration breaks, and where."""
    for name, origin in config.origins.items():
        location: Location = ("origins", name)
        if origin.use is not None:
            yield location, f"'{name}' is only another name for '{origin.use}': use that one"
        else:
            yield from servers_are_named(location, origin)
    for location, _, origin in _of_sites(config):
        if origin.use is not None:
            yield from a_name_is_known(location, origin, config.origins)
        else:
            yield from servers_are_named(location, origin)
    for location, _, origin in _all(config):
        yield from keys_go_together(location, origin)
        yield from somebody_can_be_asked(location, origin)
        yield from client_certificates_can_be_shown(location, origin)
        yield from the_protocol_can_be_found_out(location, origin)
    yield from group_names_differ(config)


def a_name_is_known(location: Location, origin: Origin, names: Iterable[str]) -> Broken:
    """A word stands for one of `origins`, with all that is said there and nothing else."""
    names = list(names)
    if origin.use not in names:
        near = get_close_matches(str(origin.use), names, n=1, cutoff=0.5)
        known = f"those are {', '.join(names)}" if names else "there is none"
        hint = f"did you mean '{near[0]}'?" if near else known
        yield (
            (*location, "use"),
            f"'{origin.use}' is no URL such as http://127.0.0.1:8000 and no name under 'origins'; {hint}",
        )
    for key in sorted(origin.model_fields_set - {"use"}):
        yield (
            (*location, key),
            f"'{key}' cannot stand beside 'use': '{origin.use}' has it under 'origins'",
        )


def servers_are_named(location: Location, origin: Origin) -> Broken:
    """Either one server or a list."""
    if origin.url is None and not origin.servers:
        yield location, "an origin needs a 'url' such as http://127.0.0.1:8000, or several under 'servers'"
    if origin.url is not None and origin.servers:
        yield (*location, "url"), "both 'url' and 'servers' are given: put it among the servers"


def keys_go_together(location: Location, origin: Origin) -> Broken:
    """What is said of a choice among servers needs several; attempts are said once."""
    if origin.url is not None:
        for key in _OF_SEVERAL:
            if key in origin.model_fields_set:
                yield (*location, key), f"'{key}' is about several servers: give them under 'servers'"
    if "retries" in origin.model_fields_set and "attempts" in origin.retry.model_fields_set:
        yield (*location, "retries"), "'retries' is short for 'retry.attempts', which is given too"


def somebody_can_be_asked(location: Location, origin: Origin) -> Broken:
    """The servers of a group differ, and not only backups have weight."""
    seen: set[str] = set()
    for index, server in enumerate(origin.servers):
        if server.url.url in seen:
            yield (
                (*location, "servers", index),
                f"'{server.url.url}' is listed already: give it a weight",
            )
        seen.add(server.url.url)
    if origin.servers and all(server.backup for server in origin.servers):
        yield (*location, "servers"), "all servers are backups: somebody must be asked first"
    elif origin.servers and not any(server.weight for server in origin.servers if not server.backup):
        yield (*location, "servers"), "no server but backups has a weight above 0: nobody would be asked"


def client_certificates_can_be_shown(location: Location, origin: Origin) -> Broken:
    """A client certificate needs TLS, a key needs its certificate."""
    for place, server in _servers(location, origin):

        def said(key: str, place: Location = place, server: ServerOptions = server) -> Location:
            return (*(place if key in server.model_fields_set else location), key)

        key, certificate = (option(server, origin, name) for name in ("client_key", "client_certificate"))
        if key is not None and certificate is None:
            yield said("client_key"), "a key without its client_certificate"
        elif certificate is not None and server.url is not None and server.url.scheme != "https":
            yield said("client_certificate"), "a certificate is shown over https:// only"


def the_protocol_can_be_found_out(location: Location, origin: Origin) -> Broken:
    """Origins choose between versions in the TLS handshake."""
    for place, server in _servers(location, origin):
        if server.url is None or isinstance(server.url, DirectorySettings) or server.url.scheme == "https":
            continue
        if option(server, origin, "protocol") == "auto":
            where = place if "protocol" in server.model_fields_set else location
            yield (
                (*where, "protocol"),
                "'auto' asks the origin in the TLS handshake, and http:// has none: say h2 or http/1.1",
            )


def group_names_differ(config: Config) -> Broken:
    """The state of a group is kept under its name."""
    seen: dict[str, str] = {}
    for location, name, origin in _all(config):
        if not origin.is_group:
            continue
        if name in seen:
            others = f"the servers of {seen[name]} are a group named '{name}', too"
            yield location, f"{others}: give these a name of their own under 'origins'"
        seen.setdefault(name, ".".join(str(step) for step in location))


def _all(config: Config) -> Iterator[tuple[Location, str, Origin]]:
    """Every origin: where it stands, and what it is called if it is a group."""
    for name, origin in config.origins.items():
        yield ("origins", name), name, origin
    yield from _of_sites(config)


def _of_sites(config: Config) -> Iterator[tuple[Location, str, Origin]]:
    for index, site in enumerate(config.sites):
        name = site_name(site, index)
        if site.origin is not None:
            yield ("sites", index, "origin"), name, site.origin
        for position, route in enumerate(site.routes):
            if route.origin is not None:
                where = "sites", index, "routes", position, "origin"
                yield where, route_name(route, name), route.origin


def _servers(location: Location, origin: Origin) -> Iterator[tuple[Location, Server | Origin]]:
    if origin.url is not None:
        yield location, origin
    for index, server in enumerate(origin.servers):
        yield (*location, "servers", index), server
