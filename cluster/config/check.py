"""Everything `start` would need, looked at beforehand: files, certificates, names, addresses, memory.

Each check is a function from settings to findings. It changes nothing that stays.
"""

import asyncio
import os
import pwd
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cluster.acme.challenges import HTTP_01, TLS_ALPN_01
from cluster.certificates import covers, read_given
from cluster.client_certificates import demanded, read_authorities
from cluster.config.units import show_size
from cluster.contexts import check_for_quic
from cluster.errors import BootError
from cluster.judges import waf_settings, waf_words
from cluster.lists import access_lists
from cluster.lock import running_pid
from cluster.segment import left_bytes, too_large_objects
from cluster.settings import CertificateSettings, ClusterSettings
from cluster.sockets import Sockets
from worker.geo import Database, GeoError
from worker.origin.resolve import ResolveError, Resolver, is_numeric
from worker.origin.tls import TlsFileError, load_contexts
from worker.security.lists import ListError, read_networks
from worker.security.waf.judges import RulesError, read_rules
from worker.settings import DirectorySettings

SHM = Path("/dev/shm")
SOON = timedelta(days=14)
DNS_PATIENCE_S = 5.0
LOOKS_AT = {HTTP_01: ("http", 80), TLS_ALPN_01: ("https", 443)}  # an authority, for its challenge


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `level`: ok, warning (it would start) or error (it would not)."""

    level: str
    subject: str
    message: str


def findings(settings: ClusterSettings) -> Iterator[Finding]:
    """Look at everything; the findings in the order of a start."""
    running = _running(settings)
    yield state_directory(settings, running)
    yield user(settings)
    yield from certificates(settings)
    yield from client_authorities(settings)
    yield from addresses(settings, running)
    yield memory(settings, running)
    if (words := too_large_objects(settings)) is not None:
        yield Finding("warning", "cache memory", words)
    yield access_log(settings)
    yield from geo(settings)
    yield from access_files(settings)
    yield from waf(settings)
    yield from origins(settings)


def state_directory(settings: ClusterSettings, running: int | None) -> Finding:
    """It is there and ours, or can be made."""
    path = settings.state_dir
    there = next(folder for folder in (path, *path.parents) if os.path.exists(folder))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            "error", "state directory", f"{path}: {there} is not a directory we may write to; choose another"
        )
    note = f"; an edge runs on it (pid {running})" if running else "" if there == path else "; will be made"
    return Finding("ok", "state directory", f"{path}{note}")


def user(settings: ClusterSettings) -> Finding:
    """Whom the workers will run as."""
    if settings.user is None:
        return Finding("ok", "user", f"workers run as {_user_name(os.geteuid())}")
    if not _is_user(settings.user):
        return Finding("error", "user", f"there is no user '{settings.user}'; create it or name another")
    if os.geteuid() != 0:
        return Finding(
            "warning", "user", f"'{settings.user}' is set aside: only root can become another user"
        )
    return Finding("ok", "user", f"workers run as {settings.user}")


def certificates(settings: ClusterSettings) -> Iterator[Finding]:
    """Each pair can be read, fits together, is in time, and together they cover the sites' names."""
    is_https = any(listener.scheme == "https" for listener in settings.worker.listeners)
    covered: set[str] = set()
    if settings.acme is not None:
        covered |= set(settings.acme.names)
        authority = settings.acme.authorities[0].directory
        yield Finding(
            "ok", "certificate", f"for {', '.join(settings.acme.names)}: from {authority} once the edge runs"
        )
        scheme, port = LOOKS_AT[settings.acme.challenges[0]]
        if not any(one.scheme == scheme and one.port == port for one in settings.worker.listeners):
            yield Finding(
                "warning", "certificate",
                f"nothing listens on {scheme} port {port}, where the authority looks: lead that to us",
            )  # fmt: skip
    if is_https and not settings.certificates and settings.acme is None:
        names = ", ".join(settings.local_names)
        yield Finding("ok", "certificate", f"one from the local authority for {names}; only it trusts it")
        return
    for pair in settings.certificates:
        finding, names_of_pair = certificate(pair, datetime.now(UTC))
        if finding.level != "error" and is_https and settings.worker.http3:
            finding = _for_quic(pair) or finding
        covered |= names_of_pair
        yield finding
    if settings.certificates and not is_https:
        yield Finding("warning", "certificate", "given, but nothing listens on https://")
    if is_https:
        hosts = [host.decode() for site in settings.worker.sites for host in site.hosts]
        for host in hosts:
            if not any(covers(name, host) for name in covered):
                yield Finding(
                    "warning", "certificate", f"none is for the host {host}: clients will refuse it"
                )


def certificate(pair: CertificateSettings, now: datetime) -> tuple[Finding, set[str]]:
    """One pair, and the names it is for."""
    try:
        content, doubts = read_given(pair.certificate, pair.key)
    except BootError as error:
        return Finding("error", "certificate", str(error)), set()
    names, end = set(content.names), content.leaf.not_valid_after_utc
    what = f"{pair.certificate} for {', '.join(content.names) or 'no name'}"
    if end < now:  # it would be served nevertheless: an edge that does not start is worse
        message = f"{what} has expired on {end:%Y-%m-%d}: clients refuse it; renew it"
        return Finding("warning", "certificate", message), names
    if content.leaf.not_valid_before_utc > now:
        start = content.leaf.not_valid_before_utc
        message = f"{what} is not valid before {start:%Y-%m-%d %H:%M} UTC: clients refuse it until then"
        return Finding("warning", "certificate", message), names
    if end - now < SOON:
        return Finding("warning", "certificate", f"{what} expires on {end:%Y-%m-%d}; renew it soon"), names
    if doubts:
        return Finding("warning", "certificate", doubts[0]), names
    return Finding("ok", "certificate", f"{what}, until {end:%Y-%m-%d}"), names


def client_authorities(settings: ClusterSettings) -> Iterator[Finding]:
    """Each file of authorities that vouch for clients can be read."""
    for path in demanded(settings.worker.sites):
        try:
            read_authorities(path)
        except BootError as error:
            yield Finding("error", "client certificates", str(error))
        else:
            yield Finding("ok", "client certificates", f"of the authorities in {path}")


def _for_quic(pair: CertificateSettings) -> Finding | None:
    """What HTTP/3 has against the pair."""
    try:
        check_for_quic([(pair.certificate.read_bytes(), pair.key.read_bytes())])
    except (OSError, BootError) as error:
        return Finding("error", "certificate", f"{pair.certificate}: {error}")
    return None


def addresses(settings: ClusterSettings, running: int | None) -> Iterator[Finding]:
    """Each address is ours to listen on. While an edge runs here, it has them already."""
    admin = [settings.admin] if settings.admin else []
    for listener in (*settings.worker.listeners, *admin):
        if running:
            yield Finding("ok", "address", f"{listener.url} not tried: the running edge may have it")
            continue
        sockets = Sockets()
        try:
            sockets.open([listener], 1, http3=settings.worker.http3)
        except BootError as error:
            yield Finding("error", "address", str(error))
        else:
            by_udp = ", for HTTP/3 by UDP as well" if sockets.has_udp(listener) else ""
            yield Finding("ok", "address", f"{listener.url} is free{by_udp}")
        finally:
            sockets.close()


def memory(settings: ClusterSettings, running: int | None) -> Finding:
    """There is room for the segment."""
    wanted = settings.cache_bytes
    if running:
        return Finding("ok", "cache memory", f"{show_size(wanted)}; room not looked for: an edge is running")
    free = shutil.disk_usage(SHM).free + left_bytes(settings.state_dir)
    if wanted > free:
        return Finding(
            "error",
            "cache memory",
            f"{show_size(wanted)} asked for, {show_size(free)} free in {SHM}; "
            f"choose a smaller cache memory, or enlarge {SHM} (mount -o remount,size=...)",
        )
    return Finding("ok", "cache memory", f"{show_size(wanted)} of {show_size(free)} free in {SHM}")


def access_log(settings: ClusterSettings) -> Finding:
    """The log can be written."""
    name = settings.worker.log.path
    if name in ("", "-"):
        return Finding("ok", "access log", "standard output" if name else "none")
    path = Path(name)
    target = path if path.exists() else path.parent
    with _as_worker(settings) as who:
        writable = os.access(target, os.W_OK, effective_ids=True)
    if path.is_dir() or not target.exists() or not writable:
        return Finding("error", "access log", f"{path} cannot be written by {who}: check its directory")
    return Finding("ok", "access log", str(path))


@contextmanager
def _as_worker(settings: ClusterSettings) -> Iterator[str]:
    """For the length of the block, be whom the workers will run as; the name of that user."""
    if os.geteuid() != 0 or settings.user is None or not _is_user(settings.user):
        yield _user_name(os.geteuid())
        return
    entry, gid, groups = pwd.getpwnam(settings.user), os.getegid(), os.getgroups()
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield entry.pw_name
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def geo(settings: ClusterSettings) -> Iterator[Finding]:
    """The files that tell where clients are."""
    for path in filter(None, (settings.worker.geo.country, settings.worker.geo.asn)):
        try:
            database = Database(path)
        except GeoError as error:
            yield Finding("error", "geo", str(error))
        else:
            built = datetime.fromtimestamp(database.built_s, UTC)
            yield Finding("ok", "geo", f"{path}: {database.title} of {built:%Y-%m-%d}")


def access_files(settings: ClusterSettings) -> Iterator[Finding]:
    """The access lists that lie in files."""
    for access in access_lists(settings.worker):
        paths = ", ".join((*access.allow_files, *access.deny_files))
        if not paths:
            continue
        try:
            networks = read_networks(access)
        except ListError as error:
            yield Finding("error", "access list", str(error))
        else:
            yield Finding("ok", "access list", f"{paths}: {networks.count:,} networks")


def waf(settings: ClusterSettings) -> Iterator[Finding]:
    """The rules of the WAF can be read, and what it does where it finds something."""
    for judge in dict.fromkeys(one.judge for one in waf_settings(settings.worker) if one.judge.rules):
        try:
            rules = read_rules(judge)
        except RulesError as error:
            yield Finding("error", "waf", str(error))
        else:
            yield Finding("ok", "waf", f"{', '.join(judge.rules)}: {len(rules.rules):,} rules")
    words = waf_words(settings.worker).removeprefix("waf ")
    yield Finding("ok", "waf", words or "off")


def origins(settings: ClusterSettings) -> Iterator[Finding]:
    """Each server's name resolves (only a warning if not: it may when it is asked) and its TLS files load.

    A directory can be read.
    """
    every = dict.fromkeys(route.origin for site in settings.worker.sites for route in site.routes)
    for origin in every:
        if isinstance(origin, DirectorySettings):
            yield directory(origin, settings)
    servers = settings.worker.servers
    for server in servers:
        try:
            load_contexts([server])
        except TlsFileError as error:
            yield Finding("error", "origin", str(error))
    names = [server.host for server in servers if not is_numeric(server.host)]
    found = asyncio.run(resolve(names, settings.worker.resolvers))
    for server in servers:
        addresses = found.get(server.host, (server.host,))
        if isinstance(addresses, ResolveError):
            reason = f"the name does not resolve now: {addresses}"
            yield Finding("warning", "origin", f"{server.url}: {reason}")
        else:
            yield Finding("ok", "origin", f"{server.url} is {', '.join(addresses)}")


async def resolve(
    names: Sequence[str], resolvers: Sequence[str]
) -> dict[str, tuple[str, ...] | ResolveError]:
    """The addresses of all names at once, as the workers would find them, or why there are none."""
    resolver = Resolver(resolvers)

    async def one(name: str) -> tuple[str, ...] | ResolveError:
        try:
            return await resolver.resolve(name, DNS_PATIENCE_S)
        except ResolveError as error:
            return error

    try:
        return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))
    finally:
        await resolver.close()


def directory(origin: DirectorySettings, settings: ClusterSettings) -> Finding:
    """It is there, and the workers may read it."""
    with _as_worker(settings) as who:
        readable = os.access(origin.path, os.R_OK | os.X_OK, effective_ids=True)
    if not os.path.isdir(origin.path):
        return Finding("error", "origin", f"there is no directory {origin.path}; make it or name another")
    if not readable:
        return Finding("error", "origin", f"{origin.path} cannot be read by {who}: check its permissions")
    return Finding("ok", "origin", f"{origin.path} is a directory")


def _running(settings: ClusterSettings) -> int | None:
    """Pid of the edge that runs on the state directory; None when there is none, or none we may know of."""
    try:
        return running_pid(settings.state_dir)
    except OSError:
        return None


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
