"""The WAF's judges, made by the supervisor for every generation and shared by its workers."""

import contextlib
import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.errors import BootError
from cluster.settings import ClusterSettings
from worker.context import Context
from worker.judgement import Judgement
from worker.security.waf.bodies import Kind, kind_of, read_body
from worker.security.waf.counts import RuleCounts
from worker.security.waf.judge import Judge
from worker.security.waf.judges import Judges, RulesError, make_judges
from worker.settings import JudgeSettings, WafSettings, WorkerSettings

log = logging.getLogger("edgecluster.waf")

KEPT = 32  # files of compiled patterns; each change of rules makes new ones


def waf_settings(settings: WorkerSettings) -> list[WafSettings]:
    """Every WAF that some route has, each once."""
    routes = (route for site in settings.sites for route in site.routes)
    return list(dict.fromkeys(route.waf for route in routes if route.waf is not None))


def open_judges(settings: ClusterSettings, counts: RuleCounts) -> dict[JudgeSettings, Judges]:
    """A judge for each WAF, its rules compiled or taken from the state directory. Raises BootError."""
    wanted = [waf.judge for waf in waf_settings(settings.worker)]
    if not wanted:
        return {}
    cache = _cache(settings.state_dir)
    try:
        judges = make_judges(wanted, cache)
    except RulesError as error:
        raise BootError(f"cannot use the WAF's rules: {error}") from None
    if cache is not None:
        _prune(cache)
    for pair in judges.values():
        counts.add_rules(pair.rules)
    return judges


def compile_judges(settings: ClusterSettings) -> None:
    """Have the state directory hold, compiled, what `open_judges` will then load from it.

    For a process of its own, as it takes seconds for every set of rules. Rules that cannot be used are left
    for `open_judges` to tell of.
    """
    cache = _cache(settings.state_dir)
    if cache is not None:
        with contextlib.suppress(RulesError):
            make_judges([waf.judge for waf in waf_settings(settings.worker)], cache)


def judge_of(settings: JudgeSettings, state_dir: Path | None) -> Judge:
    """One judge, for whoever tries requests; it uses what an edge has compiled there. Raises BootError."""
    with TemporaryDirectory() as nowhere:  # without any the same is compiled twice, for loop and thread
        cache = Path(nowhere) if state_dir is None else state_dir / "waf"
        try:
            return make_judges([settings], cache if cache.is_dir() else Path(nowhere))[settings].loop
        except RulesError as error:
            raise BootError(f"cannot use the WAF's rules: {error}") from None


def held_against(judge: Judge, settings: WafSettings, ctx: Context, body: bytes | None) -> Judgement:
    """What the judge holds against a request that is there as a whole."""
    if body is None or not settings.body_bytes or kind_of(ctx.request.fields) is Kind.OPAQUE:
        return judge.of_head(ctx)
    cut = len(body) > settings.body_bytes
    return judge.of_whole(ctx, read_body(ctx.request.fields, body, settings.body_bytes, is_cut=cut))


def waf_words(settings: WorkerSettings) -> str:
    """What the WAF does, in a few words; "" where no route has one."""
    wafs = waf_settings(settings)
    if not wafs:
        return ""
    blocking = sum(waf.blocks for waf in wafs)
    if blocking == len(wafs):
        return "waf blocks"
    some = "partly blocks, partly only logs" if blocking else "only logs"
    return f"waf {some} ('waf: block' or --waf block enforces it)"


def _cache(state_dir: Path) -> Path | None:
    """The folder for compiled patterns; None if it cannot be made, which costs time at every start."""
    folder = state_dir / "waf"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        log.warning("compiled WAF patterns cannot be kept in %s: %s", folder, error.strerror)
        return None
    return folder


def _prune(folder: Path) -> None:
    """Remove the oldest of the compiled patterns. One that is missed is made anew."""
    files = sorted(folder.glob("*.hs"), key=lambda file: file.stat().st_mtime)
    for file in files[:-KEPT]:
        file.unlink(missing_ok=True)
