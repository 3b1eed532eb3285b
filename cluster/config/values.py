"""What stands for a value in the configuration file, and the mapping that all others are made of.

Each type checks a spelling, says what it expects and what an editor may offer. Knows no key.
"""

import re
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from cluster.config import units
from worker.reasons import Leak
from worker.upgrade import NEVER

HTTP_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 5.6.2: names of fields, cookies, protocols
URL_PATH = r"/[!-~]*"
MIN_CACHE_BYTES = 4 * 1024**2  # below, the segment's own tables leave no room for responses


class Expects:
    """What a value has to look like, in the words of an error message."""

    def __init__(self, phrase: str) -> None:
        self.phrase = phrase


def text_schema(*examples: str) -> WithJsonSchema:
    """What an editor is told of a text with a form of its own."""
    return WithJsonSchema({"type": "string", "examples": list(examples)})


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


def _whole(seconds: float) -> int:
    if seconds != int(seconds):
        raise ValueError("must be whole seconds")
    return int(seconds)


def _memory(value: object) -> int:
    size_bytes = units.size(value)
    if size_bytes < MIN_CACHE_BYTES:
        raise ValueError(f"must be at least {units.show_size(MIN_CACHE_BYTES)}")
    return size_bytes


def _protocol(value: object) -> str:
    """A protocol's name without a version, as Upgrade gives it (RFC 9110 7.8), in lower case."""
    if not isinstance(value, str) or not re.fullmatch(HTTP_TOKEN, value):
        raise ValueError("must be a protocol's name")
    name = value.lower()
    if name.encode() in NEVER:
        raise ValueError(f"{name} is never let through")
    return name


def _tls_version(value: object) -> str:
    """As text; YAML takes 1.2 for a number."""
    version = str(value)
    if version not in ("1.0", "1.1", "1.2", "1.3"):
        raise ValueError("")
    return version


Size = Annotated[
    int, BeforeValidator(lambda value: _positive(units.size(value))),
    Expects("a size such as 512MiB or 64KB"), text_schema("512MiB", "64KB"),
]  # fmt: skip
CacheSize = Annotated[
    int, BeforeValidator(_memory),
    Expects("a size such as 512MiB or 2GiB"), text_schema("512MiB", "2GiB"),
]  # fmt: skip
SizeOrZero = Annotated[
    int, BeforeValidator(units.size),
    Expects("a size such as 512B or 4KiB, or 0"), text_schema("512B", "4KiB"),
]  # fmt: skip
Duration = Annotated[
    float, BeforeValidator(lambda value: _positive(units.duration(value))),
    Expects("a duration such as 30s, 5m or 250ms"), text_schema("30s", "5m", "250ms"),
]  # fmt: skip
DurationOrZero = Annotated[
    float, BeforeValidator(units.duration),
    Expects("a duration such as 30s, 5m or 250ms, or 0"), text_schema("30s", "0s"),
]  # fmt: skip
WholeSeconds = Annotated[
    int, BeforeValidator(lambda value: _whole(_positive(units.duration(value)))),
    Expects("a duration of whole seconds such as 30s, 5m or 1d"), text_schema("30s", "5m", "1d"),
]  # fmt: skip
WholeSecondsOrZero = Annotated[
    int, BeforeValidator(lambda value: _whole(units.duration(value))),
    Expects("a duration of whole seconds such as 30s or 5m, or 0"), text_schema("30s", "0s"),
]  # fmt: skip
TlsVersion = Annotated[
    str, BeforeValidator(_tls_version), Expects("1.0, 1.1, 1.2 or 1.3"),
    WithJsonSchema({"enum": [1.0, 1.1, 1.2, 1.3, "1.0", "1.1", "1.2", "1.3"]}),
]  # fmt: skip
Statuses = Annotated[
    str, BeforeValidator(units.statuses),
    Expects("a status such as 404, or a class of them such as 5xx"), text_schema("404", "5xx"),
]  # fmt: skip
Rate = Annotated[
    float, BeforeValidator(units.rate),
    Expects("a rate such as 10/s or 600/m"), text_schema("10/s", "600/m"),
]  # fmt: skip
PerWindow = Annotated[
    Any, BeforeValidator(units.per_window),
    Expects("a number per whole seconds such as 100/10m"), text_schema("100/10m"),
]  # fmt: skip
KeyPart = Annotated[
    str, BeforeValidator(units.key_part),
    Expects("address, asn, country, host, path, method, header:NAME, cookie:NAME or query:NAME"),
    text_schema("address", "header:Authorization"),
]  # fmt: skip
Count = Annotated[int, Field(ge=1), Expects("a whole number of at least 1")]
CountOrZero = Annotated[int, Field(ge=0), Expects("a whole number of at least 0")]
Share = Annotated[float, Field(gt=0, le=1), Expects("a share such as 0.5, at most 1")]
ShareOrZero = Annotated[float, Field(ge=0, le=1), Expects("a share from 0 to 1 such as 0.1")]
Flag = Annotated[bool, Expects("true or false")]
Word = Annotated[str, Field(min_length=1), Expects("a word")]
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$"), Expects("a word of letters, digits, . _ and -")]
ProtocolName = Annotated[
    str, BeforeValidator(_protocol),
    Expects("a protocol's name such as websocket; h2c, http and tls would pass requests by the edge's rules"),
    text_schema("websocket"),
]  # fmt: skip
DirectoryUrl = Annotated[
    str, Field(pattern=r"^https://[^/\s]+/\S*$"),
    Expects("the https:// URL of an ACME directory"),
]  # fmt: skip
FilePath = Annotated[str, Field(min_length=1), Expects("the path of a file")]
PemFile = Annotated[FilePath, Expects("the path of a PEM file")]
UrlPath = Annotated[str, Field(pattern=f"^{URL_PATH}$"), Expects("a path such as /images/")]
Block = Annotated[
    Any, BeforeValidator(units.network),
    Expects("an address or CIDR block such as 192.0.2.0/24 or 2001:db8::/32"), text_schema("192.0.2.0/24"),
]  # fmt: skip
Asn = Annotated[
    int, BeforeValidator(units.asn),
    Expects("the number of an autonomous system such as 64500 or AS64500"), text_schema("AS64500"),
]  # fmt: skip
Country = Annotated[
    str, BeforeValidator(units.country),
    Expects("the code of a country (ISO 3166-1) such as DE"), text_schema("DE"),
]  # fmt: skip
HostName = Annotated[
    str, BeforeValidator(units.host_name),
    Expects("a host name such as example.org"), text_schema("example.org"),
]  # fmt: skip
HostPattern = Annotated[
    str, BeforeValidator(units.host_pattern),
    Expects("a host name such as example.org or *.example.org, or * for any"),
    text_schema("example.org", "*.example.org", "*"),
]  # fmt: skip
LeakKind = Annotated[
    Any, BeforeValidator(Leak),
    Expects(", ".join(Leak)), WithJsonSchema({"enum": [str(kind) for kind in Leak]}),
]  # fmt: skip
Listener = Annotated[
    Any, BeforeValidator(units.listener),
    Expects("a URL with a numeric address such as http://127.0.0.1:8080 or https://[::]:443"),
    text_schema("http://127.0.0.1:8080", "https://[::]:443"),
]  # fmt: skip
ServingListener = Annotated[
    Any, BeforeValidator(units.serving_listener),
    Expects("a URL with a numeric address such as http://127.0.0.1:8080 or https://[::]:443"),
    WithJsonSchema({"anyOf": [
        {"type": "string", "examples": ["http://127.0.0.1:8080", "https://[::]:443"]},
        {
            "type": "object",
            "properties": {
                "url": {"type": "string", "description": "Its address."},
                "proxy_protocol": {
                    "type": "boolean",
                    "description": "Every connection begins with a PROXY protocol head of a trusted proxy.",
                },
            },
            "required": ["url"],
            "additionalProperties": False,
        },
    ]}),
]  # fmt: skip
Resolver = Annotated[
    str, BeforeValidator(units.resolver),
    Expects("the numeric address of a DNS server such as 127.0.0.1 or [::1]:53"),
    text_schema("127.0.0.1", "[::1]:53"),
]  # fmt: skip
ServerAddress = Annotated[
    Any, BeforeValidator(units.server_address),
    Expects("the server's URL such as http://127.0.0.1:8000"), text_schema("http://127.0.0.1:8000"),
]  # fmt: skip
OriginAddress = Annotated[
    Any, BeforeValidator(units.origin_address),
    Expects("the origin's URL such as http://127.0.0.1:8000"), text_schema("http://127.0.0.1:8000"),
]  # fmt: skip


FileName = Annotated[
    str, BeforeValidator(units.file_name), Expects("the name of a file such as index.html"),
    text_schema("index.html"),
]  # fmt: skip


WafRule = Annotated[
    str, BeforeValidator(units.waf_rule),
    Expects("the id of a rule such as 942100, a range of ids, a tag such as attack-sqli, or a detector"),
    text_schema("942100", "942100-942199", "attack-sqli", "sqli"),
]  # fmt: skip
WafVariable = Annotated[
    str, BeforeValidator(units.waf_variable),
    Expects("a variable of rules such as ARGS, ARGS:comment or REQUEST_HEADERS:Referer"),
    text_schema("ARGS:comment", "REQUEST_COOKIES"),
]  # fmt: skip


class OneOrMany:
    """Marks a list in whose place a single item may stand."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: value if isinstance(value, list) else [value], handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


Item = TypeVar("Item")
Many = Annotated[list[Item], OneOrMany()]


class Section(BaseModel):
    """A mapping of the configuration file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    short_key: ClassVar[str] = ""  # the key whose value alone may stand for the mapping
    short_types: ClassVar[tuple[type, ...]] = ()  # if it is one of these
    short_hand: ClassVar[dict[str, Any] | None] = None  # JSON Schema of what may stand for the mapping
    short_words: ClassVar[str] = ""  # the same for an error message

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        return value if value is None or isinstance(value, dict) else cls.expand(value)

    @classmethod
    def expand(cls, value: object) -> object:
        """The mapping that a short-hand value stands for; other values come back as they are."""
        return {cls.short_key: value} if isinstance(value, cls.short_types) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        full = handler(schema)
        return {"anyOf": [cls.short_hand, full]} if cls.short_hand else full
