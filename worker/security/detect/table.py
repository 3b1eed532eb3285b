"""All detectors in one table, and the question they are asked together: what is wrong with this value?"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.security.detect import (
    agents,
    commands,
    lines,
    objects,
    paths,
    probes,
    queries,
    script_talk,
    servers,
    sqli,
    talk,
    templates,
    xss,
)
from worker.security.detect.linear import Pattern
from worker.security.detect.prefilter import Prefilter
from worker.security.detect.views import views

Find = Callable[[bytes], bytes | None]

Shown = Callable[[bytes], bool]

CRITICAL = 5  # a score as in the Core Rule Set
WARNING = 3  # one of them passes, two do not


def nowhere(value: bytes) -> bool:
    """Of attacks that nobody writes about as they are made."""
    return False


@dataclass(frozen=True, slots=True)
class Detector:
    """One kind of attack. Its id is an API: logs, exclusions and metrics name it."""

    id: str
    find: Find
    hints: tuple[Pattern, ...]  # one of them matches wherever `find` finds something
    score: int = CRITICAL
    shown: Shown = talk.is_talk  # does the value only show such things to people? Then it is a warning


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a value."""

    id: str
    matched: bytes  # the part that gives it away
    score: int
    decoded: bool  # found only once encodings were undone


DETECTORS = (
    Detector("sqli", sqli.find, sqli.HINTS, shown=sqli.is_shown),
    Detector("xss", xss.find, xss.HINTS, shown=script_talk.is_shown),
    Detector("traversal", paths.find, paths.HINTS, shown=talk.is_worded),
    Detector("command", commands.find, commands.HINTS, shown=commands.is_shown),
    Detector("template", templates.find, templates.HINTS, shown=templates.is_shown),
    Detector("ssrf", servers.find, servers.HINTS, shown=talk.is_worded),
    Detector("nosql", queries.find_document, (queries.DOCUMENT,), shown=queries.is_shown),
    Detector("ldap", queries.find_directory, (queries.DIRECTORY,), shown=queries.is_shown),
    Detector("xpath", queries.find_xpath, (queries.XPATH,), shown=queries.is_shown),
    Detector("header", lines.find_http, lines.HTTP_HINTS),
    Detector("mail", lines.find_mail, lines.MAIL_HINTS, shown=lines.speaks_of_mail),
    Detector("xml", objects.find_xml, (objects.XML,), shown=objects.speaks_of_xml),
    Detector("prototype", objects.find_prototype, (objects.PROTOTYPE,), shown=objects.shows_prototype),
    Detector("lookup", objects.find_lookup, (objects.LOOKUP,), shown=nowhere),
    Detector("framework", objects.find_framework, (objects.FRAMEWORK,), shown=talk.is_worded),
    Detector("serialised", objects.find_serialised, (objects.SERIALISED,), shown=talk.is_worded),
)
PROBE = Detector("probe", probes.find, probes.PROBED)  # of a request's path alone
AGENT = Detector("agent", agents.find, (agents.SCANNERS,))  # of the field User-Agent alone


class Detectors:
    """All of `DETECTORS`, asked at once. Made before the fork: compiling takes a moment."""

    def __init__(self, cache: Path | None = None) -> None:
        """`cache` is the folder for compiled patterns."""
        self._prefilter = Prefilter([detector.hints for detector in DETECTORS], cache)
        self._probes = Prefilter([PROBE.hints], cache)

    def candidates(self, value: bytes) -> set[int]:
        """The detectors, by their place in the table, that may find something in the value as it is."""
        return self._prefilter.candidates(value)

    def findings(self, value: bytes, but: str = "") -> list[Finding]:
        """What is found in any view of the value, by each detector once, `but` not by the one of that id. A
        value that shows attacks is one warning, of however many it speaks: the others count nothing."""
        found: dict[str, Finding] = {}
        warned = False
        for number, view in enumerate(views(value)):
            for candidate in self._prefilter.candidates(view):
                detector = DETECTORS[candidate]
                if detector.id == but or detector.id in found:
                    continue
                if (matched := detector.find(view)) is not None:
                    score = detector.score
                    if detector.shown(view):
                        score, warned = 0 if warned else WARNING, True
                    found[detector.id] = Finding(detector.id, matched, score, number > 0)
        return list(found.values())

    def findings_in_agent(self, value: bytes) -> list[Finding]:
        """What is wrong with the value of the field User-Agent: all of `findings`, and names of scanners."""
        return self.findings(value) + _found_by(AGENT, value)

    def findings_in_own_url(self, value: bytes) -> list[Finding]:
        """What is wrong with a field that says where the client is or was: no address is strange there."""
        return self.findings(value, but="ssrf")

    def findings_in_path(self, path: bytes) -> list[Finding]:
        """What is wrong with a request's path: all of `findings`, and what only scanners ask for."""
        probed = _found_by(PROBE, path) if self._probes.candidates(path) else []
        return self.findings(path) + probed


def _found_by(detector: Detector, value: bytes) -> list[Finding]:
    """What one of them finds in the value as it is."""
    matched = detector.find(value)
    return [] if matched is None else [Finding(detector.id, matched, detector.score, False)]
