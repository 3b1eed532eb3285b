"""What must hold between parts of a configuration that are fine one by one.

Pure functions from a Config to (location, message) pairs.
"""

import ssl
from collections.abc import Iterator
from ipaddress import ip_address

from cluster.config.document import Location
from cluster.config.origin_rules import Broken, broken_origin_rules
from cluster.config.sections.access import Access
from cluster.config.sections.acme import Binding
from cluster.config.sections.rate_limits import RateLimit
from cluster.config.sections.sites import Rules
from cluster.config.sections.top import Config
from cluster.profiles import BROKEN, is_offered
from worker.security.waf.judge import DETECTOR_IDS
from worker.settings import ListenerSettings


def broken_rules(config: Config) -> Broken:
    """Every rule the configuration breaks, and where."""
    yield from listeners_differ(config)
    yield from admin_is_private(config)
    yield from proxies_are_trusted(config)
    if not config.sites:
        yield (), "nothing to serve: give a site with an origin under 'sites', or --to URL"
    yield from hosts_differ(config)
    yield from names_differ(config)
    yield from every_path_has_an_origin(config)
    yield from prefixes_differ(config)
    yield from broken_origin_rules(config)
    yield from access_is_decided(config)
    yield from limits_agree(config)
    yield from exclusions_name_something(config)
    yield from a_kept_cache_is_used(config)
    yield from countries_are_known(config)
    yield from https_is_spoken(config)
    yield from acme_is_agreed(config)
    yield from one_certificate_is_the_default(config)
    yield from tls_version_is_offered(config)
    yield from client_certificates_can_be_asked_for(config)


def listeners_differ(config: Config) -> Broken:
    """Two listeners cannot have one address."""
    seen: dict[tuple[str, int], str] = {}
    addresses: list[tuple[Location, ListenerSettings]] = [
        (("listen", index), listener) for index, listener in enumerate(config.listen)
    ]
    if config.admin is not None:
        addresses.append((("admin",), config.admin))
    for location, listener in addresses:
        address = listener.host, listener.port
        if address in seen and listener.port:
            yield location, f"'{listener.url}' is on the same address and port as '{seen[address]}'"
        seen.setdefault(address, listener.url)


def admin_is_private(config: Config) -> Broken:
    """Metrics are not for the world: a loopback address, plain http."""
    if config.admin is None:
        return
    if config.admin.scheme != "http" or not ip_address(config.admin.host).is_loopback:
        yield ("admin",), f"'{config.admin.url}' is not an http:// URL with the address 127.0.0.1 or [::1]"


def proxies_are_trusted(config: Config) -> Broken:
    """Who may say of a connection that it is somebody else's is said by name."""
    for index, listener in enumerate(config.listen):
        if listener.proxy_protocol and not config.trusted_proxies:
            message = "nobody may use the PROXY protocol: name the proxies' networks as 'trusted_proxies'"
            yield ("listen", index), message


def hosts_differ(config: Config) -> Broken:
    """A host belongs to one site."""
    seen: dict[str, int] = {}
    for index, site in enumerate(config.sites):
        for position, host in enumerate(site.hosts or ["*"]):
            if host in seen:
                what = "any host" if host == "*" else f"the host '{host}'"
                location: Location = ("sites", index, "hosts", position) if site.hosts else ("sites", index)
                yield location, f"{what} is served by sites[{seen[host]}] already"
            seen.setdefault(host, index)


def names_differ(config: Config) -> Broken:
    """Names are labels in log and metrics: one site, one route each."""
    seen: dict[str, str] = {}
    for index, site in enumerate(config.sites):
        if site.name is not None and site.name in seen:
            yield ("sites", index, "name"), f"the name '{site.name}' is taken by {seen[site.name]}"
        if site.name is not None:
            seen.setdefault(site.name, f"sites[{index}]")
    routes: dict[str, str] = {}
    for index, site in enumerate(config.sites):
        for position, route in enumerate(site.routes):
            if route.name is not None and route.name in routes:
                where = "sites", index, "routes", position, "name"
                yield where, f"the name '{route.name}' is taken by {routes[route.name]}"
            if route.name is not None:
                routes.setdefault(route.name, f"sites[{index}].routes[{position}]")


def every_path_has_an_origin(config: Config) -> Broken:
    """A route without an origin needs one from its site."""
    for index, site in enumerate(config.sites):
        if site.origin is not None:
            continue
        if not site.routes:
            yield ("sites", index), f"sites[{index}] has no origin: give it one, or routes with one each"
        for position, route in enumerate(site.routes):
            if route.origin is None:
                where = "sites", index, "routes", position
                yield where, f"the route '{route.prefix}' has no origin: give it one, or one to its site"


def prefixes_differ(config: Config) -> Broken:
    """A path belongs to one route."""
    for index, site in enumerate(config.sites):
        seen: set[str] = set()
        for position, route in enumerate(site.routes):
            if route.prefix in seen:
                where = "sites", index, "routes", position, "prefix"
                yield where, f"the prefix '{route.prefix}' has a route in this site already"
            seen.add(route.prefix)


def access_is_decided(config: Config) -> Broken:
    """With both lists given, nobody but the user knows what everyone else may."""
    for location, access in _all_lists(config):
        if access.default is None and access.allows and access.denies:
            others = "say what everyone else may with 'default: allow' or 'default: deny'"
            yield location, f"both 'allow' and 'deny' are given: {others}"


def limits_agree(config: Config) -> Broken:
    """Limits of one name share their buckets, so they must be the same limit."""
    seen: dict[str, RateLimit] = {}
    for location, rules in _all_rules(config):
        for index, limit in enumerate(rules.rate_limits or []):
            if seen.setdefault(limit.name, limit) != limit:
                where = *location, "rate_limits", index
                yield where, f"another rate limit is named '{limit.name}' and differs: name this one anew"


def _all_lists(config: Config) -> Iterator[tuple[Location, Access]]:
    if config.access is not None:
        yield ("access",), config.access
    for location, rules in _all_rules(config):
        if rules.access is not None:
            yield (*location, "access"), rules.access


def _all_rules(config: Config) -> Iterator[tuple[Location, Rules]]:
    for index, site in enumerate(config.sites):
        yield ("sites", index), site
        for position, route in enumerate(site.routes):
            yield ("sites", index, "routes", position), route


def exclusions_name_something(config: Config) -> Broken:
    """Without files of rules there are detectors only."""
    wafs = [((), config.waf), *((location, rules.waf) for location, rules in _all_rules(config))]
    given = [(location, waf) for location, waf in wafs if waf is not None]
    if any(waf.rules for _, waf in given):
        return  # whether they have such rules is seen when they are read
    for location, waf in given:
        for index, one in enumerate(waf.exclude):
            if one.rule not in DETECTOR_IDS:
                known = ", ".join(sorted(DETECTOR_IDS))
                message = f"no 'rules' are given, and no detector is named '{one.rule}': there are {known}"
                yield (*location, "waf", "exclude", index), message


def a_kept_cache_is_used(config: Config) -> Broken:
    """A cache that no start takes over is not worth the memory it stays in."""
    if config.cache.keep_on_stop and not config.cache.keep:
        yield ("cache", "keep_on_stop"), "keeps a cache that the next start would drop: 'keep' is false"


def countries_are_known(config: Config) -> Broken:
    """Who tells countries or autonomous systems apart needs the file that knows them."""
    unknown = "nobody knows the countries of addresses: name a .mmdb file as 'geo: {country: FILE}'"
    message = "nobody knows the systems of addresses: name a .mmdb file as 'geo: {asn: FILE}'"
    for location, access in _all_lists(config):
        if config.geo.country is None and (access.allow_countries or access.deny_countries):
            yield location, unknown
        if config.geo.asn is None and (access.allow_asns or access.deny_asns):
            yield location, message
    for location, rules in _all_rules(config):
        if config.geo.country is None and rules.cache is not None and rules.cache.key.country:
            yield (*location, "cache", "key", "country"), unknown
        parts = {part for limit in rules.rate_limits or () for part in limit.key}
        if config.geo.country is None and "country" in parts:
            yield (*location, "rate_limits"), unknown
        if config.geo.asn is None and "asn" in parts:
            yield (*location, "rate_limits"), message


def https_is_spoken(config: Config) -> Broken:
    """A redirect to https needs somebody who answers there: us, or a proxy that speaks it for us."""
    if config.trusted_proxies or any(listener.scheme == "https" for listener in config.listen):
        return
    for location, rules in _all_rules(config):
        if rules.https_only:
            message = "nothing listens on https://: add such an address to 'listen', or leave this out"
            yield (*location, "https_only"), message


def acme_is_agreed(config: Config) -> Broken:
    """Nothing is issued to who does not agree to the terms; and one directory is asked first."""
    if config.acme is None:
        return
    if not config.acme.agree:
        yield (
            ("acme", "agree"),
            "certificates come only to who agrees to the authority's terms: set it to true",
        )
    fallback = config.acme.fallback
    accounts: list[tuple[Location, Binding | None]] = [(("acme", "eab"), config.acme.eab)]
    if fallback is not None:
        accounts.append((("acme", "fallback", "eab"), fallback.eab))
    for location, eab in accounts:
        if eab is not None and (eab.key is None) == (eab.key_file is None):
            yield location, "give the account's MAC key either as 'key' or in a 'key_file'"
    if config.acme.staging and config.acme.directory:
        yield ("acme", "staging"), "means Let's Encrypt's own staging directory: leave out one of the two"


def one_certificate_is_the_default(config: Config) -> Broken:
    """There is one answer to who asks for no name."""
    defaults = [index for index, pair in enumerate(config.tls.certificates) if pair.default]
    for index in defaults[1:]:
        yield ("tls", "certificates", index, "default"), "another certificate is the default already"


def tls_version_is_offered(config: Config) -> Broken:
    """Broken versions of TLS only where it is said twice, and where OpenSSL still has them."""
    tls, where = config.tls, ("tls", "minimum_version")
    if tls.minimum_version is None:
        return
    if tls.minimum_version in BROKEN and tls.profile != "old":
        yield where, f"TLS {tls.minimum_version} is broken (RFC 8996): it needs 'profile: old' beside it, too"
    elif tls.profile == "modern" and tls.minimum_version != "1.3":
        yield where, "'profile: modern' has TLS 1.3 only: leave out one of the two"
    elif not is_offered(tls.minimum_version):
        yield where, f"the OpenSSL of this machine ({ssl.OPENSSL_VERSION}) has no TLS {tls.minimum_version}"


def client_certificates_can_be_asked_for(config: Config) -> Broken:
    """They are shown in the handshake, before a route is known: their authorities belong to a site."""
    is_https = any(listener.scheme == "https" for listener in config.listen)
    for index, site in enumerate(config.sites):
        where: Location = ("sites", index)
        if site.client_certificate is not None and not is_https:
            yield (*where, "client_certificate"), "clients show certificates to https:// listeners only"
        for position, route in enumerate(site.routes):
            if route.client_certificate is not None and site.client_certificate is None:
                at = *where, "routes", position, "client_certificate"
                yield at, "whose? Give its site 'client_certificate: {ca_file: FILE}'"
