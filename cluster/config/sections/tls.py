"""TLS of the https listeners: certificates, session tickets, certificates of clients."""

from typing import Any, ClassVar, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from cluster.config.values import Duration, Flag, Many, PemFile, Section, TlsVersion

_ServeOrRefuse = Literal["serve", "refuse"]


class Certificate(Section):
    """A certificate for the https listeners."""

    certificate: PemFile = Field(description="PEM file: the certificate, then its intermediates.")
    key: PemFile = Field(description="PEM file: the certificate's private key.")
    default: Flag = Field(
        default=False, description="For clients whose name no certificate is for; else the first is."
    )


class Tls(Section):
    """TLS of the https listeners. A certificate and its key, or a list of such, may be all there is."""

    certificates: Many[Certificate] = Field(
        default=[],
        description="One or several, also of one name with keys of different kinds; one from a local "
        "authority when not given.",
    )
    profile: Literal["modern", "default", "old"] = Field(
        default="default",
        description="modern: TLS 1.3 only; default: 1.2 too; old: 1.2 also with ciphers of old clients.",
    )
    minimum_version: TlsVersion | None = Field(
        default=None, description="The least version of TLS; the profile's when not given."
    )
    unknown_name: _ServeOrRefuse = Field(
        default="serve",
        description="Clients that ask for a name no certificate is for: serve the default one, or refuse.",
    )
    no_name: _ServeOrRefuse = Field(
        default="serve", description="Clients that ask for no name: serve the default one, or refuse."
    )

    short_words: ClassVar = "a certificate with its key, a list of them"

    @classmethod
    def expand(cls, value: object) -> object:
        return {"certificates": value} if isinstance(value, list) else value

    @model_validator(mode="before")
    @classmethod
    def _take_pair(cls, value: object) -> object:
        """A certificate and its key may stand among our own keys."""
        if not isinstance(value, dict) or "certificates" in value:
            return value
        pair = {key: value[key] for key in ("certificate", "key") if key in value}
        rest = {key: value[key] for key in value if key not in pair}
        return rest | {"certificates": [pair]} if pair else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        full = handler(schema)
        properties = full["properties"]
        one, many = properties["certificates"]["anyOf"]
        pair = handler.resolve_ref_schema(one)["properties"]
        with_pair = {**properties, "certificate": pair["certificate"], "key": pair["key"]}
        return {"anyOf": [{**full, "properties": with_pair}, many]}


class Tickets(Section):
    """Session tickets, by which clients resume TLS sessions."""

    rotate: Duration = Field(
        default=3600.0,
        description="Age at which the key they are sealed with is replaced; the two before it still open.",
    )


class ClientCertificates(Section):
    """Certificates that clients show during the TLS handshake."""

    ca_file: PemFile = Field(description="PEM file of the authorities that vouch for them.")
    required: Flag = Field(
        default=True, description="Whether requests without one get 403, where a route says nothing else."
    )
