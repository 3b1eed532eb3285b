"""Plays scripts against a proxy and notes what the client saw and when."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.differential.proxies import Proxy
from tests.differential.script import SERVED_FIELD, STEP_FIELD, Script, step_of
from tests.support.client import Answer, ask

LIVE_SCRIPTS = 60
REQUESTS_AT_ONCE = 24


@dataclass(frozen=True, slots=True)
class Seen:
    """One step as the client saw it. Times are monotonic seconds."""

    began_s: float
    ended_s: float
    status: int  # 0: the connection ended without an answer
    fields: dict[str, str]
    body: bytes

    @property
    def served(self) -> int | None:
        """The step in which what was served had been made; None if the answer does not tell."""
        if self.body and (step := step_of(self.body)) is not None:
            return step
        value = self.fields.get(SERVED_FIELD, "")
        return int(value) if value.isdigit() else None


def path_of(proxy: Proxy, number: int) -> str:
    """The URL path of a script at a proxy."""
    return f"/{proxy.name}/{number}"


async def play_all(
    proxies: Sequence[Proxy], scripts: Sequence[Script], first: int = 0
) -> list[dict[str, list[Seen]]]:
    """Every script at every proxy; by script, then by the proxy's name. `first`: the first one's number."""
    live, slots = asyncio.Semaphore(LIVE_SCRIPTS), asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def one(number: int, script: Script) -> dict[str, list[Seen]]:
        async with live:
            seen = await asyncio.gather(*(_play(proxy, number, script, slots) for proxy in proxies))
        return {proxy.name: steps for proxy, steps in zip(proxies, seen, strict=True)}

    return await asyncio.gather(*(one(first + at, script) for at, script in enumerate(scripts)))


async def _play(proxy: Proxy, number: int, script: Script, slots: asyncio.Semaphore) -> list[Seen]:
    seen = []
    for at, step in enumerate(script):
        if step.wait_s:
            await asyncio.sleep(step.wait_s)
        lines = "".join(f"{name}: {value}\r\n" for name, value in (*step.asked.fields, (STEP_FIELD, str(at))))
        async with slots:
            began = time.monotonic()
            try:
                answer = await ask(proxy.port, path_of(proxy, number), fields=lines, method=step.asked.method)
            except (OSError, EOFError):
                answer = Answer(0)
        seen.append(Seen(began, time.monotonic(), answer.status, answer.fields, answer.body))
    return seen
