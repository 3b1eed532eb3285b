"""Watches the files that tell of addresses: access lists and MaxMind DB files. What has changed gets served.

A file that cannot be used changes nothing, and the log says why. Reading them into service is the
supervisor's business (`refresh`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from cluster.control.stamps import Stamp, stamp
from cluster.errors import BootError
from cluster.geo import open_geo
from cluster.lists import access_lists, open_lists
from cluster.wire import WireError
from worker.settings import WorkerSettings

log = logging.getLogger("edgecluster.control")

LOOK_S = 3.0  # between two looks


class AddressFiles:
    """Every such file that the settings name."""

    def __init__(self, settings: WorkerSettings, refresh: Callable[[], Awaitable[None]]) -> None:
        self._settings = settings
        self._refresh = refresh
        lists = access_lists(settings)
        named = [path for one in lists for path in (*one.allow_files, *one.deny_files)]
        named += [settings.geo.country, settings.geo.asn]
        self._paths = [Path(path) for path in dict.fromkeys(filter(None, named))]
        self.error = ""  # of the last change

    async def run(self) -> None:
        """Have changed files served, until cancelled."""
        served = seen = self._stamps()
        while self._paths:
            await asyncio.sleep(LOOK_S)
            stamps = self._stamps()
            if stamps != served and stamps == seen:  # nobody is writing to them any more
                served = stamps if await self._serve() else served
                seen = stamps if served == stamps else []
            else:
                seen = stamps

    async def _serve(self) -> bool:
        """Read what is there now into service; False: try again."""
        try:
            await asyncio.to_thread(self._check)
        except BootError as error:
            self.error = f"what was read before is in force: {error}"
            log.error("a changed file is not used, %s", self.error)
            return True
        try:
            await self._refresh()
        except WireError as error:
            log.warning("changed access lists are not in force yet: %s", error)
            return False
        self.error = ""
        log.info("changed access lists are in force")
        return True

    def _check(self) -> None:
        open_lists(self._settings)
        open_geo(self._settings.geo)

    def _stamps(self) -> list[Stamp]:
        return [stamp(path) for path in self._paths]
