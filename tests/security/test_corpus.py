"""The corpus keeps its promises, and the detectors find in it what they found when it was last measured."""

from collections import Counter
from dataclasses import dataclass

import pytest

from tests.security.items import CORPUS, SETS, Item, items
from tests.security.judge import Score, Tally, by_detectors, judge, together

LARGE = {"sqli", "xss", "command", "traversal"}


@dataclass(frozen=True)
class Measured:
    """Percentages over a whole set, as in the corpus's README."""

    attacks: float
    mean_of_classes: float
    false_positives: float


MEASURED = {"tuning": Measured(96.3, 96.5, 1.56), "judging": Measured(87.9, 88.6, 1.11)}


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[Item]]:
    return {name: items(name) for name in SETS}


@pytest.fixture(scope="module")
def scores(corpus: dict[str, list[Item]]) -> dict[str, Score]:
    verdict = by_detectors()
    return {name: judge(corpus[name], verdict) for name in SETS}


def test_every_value_says_something(corpus: dict[str, list[Item]]) -> None:
    assert [
        item for one in corpus.values() for item in one if not item.value.strip() or not item.fields()
    ] == []


def test_no_value_is_there_twice_nor_in_both_sets(corpus: dict[str, list[Item]]) -> None:
    times = Counter(item.value for one in corpus.values() for item in one)
    assert [value for value, count in times.items() if count > 1] == []


@pytest.mark.parametrize("side", ["attack", "harmless"])
def test_both_sets_have_the_same_classes(side: str) -> None:
    tuning, judging = ({path.name for path in (CORPUS / name / side).iterdir()} for name in SETS)
    assert tuning == judging


@pytest.mark.parametrize("name", SETS)
def test_there_is_enough_of_every_class(corpus: dict[str, list[Item]], name: str) -> None:
    sizes = Counter(item.kind for item in corpus[name] if item.attack)
    assert {kind for kind, size in sizes.items() if size < (100 if kind in LARGE else 30)} == set()


def test_there_are_fifteen_hundred_harmless_values(corpus: dict[str, list[Item]]) -> None:
    assert sum(not item.attack for one in corpus.values() for item in one) >= 1500


@pytest.mark.parametrize(
    ("item", "fields"),
    [
        pytest.param(Item("tuning", True, "crlf", "raw query", "a%0d%0ab+c"), [b"a\r\nb c"], id="raw-query"),
        pytest.param(
            Item("tuning", True, "nosql", "json", '{"a":{"$ne":[1]}}'), [b"a", b"a.$ne", b"1"], id="json"
        ),
        pytest.param(Item("tuning", True, "nosql", "form", "a[%24ne]=1"), [b"a[$ne]", b"1"], id="form"),
        pytest.param(
            Item("tuning", True, "sqli", "query", "1%27"), [b"1%27"], id="a-field-is-already-decoded"
        ),
    ],
)
def test_an_item_is_taken_apart_as_a_server_would(item: Item, fields: list[bytes]) -> None:
    assert item.fields() == fields


def test_a_judge_counts_what_the_verdict_refuses_by_class() -> None:
    attack, talk = Item("tuning", True, "sqli", "query", "x"), Item("tuning", False, "prose", "query", "y")
    score = judge([attack, talk, talk], lambda item: item.attack)
    assert score.attacks == {"sqli": Tally(refused=[attack])}
    assert score.harmless == {"prose": Tally(passed=[talk, talk])}
    assert (score.detection, score.false_positives) == (100, 0)


@pytest.mark.parametrize("name", MEASURED)
def test_detection_is_no_worse_than_measured(scores: dict[str, Score], name: str) -> None:
    score, measured = scores[name], MEASURED[name]
    assert together(score.attacks.values()).rate > measured.attacks - 1
    assert score.detection > measured.mean_of_classes - 1
    assert score.false_positives < measured.false_positives + 1
