"""From settings to judges: rule files found and read, exclusions written into them, patterns compiled.

Runs in the supervisor, before the fork, because compiling takes seconds; its workers share the result.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.security.detect import sqli, xss
from worker.security.detect.prefilter import Prefilter
from worker.security.detect.table import Detectors
from worker.security.waf import seclang
from worker.security.waf.engine import Engine
from worker.security.waf.judge import DETECTOR_IDS, Judge
from worker.security.waf.operators import use_detectors
from worker.security.waf.ruleset import RuleSet, build, id_ranges
from worker.settings import ExclusionSettings, JudgeSettings

# What goes before rules: how suspicious the Core Rule Set is and from which score on it denies; the versions
# of HTTP we speak; that it has been set up; and who reads which bodies.
_BEFORE = r"""
SecAction "id:90001,phase:1,nolog,pass,t:none,\
  setvar:tx.paranoia_level={paranoia},\
  setvar:tx.blocking_paranoia_level={paranoia},\
  setvar:tx.detection_paranoia_level={paranoia},\
  setvar:tx.inbound_anomaly_score_threshold={threshold},\
  setvar:'tx.allowed_http_versions=HTTP/1.0 HTTP/1.1 HTTP/2 HTTP/2.0',\
  setvar:tx.crs_setup_version=300"
SecRule REQUEST_HEADERS:Content-Type "@rx (?i)^[^;]*[/+]json\s*(?:;|$)" \
  "id:90002,phase:1,nolog,pass,t:none,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "@rx (?i)^[^;]*[/+]xml\s*(?:;|$)" \
  "id:90003,phase:1,nolog,pass,t:none,ctl:requestBodyProcessor=XML"
"""


class RulesError(Exception):
    """Rules that cannot be used; the message says where, and why."""


@dataclass(frozen=True, slots=True)
class Judges:
    """The same judge twice: for a worker's loop, and for its thread."""

    loop: Judge
    thread: Judge
    rules: tuple[str, ...]  # the ids of all that they may find


def make_judges(wanted: Iterable[JudgeSettings], cache: Path | None) -> dict[JudgeSettings, Judges]:
    """A pair for each of the settings. `cache` is the folder for compiled patterns. Raises RulesError."""
    every = list(dict.fromkeys(wanted))
    if not every:
        return {}
    use_detectors(*_gated(cache))
    detectors = Detectors(cache), Detectors(cache)
    return {settings: _judges(settings, detectors, cache) for settings in every}


def _gated(cache: Path | None) -> tuple[Callable[[bytes], object], Callable[[bytes], object]]:
    """Our detectors for @detectSQLi and @detectXSS, asked in earnest where a look for their hints says so:
    that costs a twentieth, and few values have any. Each thread has a search of its own, whose memory is no
    other's.
    """
    local = threading.local()

    def candidates(value: bytes) -> set[int]:
        if not hasattr(local, "search"):
            local.search = Prefilter((sqli.HINTS, xss.HINTS), cache)
        found: set[int] = local.search.candidates(value)
        return found

    candidates(b"")  # compiled before the fork
    return (
        lambda value: sqli.is_sqli(value) if 0 in candidates(value) else None,
        lambda value: 1 in candidates(value) and xss.is_xss(value),
    )


def _judges(settings: JudgeSettings, detectors: tuple[Detectors, Detectors], cache: Path | None) -> Judges:
    rules = read_rules(settings) if settings.rules else None
    loop, thread = (
        Judge(settings, one, None if rules is None else _engine(rules, cache)) for one in detectors
    )
    ids = () if rules is None else tuple(str(rule.id) for rule in rules.rules)
    return Judges(loop, thread, (*sorted(DETECTOR_IDS), *ids))


def _engine(rules: RuleSet, cache: Path | None) -> Engine:
    engine = Engine(rules, cache=cache)
    engine.prepare()
    return engine


def read_rules(settings: JudgeSettings) -> RuleSet:
    """The rules of the files and folders, without what is excluded. Raises RulesError."""
    before = _BEFORE.format(paranoia=settings.paranoia, threshold=settings.threshold)
    try:
        directives = seclang.parse(before, "edgecluster")
        for path in rule_files(settings.rules):
            directives += seclang.read(path)
        whole = build(directives)
        unknown = [one for one in settings.exclude if not _selects_any(one, whole)]
        if unknown:
            raise RulesError(
                f"the WAF excludes '{unknown[0].rule}', and there is no rule, tag or detector of that name"
            )
        return build([*directives, *seclang.parse(_exclusions(settings.exclude), "edgecluster")])
    except seclang.SecLangError as error:
        raise RulesError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a folder of rules holds, for whoever is to decide about using it."""

    files: int
    rules: RuleSet | None  # None where they cannot be put together
    settings: int  # directives without effect here
    faults: tuple[str, ...]  # each begins with file:line


def survey(paths: Iterable[str]) -> Survey:
    """Read rules to the end whatever is wrong with them. Raises RulesError if there are none."""
    faults: list[seclang.SecLangError] = []
    directives: list[seclang.Directive] = []
    for path in rule_files(paths):
        directives += seclang.read(path, faults)
    rules = None
    try:
        rules = build(directives, faults)
    except seclang.SecLangError as error:
        faults.append(error)
    files = {directive.position.file for directive in directives}
    settings = sum(isinstance(directive, seclang.Setting) for directive in directives)
    return Survey(len(files), rules, settings, tuple(dict.fromkeys(map(str, faults))))


def rule_files(paths: Iterable[str]) -> list[Path]:
    """The files to be read, in order: of a folder what its own list names (Debian's owasp-crs.load), else
    crs-setup.conf, then every *.conf in it and in its folder `rules`. Raises RulesError."""
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise RulesError(f"there is no {path}; name a folder of rules or a file")
        files = _of_folder(path) if path.is_dir() else [path]
        if not files:
            raise RulesError(f"there are no rules in {path}: neither *.conf nor rules/*.conf")
        found += files
    return found


def _of_folder(folder: Path) -> list[Path]:
    listed = sorted(folder.glob("*.load"))
    if listed:
        return listed
    setup = [path for path in (folder / "crs-setup.conf",) if path.exists()]
    files = [*sorted(folder.glob("*.conf")), *sorted((folder / "rules").glob("*.conf"))]
    return [*setup, *(path for path in files if path not in setup)]


def _selects_any(exclusion: ExclusionSettings, rules: RuleSet) -> bool:
    name = exclusion.rule
    if name in DETECTOR_IDS:
        return True
    ranges = id_ranges(name)
    return any(any(rule.id in ids for ids in ranges) if ranges else name in rule.tags for rule in rules.rules)


def _exclusions(exclusions: Iterable[ExclusionSettings]) -> str:
    """As directives behind the rules; detectors are the judge's business."""
    lines = []
    for one in exclusions:
        if one.rule in DETECTOR_IDS:
            continue
        by = "Id" if id_ranges(one.rule) else "Tag"
        if one.variable:
            lines.append(f'SecRuleUpdateTargetBy{by} "{one.rule}" "!{one.variable}"\n')
        else:
            lines.append(f'SecRuleRemoveBy{by} "{one.rule}"\n')
    return "".join(lines)
