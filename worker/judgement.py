"""What the WAF holds against a request: data for who judges, who acts on it and who tells of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """One thing held against a request."""

    rule: str  # id of the rule or detector
    variable: str  # "ARGS:name"
    part: bytes  # what of the value gives it away
    message: str
    score: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that is held against a request."""

    found: tuple[Found, ...] = ()
    score: int = 0
    refuses: bool = False  # it is to be refused, where the route blocks

    @property
    def rules(self) -> list[str]:
        """The ids of the rules, each once."""
        return list(dict.fromkeys(found.rule for found in self.found))


CLEAN = Judgement()
