"""All detectors in one table, and the question they are asked together: what is wrong with this value?"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.security.detect import commands, lines, objects, paths, queries, servers, sqli, templates, xss
from worker.security.detect.linear import Pattern
from worker.security.detect.prefilter import Prefilter
from worker.security.detect.views import views

Find = Callable[[bytes], bytes | None]

CRITICAL = 5  # a score as in the Core Rule Set


@dataclass(frozen=True, slots=True)
class Detector:
    """One kind of attack. Its id is an API: logs, exclusions and metrics name it."""

    id: str
    find: Find
    hints: tuple[Pattern, ...]  # one of them matches wherever `find` finds something
    score: int = CRITICAL


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a value."""

    id: str
    matched: bytes  # the part that gives it away
    score: int
    decoded: bool  # found only once encodings were undone


DETECTORS = (
    Detector("sqli", sqli.find, sqli.HINTS),
    Detector("xss", xss.find, xss.HINTS),
    Detector("traversal", paths.find, paths.HINTS),
    Detector("command", commands.find, commands.HINTS),
    Detector("template", templates.find, templates.HINTS),
    Detector("ssrf", servers.find, servers.HINTS),
    Detector("nosql", queries.find_document, (queries.DOCUMENT,)),
    Detector("ldap", queries.find_directory, (queries.DIRECTORY,)),
    Detector("xpath", queries.find_xpath, (queries.XPATH,)),
    Detector("header", lines.find_http, (lines.HTTP,)),
    Detector("mail", lines.find_mail, (lines.MAIL,)),
    Detector("xml", objects.find_xml, (objects.XML,)),
    Detector("prototype", objects.find_prototype, (objects.PROTOTYPE,)),
    Detector("lookup", objects.find_lookup, (objects.LOOKUP,)),
    Detector("framework", objects.find_framework, (objects.FRAMEWORK,)),
    Detector("serialised", objects.find_serialised, (objects.SERIALISED,)),
)
PROBE = Detector("probe", paths.find_probe, (paths.PROBED,))  # of a request's path alone


class Detectors:
    """All of `DETECTORS`, asked at once. Made before the fork: compiling takes a moment."""

    def __init__(self, cache: Path | None = None) -> None:
        """`cache` is the folder for compiled patterns."""
        self._prefilter = Prefilter([detector.hints for detector in DETECTORS], cache)

    def candidates(self, value: bytes) -> set[int]:
        """The detectors, by their place in the table, that may find something in the value as it is."""
        return self._prefilter.candidates(value)

    def findings(self, value: bytes) -> list[Finding]:
        """What is found in any view of the value, by each detector once."""
        found: dict[str, Finding] = {}
        for number, view in enumerate(views(value)):
            for candidate in self._prefilter.candidates(view):
                detector = DETECTORS[candidate]
                if detector.id not in found and (matched := detector.find(view)) is not None:
                    found[detector.id] = Finding(detector.id, matched, detector.score, number > 0)
        return list(found.values())
