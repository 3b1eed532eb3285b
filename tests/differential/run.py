"""One run: proxies started, scripts generated, played and judged batch by batch."""

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.differential.generate import scripts
from tests.differential.judge import judge
from tests.differential.origin import Origin
from tests.differential.play import path_of, play_all
from tests.differential.proxies import PROXIES, Proxy
from tests.differential.tally import OURS, Tally
from tests.support.scripted_origin import ScriptedOrigin

BATCH = 500


@contextlib.contextmanager
def running(names: Sequence[str]) -> Iterator[tuple[Origin, ScriptedOrigin, list[Proxy]]]:
    """The named proxies in front of one origin."""
    handler = Origin()
    with (
        tempfile.TemporaryDirectory(prefix="edgecluster-differential-") as directory,
        ScriptedOrigin(handler) as origin,
        contextlib.ExitStack() as stack,
    ):
        work = Path(directory)
        work.chmod(0o755)  # nginx drops root and still has to reach its cache
        yield handler, origin, [stack.enter_context(PROXIES[name](work, origin.port)) for name in names]


def run(
    names: Sequence[str],
    *,
    seed: int,
    count: int | None = None,
    seconds: float = 0.0,
    say: Callable[[str], object] = lambda line: None,
) -> Tally:
    """Play `count` scripts, or batches of them until `seconds` have passed."""
    tally = Tally()
    with running(names) as (handler, origin, proxies):
        began = time.monotonic()
        for batch in itertools.count():
            wanted = BATCH if count is None else min(BATCH, count - tally.scripts)
            if wanted <= 0 or (count is None and time.monotonic() - began >= seconds):
                return tally
            made = scripts(wanted, seed * 1000 + batch)
            first = handler.add(made)
            played = asyncio.run(play_all(proxies, made, first))
            for number, (script, seen) in enumerate(zip(made, played, strict=True), first):
                found = {
                    proxy.name: judge(
                        script,
                        seen[proxy.name],
                        handler.exchanges(path_of(proxy, number)),
                        targeted=proxy.name == OURS,
                    )
                    for proxy in proxies
                }
                tally.add(number, script, seen, found)
            handler.forget()
            origin.requests.clear()
            passed_s = time.monotonic() - began
            say(f"{passed_s:.0f} s: {tally.scripts} scripts, {len(tally.faults)} faults of ours")
    return tally
