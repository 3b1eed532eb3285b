"""The certificates of a running edge: gets those that come from an authority, watches those that are given.

Orders, waits and retries here; what goes over the wire is `cluster.acme.authority`'s business, and that what
lies on disk gets served is the supervisor's (`swap`). All it knows is on disk too: after a crash the next
control process goes on where this one was.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cluster.acme.challenges import order_of_kinds
from cluster.acme.schedule import (
    DAY_S,
    FIRST_RETRY_S,
    ask_again_s,
    authority_number,
    due_s,
    moment_in,
    note_failure,
    put_off,
    renewal_s,
    succeeded,
)
from cluster.acme.store import Store
from cluster.certificates import Pair, local_files, read_pair
from cluster.control.orders import obtain
from cluster.control.stamps import Stamp, stamp
from cluster.control.thread import in_thread
from cluster.errors import BootError
from cluster.settings import CertificateSettings, ClusterSettings
from cluster.wire import WireError
from shmcache.core import Cache
from worker.protocol.tls import make_context

if TYPE_CHECKING:
    from cluster.acme.authority import Authority

log = logging.getLogger("edgecluster.control")

LOOK_S = 3.0  # between two looks at the given files
ORDER_S = 180.0  # for one attempt; the next goes on with the order
GATHER_S = 10.0  # how long a new certificate may wait for others that come in the same round
CLOCK_S = 3600.0  # longest sleep: the clock may have been set meanwhile


class Certificates:
    """Every certificate of the https listeners."""

    def __init__(self, settings: ClusterSettings, cache: Cache, swap: Callable[[], Awaitable[None]]) -> None:
        self._settings = settings
        self._cache = cache
        self._swap = swap
        self._is_used = any(one.scheme == "https" for one in settings.worker.listeners)
        names = settings.acme.names if settings.acme is not None else ()
        self._stores = {name: Store(settings.state_dir, name) for name in names}
        self._progress = {name: store.progress() for name, store in self._stores.items()}
        self._given_errors: dict[CertificateSettings, str] = {}
        self._wanted: dict[str, asyncio.Future[str]] = {}  # asked for by hand
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Look after them until cancelled."""
        if not self._is_used:
            return
        for row in self.report():
            if row["error"]:
                log.warning("the certificate %s: %s", row["name"], row["error"])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            if self._stores:
                tasks.create_task(self._keep())

    def report(self) -> list[dict[str, Any]]:
        """Each as plain data; moments in seconds since 1970."""
        if not self._is_used:
            return []
        rows = [
            _row(str(pair.certificate), "given", pair, self._given_errors.get(pair, ""))
            for pair in self._settings.certificates
        ]
        for name, store in self._stores.items():
            progress = self._progress[name]
            row = _row(name, "acme", CertificateSettings(store.pair_file, store.pair_file), "")
            row["error"] = progress.error or row["error"]
            row["next_s"] = progress.next_s if progress.failures else None
            rows.append(row)
        if self._stores or not rows:
            rows.append(
                _row(
                    "local authority",
                    "local",
                    CertificateSettings(*local_files(self._settings.state_dir)),
                    "",
                )
            )
        return rows

    async def renew(self, name: str) -> dict[str, str]:
        """Order anew for `name`, "" for all; why it failed, by name. Raises ValueError for other names."""
        names = [name] if name else list(self._stores)
        if not names or any(one not in self._stores for one in names):
            known = ", ".join(self._stores) or "none"
            raise ValueError(f"names with a certificate from an authority: {known}")
        for one in names:
            self._wanted.setdefault(one, asyncio.get_running_loop().create_future())
        waits = {one: self._wanted[one] for one in names}
        self._wake.set()
        ends = {one: await asyncio.shield(wait) for one, wait in waits.items()}
        return {one: error for one, error in ends.items() if error}

    # --- given files -------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Have changed files served, if they can be. The local authority's certificate is looked at daily."""
        served = self._stamps()
        swap_s = time.monotonic() if self._stores else time.monotonic() + DAY_S
        while True:
            stamps = self._stamps()
            if stamps != served or time.monotonic() >= swap_s:
                if self._given_are_sound():
                    swap_s = time.monotonic() + (
                        DAY_S if not await self._put_into_service() else FIRST_RETRY_S
                    )
                served = stamps
            await asyncio.sleep(LOOK_S)

    def _stamps(self) -> list[Stamp]:
        pairs = self._settings.certificates
        return [stamp(path) for pair in pairs for path in (pair.certificate, pair.key)]

    def _given_are_sound(self) -> bool:
        self._given_errors = {}
        for pair in self._settings.certificates:
            try:
                read_pair(pair.certificate, pair.key)
                make_context(pair.certificate, pair.key)
            except (BootError, OSError, ValueError) as error:
                self._given_errors[pair] = (
                    f"the new file cannot be used, the old certificate serves on: {error}"
                )
                log.error("%s", self._given_errors[pair])
        return not self._given_errors

    async def _put_into_service(self) -> str:
        """Why what lies on disk is not served; "" when it is."""
        try:
            await self._swap()
        except WireError as error:
            log.error("new certificates are not served yet: %s", error)
            return f"it is there, but not served yet: {error}"
        return ""

    # --- those from an authority -------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._round()
            except OSError as error:
                log.error("cannot keep certificates in %s: %s", self._settings.state_dir, error)
                self._resolve(f"cannot write {error.filename}: {error.strerror}", list(self._wanted))
                await asyncio.sleep(FIRST_RETRY_S)
            wait_s = min(self._due_s(name) for name in self._stores) - time.time()
            try:
                async with asyncio.timeout(min(max(wait_s, 0.1), CLOCK_S)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _round(self) -> None:
        """Everyone who is due, one after the other; new certificates are served together."""
        fresh: list[str] = []
        since_s = 0.0
        for name in self._stores:
            if name not in self._wanted and time.time() < self._due_s(name):
                continue
            if await self._is_issued(name):
                since_s = since_s if fresh else time.monotonic()
                fresh.append(name)
            else:
                self._resolve(self._progress[name].error, [name])
            if fresh and time.monotonic() - since_s > GATHER_S:
                self._resolve(await self._put_into_service(), fresh)
                fresh = []
        if fresh:
            self._resolve(await self._put_into_service(), fresh)

    def _resolve(self, error: str, names: list[str]) -> None:
        """Tell those who asked by hand how it went."""
        for name in names:
            wait = self._wanted.pop(name, None)
            if wait is not None:
                wait.set_result(error)

    def _due_s(self, name: str) -> float:
        """When to see to it: wall-clock seconds."""
        return due_s(self._progress[name], _life(self._stores[name].pair()), time.time())

    async def _is_issued(self, name: str) -> bool:
        """One attempt for `name`, and its bookkeeping."""
        # Heavy, and of no use to those without an authority.
        from cluster.acme.authority import Authority, AuthorityError

        acme, progress, store = self._settings.acme, self._progress[name], self._stores[name]
        assert acme is not None
        number = authority_number(progress.failures, len(acme.authorities))
        authority = Authority(acme.authorities[number], acme, self._settings.state_dir)
        kinds = order_of_kinds(acme.challenges, progress.refusals)
        issued = False
        try:
            await in_thread(authority.open)
            if name in self._wanted or not await self._may_wait(authority, name):
                log.info("getting a certificate for %s from %s", name, authority.settings.directory)
                async with asyncio.timeout(ORDER_S):
                    await obtain(authority, store, self._cache, kinds)
                issued = True
                if not await self._may_wait(authority, name):
                    progress.renew_s = 0.0  # of a certificate just issued? It would never end
            succeeded(progress)
        except TimeoutError:
            self._note_failure(name, f"the order was not done within {ORDER_S:g} s", 0.0)
        except AuthorityError as error:
            self._note_failure(name, str(error), error.retry_after_s)
            if error.is_general:
                self._put_off(name)
            else:
                progress.refusals += 1
        store.save_progress(progress)
        return issued

    def _note_failure(self, name: str, error: str, retry_after_s: float) -> None:
        wait_s = note_failure(self._progress[name], error, retry_after_s, time.time(), random.random())
        log.error("no certificate for %s, next try in %.0f s: %s", name, wait_s, error)

    def _put_off(self, name: str) -> None:
        """What failed for `name` would fail for every other that is due: spare the authority."""
        for other, progress in self._progress.items():
            if other != name and other not in self._wanted and self._due_s(other) <= time.time():
                put_off(progress, self._progress[name])
                self._stores[other].save_progress(progress)

    async def _may_wait(self, authority: "Authority", name: str) -> bool:
        """Ask the authority when to renew (RFC 9773); whether that is later.

        One that does not say, or is not able to, leaves it at two thirds of the life.
        """
        from cluster.acme.authority import AuthorityError

        progress, pair = self._progress[name], self._stores[name].pair()
        progress.renew_s = progress.ask_s = 0.0
        if pair is None or pair.leaf.not_valid_after_utc.timestamp() <= time.time():
            return False
        try:
            window = await in_thread(authority.renewal_window, pair.leaf)
        except AuthorityError as error:
            log.warning("when to renew the certificate for %s is not known: %s", name, error)
            progress.ask_s = ask_again_s(error.retry_after_s, time.time())
        else:
            if window is not None:
                progress.renew_s = moment_in(window.start_s, window.end_s, random.random())
                progress.ask_s = ask_again_s(window.retry_after_s, time.time())
        return renewal_s(progress, _life(pair)) > time.time()


def _life(pair: Pair | None) -> tuple[float, float] | None:
    if pair is None:
        return None
    return pair.leaf.not_valid_before_utc.timestamp(), pair.leaf.not_valid_after_utc.timestamp()


def _row(name: str, kind: str, pair: CertificateSettings, error: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name, "kind": kind, "names": [], "issuer": "", "begins_s": None, "expires_s": None,
        "file": str(pair.certificate), "error": error, "next_s": None,
    }  # fmt: skip
    try:
        content = read_pair(pair.certificate, pair.key)
    except BootError as fault:
        return row if kind == "acme" else row | {"error": error or str(fault)}
    leaf, now = content.leaf, datetime.now(UTC)
    if not error and leaf.not_valid_after_utc < now:
        row["error"] = "it has expired, and clients refuse it"
    elif not error and leaf.not_valid_before_utc > now:
        row["error"] = "it is not valid yet, and clients refuse it: is the clock right?"
    return row | {
        "names": list(content.names),
        "issuer": leaf.issuer.rfc4514_string(),
        "begins_s": leaf.not_valid_before_utc.timestamp(),
        "expires_s": leaf.not_valid_after_utc.timestamp(),
    }
