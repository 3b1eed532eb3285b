"""The web application firewall."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from cluster.config.values import (
    Count,
    Duration,
    Expects,
    FilePath,
    Many,
    Section,
    SizeOrZero,
    WafRule,
    WafVariable,
)
from worker.settings import JudgeSettings, WafSettings

_waf, _judge = WafSettings(), JudgeSettings()
_Mode = Literal["off", "log", "block"]


class Exclusion(Section):
    """What the WAF does not look at. The rule alone is short for `{rule: RULE}`."""

    rule: WafRule = Field(description="Id, range of ids or tag of rules, or the id of a detector.")
    variable: WafVariable | None = Field(
        default=None, description="Where it is not asked, such as ARGS:comment; nowhere when not given."
    )

    short_key: ClassVar = "rule"
    short_types: ClassVar = (str, int)
    short_hand: ClassVar = {"type": ["string", "integer"]}
    short_words: ClassVar = "a rule"


class Waf(Section):
    """The web application firewall. A mode alone is short for `{mode: MODE}`. What is left out, the site or
    the top of the file decides; `exclude` adds to theirs."""

    mode: _Mode | None = Field(
        default=None, description="Refuse attacks with 403, or only log them; log when not given anywhere."
    )
    threshold: Count | None = Field(
        default=None, description=f"Score from which on it refuses; {_judge.threshold} when not given."
    )
    rules: Many[FilePath] | None = Field(
        default=None,
        description="Files or folders of rules in SecLang, such as /usr/share/modsecurity-crs; "
        "only the detectors of our own when not given.",
    )
    paranoia: Annotated[int | None, Field(ge=1, le=4), Expects("a whole number from 1 to 4")] = Field(
        default=None,
        description=f"How suspicious the Core Rule Set is, from 1 to 4; {_judge.paranoia} when not given.",
    )
    exclude: Many[Exclusion] = Field(default=[], description="What is not looked at.")
    body_limit: Annotated[SizeOrZero | None, Expects("a size such as 128KiB, or 0")] = Field(
        default=None,
        description="How much of a body is inspected before any of it is forwarded; 128KiB when not given, "
        "0 for none.",
    )
    body_wait: Annotated[Duration | None, Expects("a duration such as 30s")] = Field(
        default=None,
        description=f"How long it may take to come; {_waf.body_wait_s:g}s when not given.",
    )
    over_limit: Literal["pass", "refuse"] | None = Field(
        default=None,
        description="Of bodies that are longer or slower, pass the rest uninspected, or refuse them "
        "(in mode block); pass when not given.",
    )

    short_hand: ClassVar = {"enum": [*get_args(_Mode), False]}
    short_words: ClassVar = "off, log, block"

    @classmethod
    def expand(cls, value: object) -> object:
        if value is False:
            return {"mode": "off"}
        return {"mode": value} if isinstance(value, str) else value
