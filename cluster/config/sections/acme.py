"""Certificates from a certification authority, by ACME."""

from typing import ClassVar, Literal

from pydantic import Field

from cluster.config.values import DirectoryUrl, FilePath, Flag, PemFile, Section, Word


class Binding(Section):
    """An account with the authority that was made elsewhere (external account binding)."""

    kid: Word = Field(description="What the authority calls it: the key identifier.")
    key: Word | None = Field(default=None, description="Its MAC key, base64url; better ${NAME} than in here.")
    key_file: FilePath | None = Field(
        default=None, description="File that has the MAC key, instead of `key`."
    )


class Authority(Section):
    """Another certification authority. A URL is short for `{directory: URL}`."""

    directory: DirectoryUrl = Field(description="URL of its ACME directory.")
    ca_file: PemFile | None = Field(default=None, description="PEM file trusted for its https.")
    eab: Binding | None = Field(default=None, description="An account with it that was made elsewhere.")

    short_key: ClassVar = "directory"
    short_types: ClassVar = (str,)
    short_hand: ClassVar = {"type": "string"}
    short_words: ClassVar = "a URL"


class Acme(Section):
    """Certificates from a certification authority by ACME, for public host names that have none given."""

    agree: Flag = Field(description="That you agree to the authority's terms of service.")
    email: Word | None = Field(default=None, description="Where the authority may write to.")
    directory: DirectoryUrl | None = Field(
        default=None, description="URL of the authority's ACME directory; Let's Encrypt when not given."
    )
    ca_file: PemFile | None = Field(
        default=None, description="PEM file trusted for its https; the public authorities when not given."
    )
    eab: Binding | None = Field(
        default=None, description="An account with the authority that was made elsewhere, if it wants that."
    )
    staging: Flag = Field(
        default=False, description="Use Let's Encrypt's staging environment, to try it out."
    )
    challenge: Literal["auto", "http-01", "tls-alpn-01"] = Field(
        default="auto",
        description="How to prove that a name is ours; auto: http-01 if something listens on http://, else "
        "tls-alpn-01, and after a failure the other one.",
    )
    fallback: Authority | None = Field(
        default=None, description="The authority to ask when the first has failed several times."
    )
