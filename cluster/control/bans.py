"""Who is banned: kept on disk, published to all workers at once, ended when its time is over.

The control process alone changes it. A ban takes effect with the next request of every worker; it outlives
reloads and restarts. Knows nothing of what a worker answers.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import ip_network
from pathlib import Path

from cluster.certificates import write_whole
from cluster.config.units import network
from worker.networks import NetworkMap, SharedNetworks
from worker.security.bans import MAX_BANS
from worker.security.lists import lines
from worker.settings import Network

log = logging.getLogger("edgecluster.control")

LOOK_S = 1.0  # between two looks at what has ended


@dataclass(frozen=True, slots=True)
class Ban:
    """One network that is shut out. Moments in wall-clock seconds."""

    network: str  # "192.0.2.1/32"
    since_s: float
    until_s: float | None  # None: until it is lifted
    reason: str = ""


class Bans:
    """All bans of an edge. Raises OSError when they cannot be kept."""

    def __init__(self, shared: SharedNetworks, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._shared = shared
        self._file = file
        self._clock = clock
        self._bans = self._load()
        self._publish()

    async def run(self) -> None:
        """End what is over, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.sweep()
            except OSError as error:
                log.error("cannot write %s: %s", self._file, error.strerror)

    def ban(self, given: str, seconds: float | None, reason: str) -> Ban:
        """Shut a network or an address out, for so long or until it is lifted; replaces a ban of the same.

        Raises ValueError for what is no network, and when there are too many.
        """
        named = str(_network(given))
        if named not in self._bans and len(self._bans) >= MAX_BANS:
            raise ValueError(
                f"there are {MAX_BANS} bans already: lift some, or put the networks into a 'deny_files' list"
            )
        now_s = self._clock()
        ban = Ban(named, now_s, None if seconds is None else now_s + seconds, reason)
        self._put({**self._bans, named: ban})
        log.info("banned %s%s", named, "" if seconds is None else f" for {seconds:g} s")
        return ban

    def lift(self, given: str) -> bool:
        """End the ban of exactly that network; False if there was none. Raises ValueError as `ban` does."""
        named = str(_network(given))
        if named not in self._bans:
            return False
        self._put({name: ban for name, ban in self._bans.items() if name != named})
        log.info("lifted the ban of %s", named)
        return True

    def report(self) -> list[Ban]:
        """Those in force, the oldest first."""
        return sorted(self._bans.values(), key=lambda ban: ban.since_s)

    def sweep(self) -> None:
        """End what is over."""
        lasting = self._lasting(self._bans)
        if len(lasting) < len(self._bans):
            self._put(lasting)

    def _lasting(self, bans: dict[str, Ban]) -> dict[str, Ban]:
        now_s = self._clock()
        return {name: ban for name, ban in bans.items() if ban.until_s is None or ban.until_s > now_s}

    def _put(self, bans: dict[str, Ban]) -> None:
        """On disk first: what is in force is what a restart would find."""
        content = json.dumps([asdict(ban) for ban in bans.values()], indent=1).encode()
        write_whole(self._file, content, 0o600)
        self._bans = bans
        self._publish()

    def _publish(self) -> None:
        self._shared.publish(NetworkMap([(lines(self._bans), 1)]))

    def _load(self) -> dict[str, Ban]:
        """What was in force; nothing, and a word about it, where the file cannot be read."""
        try:
            bans = [Ban(**one) for one in json.loads(self._file.read_bytes())]
            return self._lasting({str(ip_network(ban.network)): ban for ban in bans[:MAX_BANS]})
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            log.error("the bans in %s are lost: %s", self._file, error)
            return {}


def _network(given: str) -> Network:
    """Raises ValueError that says what is wrong."""
    try:
        return network(given)
    except ValueError as error:
        raise ValueError(
            f"{given!r} {error}; expected an address or a network such as 192.0.2.0/24"
        ) from None
